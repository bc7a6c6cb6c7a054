# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What stops the preparation of a store: bad pictures, the disk, the weights, damaged files."""

import dataclasses
import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.pictures import encode, picture
from helpers.stores import (
    CLASSES,
    COUNT,
    SIZE,
    Killed,
    content,
    fail,
    killed_after,
    prepare,
    refusal,
    tiny_source,
    with_bad,
)

from koalagan.color import resizing
from koalagan.data import store_files
from koalagan.errors import UserError
from koalagan.models.frozen import inception_resnet_v2

# Bad pictures.


def test_a_bad_picture_is_named_and_can_be_skipped_afterwards(tmp_path, small_chunks, decoded):
    source = with_bad(13, 18)
    message = refusal(tmp_path, source)
    assert "p13" in message and "--on_bad_picture=skip" in message
    decoded.clear()
    prepared = prepare(tmp_path, source, on_bad_picture="skip")
    assert decoded == [f"p{number}" for number in range(8, COUNT)]
    good = [number for number in range(COUNT) if number not in (13, 18)]
    assert prepared.manifest["skipped"] == ["p13", "p18"]
    assert len(prepared) == len(prepared.pictures) == prepared.manifest["pictures"] == 18
    assert prepared.ids() == [f"p{number}" for number in good]
    for number, row in zip(good, prepared.pictures, strict=True):
        np.testing.assert_array_equal(row, picture(number, *SIZE))


def test_skipped_pictures_are_refused_again_when_none_may_be_skipped(
    tmp_path, small_chunks, decoded, monkeypatch
):
    source = with_bad(2)
    with monkeypatch.context() as patched:
        patched.setattr(resizing, "resize", killed_after(8, resizing.resize))
        with pytest.raises(Killed):
            prepare(tmp_path, source, on_bad_picture="skip")
    decoded.clear()
    assert "p2 cannot be decoded" in refusal(tmp_path, source)  # At once, though half is done.
    assert decoded == []
    prepare(tmp_path, source, on_bad_picture="skip")
    decoded.clear()
    assert "p2 cannot be decoded" in refusal(tmp_path, source, on_bad_picture="fail")
    assert decoded == []
    assert len(prepare(tmp_path, source, on_bad_picture="skip")) == COUNT - 1


def test_a_split_without_a_single_good_picture_is_refused(tmp_path):
    source = with_bad(*range(COUNT))
    for _ in range(2):
        message = refusal(tmp_path, source, on_bad_picture="skip")
        assert "No picture of tiny train" in message
    assert all(".partial" in name for name in content(tmp_path))


# The disk.


def free_disk(monkeypatch, free):
    usage = shutil.disk_usage("/")._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


def test_a_disk_that_is_too_small_is_refused_before_any_work(tmp_path, monkeypatch):
    needed = COUNT * SIZE[0] * SIZE[1] * 3
    free_disk(monkeypatch, needed - 1)
    message = refusal(tmp_path, dataclasses.replace(tiny_source(), records=fail))
    assert str(tmp_path) in message and "--store_dir" in message
    assert list(tmp_path.iterdir()) == []
    free_disk(monkeypatch, needed)
    assert len(prepare(tmp_path)) == COUNT


def test_a_disk_too_small_for_the_embedding_keeps_the_pictures(tmp_path, monkeypatch, networks):
    before = prepare(tmp_path)
    needed = COUNT * 2 * CLASSES * 4
    free_disk(monkeypatch, needed - 1)
    kept = content(tmp_path)
    assert "--store_dir" in refusal(tmp_path, embedding_weights="a")
    assert content(tmp_path) == kept
    free_disk(monkeypatch, needed)
    assert prepare(tmp_path, embedding_weights="a").path == before.path


def test_the_disk_space_is_printed_before_the_first_picture(tmp_path, monkeypatch, capsys):
    printed = []

    def records():
        printed.append(capsys.readouterr().out)
        return tiny_source().records()

    prepare(tmp_path, dataclasses.replace(tiny_source(), records=records))
    assert "preparing 20 pictures of tiny train takes" in printed[0] and str(tmp_path) in printed[0]
    free_disk(monkeypatch, 98_700_000_000)
    store_files.require_space(tmp_path, 23_450_000_000, "preparing it")
    assert capsys.readouterr().out.strip() == (
        f"preparing it takes 23.4 GB in {tmp_path} (98.7 GB free)"
    )


@pytest.mark.skipif(
    not hasattr(os, "posix_fallocate"), reason="the system cannot reserve disk space"
)
def test_a_run_that_cannot_reserve_disk_space_can_be_repeated(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        message = refusal(tmp_path)
    assert "No space left on device" in message and str(tmp_path) in message
    assert len(prepare(tmp_path)) == COUNT


def test_the_disk_space_of_an_unfinished_store_is_reserved(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(resizing, "resize", killed_after(0, resizing.resize))
        with pytest.raises(Killed):
            prepare(tmp_path, image_size=(256, 256))
    (path,) = tmp_path.rglob("pictures.npy")
    assert path.stat().st_blocks * 512 >= COUNT * 256 * 256 * 3


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_store_dir_that_cannot_be_written_is_named(tmp_path, below):
    (tmp_path / "file").write_text("in the way")
    store_dir = tmp_path / "file" / below
    message = refusal(store_dir, dataclasses.replace(tiny_source(), records=fail))
    assert str(store_dir) in message and "--store_dir" in message


# Weights, sources, damaged files.


def test_unavailable_weights_end_the_run_before_any_work(tmp_path, networks, monkeypatch):
    def load_weights(model, weights):
        raise UserError("The file does not exist.")

    monkeypatch.setattr(inception_resnet_v2, "load_weights", load_weights)
    source = dataclasses.replace(tiny_source(), records=fail)
    assert refusal(tmp_path, source, embedding_weights="a") == "The file does not exist."


def test_errors_of_the_source_or_the_weights_are_not_blamed_on_the_store(
    tmp_path, networks, monkeypatch
):
    def records():
        yield "p0", encode(picture(0, *SIZE))
        raise PermissionError(errno.EACCES, "Permission denied", "/data/shard-1")

    message = refusal(tmp_path, dataclasses.replace(tiny_source(), records=records))
    assert "The pictures of tiny train" in message and "/data/shard-1" in message
    assert "--store_dir" not in message

    def load_weights(model, weights):
        raise PermissionError(errno.EACCES, "Permission denied", "/data/weights")

    monkeypatch.setattr(inception_resnet_v2, "load_weights", load_weights)
    with pytest.raises(PermissionError, match="/data/weights"):
        prepare(tmp_path, embedding_weights="a")


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", ["pictures.npy", "manifest.json", "embedding-*.npy"])
def test_a_damaged_store_is_named(tmp_path, networks, name, damage):
    prepared = prepare(tmp_path, embedding_weights="a")
    (path,) = prepared.path.glob(name)
    damage(path)
    if damage is Path.unlink and name.startswith("embedding"):
        again = prepare(tmp_path, embedding_weights="a")  # It counts as not computed yet.
        np.testing.assert_array_equal(again.embedding, prepared.embedding)
    else:
        message = refusal(tmp_path, embedding_weights="a")
        assert str(path) in message and f"delete {prepared.path}" in message
