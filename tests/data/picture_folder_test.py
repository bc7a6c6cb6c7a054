# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Which files of a folder are pictures: by name, and by contents under other names."""

import numpy as np
import pytest
from helpers.pictures import encode

from koalagan.data import picture_folder

RGB = np.zeros((4, 4, 3), np.uint8)
KINDS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "JPEG2000", "AVIF")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["picture", "picture.of.1936", "picture.dat"])
def test_contents_decide_where_a_name_does_not(tmp_path, kind, name):
    (tmp_path / name).write_bytes(encode(RGB, kind))
    assert picture_folder.scan(str(tmp_path)) == picture_folder.Listing([name], [])


def test_damaged_pictures_are_pictures_and_other_files_are_named(tmp_path):
    for name in ("a.jpg", "b.JFIF", "c.jpe", "notes.txt", "empty", ".hidden", "._a.jpg"):
        (tmp_path / name).write_bytes(b"" if name == "empty" else b"text")
    listing = picture_folder.scan(str(tmp_path))
    assert listing.pictures == ["a.jpg", "b.JFIF", "c.jpe"]
    assert listing.left_out == ["empty", "notes.txt"]


def test_linked_folders_are_followed_once(tmp_path):
    (tmp_path / "album").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").write_bytes(b"")
    (tmp_path / "album" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "album" / "same").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "album")
    listing = picture_folder.scan(str(tmp_path / "album"))
    assert listing.pictures == ["link/a.jpg"]
    assert listing.left_out == ["link/loop", "same"]
