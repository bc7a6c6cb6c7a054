# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The identity of a folder's pictures: their contents, each read once."""

import os
import shutil

import pytest

from koalagan import files
from koalagan.data import sources
from koalagan.data.content_hashes import content_hashes


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "photographs"
    (folder / "in").mkdir(parents=True)
    for name in ("a.jpg", "in/b.jpg"):
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.fixture
def read(monkeypatch):
    """The files that are read."""
    read, digest = [], files.digest
    monkeypatch.setattr(files, "digest", lambda paths: read.extend(paths) or digest(paths))
    return read


def identity(folder):
    return sources.open_source("folder", "train", str(folder)).identity


def test_a_copy_has_the_same_identity(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copy)
    os.utime(tmp_path / "copy" / "a.jpg", (1, 1))
    assert identity(tmp_path / "copy") == identity(folder)


@pytest.mark.parametrize("change", ["contents of the same size", "name", "number"])
def test_other_pictures_have_another_identity(folder, change):
    before = identity(folder)
    if change == "name":
        (folder / "a.jpg").rename(folder / "c.jpg")
    else:
        (folder / ("a.jpg" if change != "number" else "c.jpg")).write_bytes(b"A.jpg")
    assert identity(folder) != before


def test_a_file_is_read_once(folder, read):
    first = identity(folder)
    assert len(read) == 2
    assert identity(folder) == first and len(read) == 2
    (folder / "a.jpg").write_bytes(b"another")
    assert identity(folder) != first
    assert read[2:] == [str(folder / "a.jpg")]


def test_what_was_read_before_an_interruption_is_remembered(folder, read, monkeypatch):
    whole = files.digest

    def interrupted(paths):
        if "b.jpg" in str(paths):
            raise KeyboardInterrupt
        return whole(paths)

    monkeypatch.setattr(files, "digest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        content_hashes(str(folder), ["a.jpg", "in/b.jpg"])
    monkeypatch.setattr(files, "digest", whole)
    content_hashes(str(folder), ["a.jpg", "in/b.jpg"])
    assert read == [str(folder / "a.jpg"), str(folder / "in/b.jpg")]


def test_without_a_cache_folder_they_are_read_again(folder, read, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert identity(folder) == identity(folder)
    assert len(read) == 4 and "cannot be kept" in caplog.text


def test_a_file_that_cannot_be_read_has_no_hash(folder):
    (folder / "a.jpg").unlink()
    (folder / "a.jpg").symlink_to(folder / "nowhere")
    found = content_hashes(str(folder), ["a.jpg", "in/b.jpg"])
    assert found["a.jpg"] == (0, "") and found["in/b.jpg"][0] == 8
