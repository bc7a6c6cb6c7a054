# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import hashlib

import pytest

from koalagan import files
from koalagan.errors import UserError


def test_publish_replaces_the_file_and_keeps_its_ending(tmp_path):
    endings = []
    (tmp_path / "a.json").write_text("old")
    files.publish(
        tmp_path / "a.json", lambda path: (endings.append(path.suffix), path.write_text("new"))
    )
    assert (tmp_path / "a.json").read_text() == "new" and endings == [".json"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_publish_leaves_the_old_file_when_writing_fails(tmp_path):
    def half(path):
        path.write_text("ha")
        raise OSError("disk full")

    (tmp_path / "a.json").write_text("old")
    with pytest.raises(OSError, match="disk full"):
        files.publish(tmp_path / "a.json", half)
    assert (tmp_path / "a.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_digest_tells_contents_apart_and_names_what_cannot_be_read(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"x" * 3_000_000)
    other.write_bytes(b"y")
    expected = hashlib.sha256(b"x" * 3_000_000 + b"y").hexdigest()
    assert files.digest([str(one), str(other)]) == expected
    assert files.digest([str(other)], "md5") == hashlib.md5(b"y").hexdigest()
    with pytest.raises(UserError, match=str(tmp_path)):
        files.digest([str(tmp_path)])
