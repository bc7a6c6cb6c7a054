# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What the rows of a prepared store hold, and that they are computed only once."""

import dataclasses
import json
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from helpers.pictures import encode, picture
from helpers.stores import COUNT, SIZE, content, fail, prepare, tiny_source

from koalagan import files
from koalagan.data import decoding, resized_pictures, sources, store
from koalagan.models.frozen import inception_resnet_v2


def test_a_row_is_the_decoded_picture_stretched(tmp_path):
    originals = [picture(seed, 17 + seed, 30 - seed) for seed in range(3)]
    records = [(f"{seed}.png", encode(rgb)) for seed, rgb in enumerate(originals)]
    prepared = prepare(tmp_path, tiny_source(records))
    assert len(prepared) == 3
    assert prepared.pictures.dtype == np.uint8 and prepared.pictures.shape == (3, *SIZE, 3)
    for row, rgb in zip(prepared.pictures, originals, strict=True):
        exact = tf.image.resize(rgb, SIZE, method="bicubic", antialias=True).numpy()
        np.testing.assert_array_equal(row, np.clip(np.rint(exact), 0, 255))
    assert prepared.ids() == ["0.png", "1.png", "2.png"]


def test_a_row_is_the_center_of_the_decoded_picture(tmp_path):
    wide, high, same = picture(0, 8, 32), picture(1, 20, 12), picture(2, 8, 12)
    records = [(str(n), encode(rgb)) for n, rgb in enumerate((wide, high, same))]
    prepared = prepare(tmp_path, tiny_source(records), resize="crop")
    np.testing.assert_array_equal(prepared.pictures[0], wide[:, 10:22])
    np.testing.assert_array_equal(prepared.pictures[1], high[6:14])
    np.testing.assert_array_equal(prepared.pictures[2], same)


def test_rows_and_ids_keep_the_order_of_the_source(tmp_path, small_chunks):
    prepared = prepare(tmp_path)
    for seed, row in enumerate(prepared.pictures):
        np.testing.assert_array_equal(row, picture(seed, *SIZE))
    assert prepared.ids() == [f"p{seed}" for seed in range(COUNT)]


def test_the_manifest_describes_what_shaped_the_pictures(tmp_path):
    prepared = prepare(tmp_path, resize="crop")
    assert json.loads((prepared.path / "manifest.json").read_text()) == prepared.manifest
    facts = {
        "dataset": "tiny",
        "split": "train",
        "source": {"identity": 0},
        "image_size": [8, 12],
        "resize": "crop",
        "pictures": COUNT,
        "skipped": [],
    }
    assert {name: prepared.manifest[name] for name in facts} == facts
    assert prepared.path.name.endswith("-" + prepared.manifest["fingerprint"])
    assert sorted(content(tmp_path)) == sorted(
        f"{prepared.path.name}/{name}" for name in ("ids.txt", "manifest.json", "pictures.npy")
    )


def test_the_folder_of_a_known_source_keeps_its_name(tmp_path):
    # Stores of earlier versions are found by it.
    assert prepare(tmp_path).path.name == "tiny_train-7c4b0639193d"


def test_the_fingerprint_covers_only_what_shapes_the_pictures(tmp_path):
    def path(source=None, **options):
        return prepare(tmp_path, source, **options).path

    usual = path()
    others = [
        path(tiny_source(identity=1)),
        path(tiny_source(split="train[:9]", identity=2)),
        path(image_size=(12, 8)),
        path(resize="crop"),
    ]
    assert len({usual, *others}) == 5
    assert path(on_bad_picture="skip") == usual
    assert path(embedding_weights="none") == usual


def test_pictures_and_embedding_are_read_only_memory_maps(tmp_path, networks):
    prepared = prepare(tmp_path, embedding_weights="a")
    for array in (prepared.pictures, prepared.embedding):
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_a_folder_of_photographs_is_prepared_again_when_one_changes(tmp_path, decoded):
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(3):
        (photos / f"{seed}.png").write_bytes(encode(picture(seed, *SIZE)))

    def prepared():
        return prepare(tmp_path, sources.open_source("folder", "train", str(photos)))

    first = prepared()
    for name, row in zip(first.ids(), first.pictures, strict=True):
        np.testing.assert_array_equal(row, picture(int(name[0]), *SIZE))
    assert prepared().path == first.path and len(decoded) == 3
    (photos / "1.png").write_bytes(encode(picture(9, *SIZE), "BMP"))
    second = prepared()
    assert second.path != first.path
    np.testing.assert_array_equal(second.pictures[second.ids().index("1.png")], picture(9, *SIZE))


# Work is done once.


def test_a_second_run_decodes_nothing_and_builds_no_network(tmp_path, networks, monkeypatch):
    first = prepare(tmp_path, embedding_weights="a")
    before = content(tmp_path)
    network = inception_resnet_v2
    for module, name in [(decoding, "decode"), (network, "build"), (network, "load_weights")]:
        monkeypatch.setattr(module, name, fail)
    again = prepare(tmp_path, dataclasses.replace(tiny_source(), records=fail))
    assert again.embedding is None
    again = prepare(tmp_path, embedding_weights="a")
    assert (again.path, again.manifest) == (first.path, first.manifest)
    np.testing.assert_array_equal(again.pictures, first.pictures)
    np.testing.assert_array_equal(again.embedding, first.embedding)
    assert content(tmp_path) == before


def test_other_weights_share_the_pictures(tmp_path, networks, decoded):
    first = prepare(tmp_path, embedding_weights="a")
    second = prepare(tmp_path, embedding_weights="b")
    assert networks == ["a", "b"]
    assert len(decoded) == COUNT and second.path == first.path
    assert not np.allclose(first.embedding, second.embedding)
    third = prepare(tmp_path, embedding_weights="a")
    np.testing.assert_array_equal(third.embedding, first.embedding)
    assert networks == ["a", "b"]


# Where stores are kept.


def test_the_default_folder_is_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert files.cache_folder() == str(tmp_path / "cache" / "koalagan")
    assert prepare(tmp_path, store_dir=None).path.parent == tmp_path / "cache" / "koalagan"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert files.cache_folder() == str(tmp_path / ".cache" / "koalagan")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert files.cache_folder() == str(tmp_path / ".cache" / "koalagan")


def test_a_store_dir_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert prepare("~/stores").path.parent == tmp_path / "stores"


def test_a_long_split_gives_a_valid_folder_name(tmp_path):
    split = "+".join(f"train[{start}:{start + 1}]" for start in range(0, 60, 2))
    assert len(prepare(tmp_path, tiny_source(split=split))) == COUNT


def test_few_pixels_are_decoded_at_once(tmp_path, monkeypatch):
    """However many cores there are: each picture takes 16 bytes a pixel while it is resized."""
    at_once, most, lock, decode = 0, 0, threading.Lock(), decoding.decode

    def counted(encoded, name):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.05)
        with lock:
            at_once -= 1
        return decode(encoded, name)

    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.png").write_bytes(encode(picture()))
    pixels = picture().shape[0] * picture().shape[1]
    monkeypatch.setattr(decoding, "decode", counted)
    monkeypatch.setattr(resized_pictures, "available_cores", lambda: 8)
    monkeypatch.setattr(resized_pictures, "GROUP", 1)
    for budget, expected in ((3 * pixels, 3), (pixels // 2, 1)):
        monkeypatch.setattr(resized_pictures, "DECODED_AT_ONCE", budget)
        most = 0
        source = sources.open_source("folder", "train", str(folder))
        store.prepare(source, store_dir=str(tmp_path / str(budget)), image_size=(8, 8))
        assert most == expected
