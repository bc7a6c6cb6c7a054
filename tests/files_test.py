# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import pytest

from koalagan import files


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
