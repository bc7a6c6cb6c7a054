# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Results are written whole, with what can be kept; see colorize_test.py for their names."""

import numpy as np
import pytest
from PIL import Image

from koalagan.data.decoding import BadPicture
from koalagan.errors import UserError
from koalagan.photos import photographs
from koalagan.photos.metadata import Metadata

RGB = np.full((5, 6, 3), 90, np.uint8)


def test_metadata_that_cannot_be_written_is_left_out(tmp_path):
    kept = Metadata(dpi=("wide", "high"), exif=b"broken")
    photographs.write(str(tmp_path / "a.png"), RGB, kept=kept)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), RGB)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_picture_that_the_format_cannot_hold(tmp_path):
    wide = np.zeros((1, 16384, 3), np.uint8)
    with pytest.raises(BadPicture, match=r"a.webp cannot be written: \S"):
        photographs.write(str(tmp_path / "a.webp"), wide, kept=Metadata(xmp="<x/>"))
    assert not any(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    for write in (
        lambda path: photographs.write(path, RGB),
        lambda path: photographs.copy(str(tmp_path / "file"), path),
    ):
        with pytest.raises(UserError, match="file/a.png cannot be written: File exists"):
            write(str(tmp_path / "file" / "a.png"))


def test_what_a_job_is_done_by(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.fromarray(RGB).save(tmp_path / "photos" / "a.jpg")
    (job,) = photographs.plan([str(tmp_path / "photos")], str(tmp_path / "out"), variants=2)
    names = [path.removeprefix(f"{tmp_path}/out/") for path in (*job.targets, job.copy)]
    assert names == ["a-1.png", "a-2.png", "a.jpg"] and not job.done(False)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a-1.png").touch()
    assert not job.done(False) and job.existing(False) == [job.targets[0]]
    (tmp_path / "out" / "a-2.png").touch()
    assert job.done(False) and job.done(True)
    (tmp_path / "out" / "a-2.png").unlink()
    (tmp_path / "out" / "a.jpg").write_text("another picture")
    assert not job.done(False)
    photographs.copy(str(tmp_path / "photos" / "a.jpg"), str(tmp_path / "out" / "b.jpg"))
    (tmp_path / "out" / "b.jpg").rename(tmp_path / "out" / "a.jpg")
    assert job.done(False) and not job.done(True)
    assert job.existing(False) == [job.targets[0], job.copy]


def test_a_photograph_is_never_the_place_of_a_copy(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.jpg")
    (job,) = photographs.plan([str(tmp_path / "a.jpg")], str(tmp_path))
    assert job.copy is None and job.targets == (str(tmp_path / "a.png"),)
