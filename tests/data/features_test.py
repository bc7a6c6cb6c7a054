# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The stored outputs of the frozen networks: their rows, their reuse, their interruption."""

import keras
import numpy as np
import pytest
import skimage.color
import tensorflow as tf
from helpers import stores
from helpers.pictures import encode, picture
from helpers.stores import Killed, killed_after, prepare, tiny_source, with_bad

from koalagan.color import lab
from koalagan.data import features, store_files
from koalagan.models.frozen import segmentation

SHAPE = (2, 3, 4)  # of the stand-in's scores: a quarter of 8x12


@pytest.fixture(autouse=True)
def networks(monkeypatch):
    """Makes both frozen networks tiny; the segmentation is the picture at a quarter, four times."""
    embeddings = stores.tiny_embedding(monkeypatch)
    loaded = []

    def build(dtype="float32"):
        lightness = keras.Input((None, None, 1), name="L")
        pooled = keras.layers.AveragePooling2D(4)(lightness)
        scores = keras.layers.Conv2D(SHAPE[-1], 1, use_bias=False, name="scores")(pooled)
        return keras.Model(lightness, scores)

    def load_weights(model, weights):
        loaded.append(weights)
        model.set_weights([np.array([1, -1, 10, 100], np.float32).reshape(1, 1, 1, 4)])

    monkeypatch.setattr(segmentation, "build", build)
    monkeypatch.setattr(segmentation, "load_weights", load_weights)
    monkeypatch.setattr(segmentation, "fingerprint", lambda weights: f"of {weights}")
    monkeypatch.setattr(segmentation, "scores_shape", lambda *_: SHAPE)
    return {"embedding": embeddings, "segmentation": loaded}


def test_the_embedding_is_that_of_the_stored_picture_and_of_its_mirror_image(tmp_path):
    records = [(str(n), encode(picture(n, 16, 24))) for n in range(11)]  # not whole batches
    prepared = prepare(tmp_path, tiny_source(records), embedding_weights="a")
    assert prepared.segmentation is None
    assert prepared.embedding.shape == (11, 2, stores.CLASSES)
    assert prepared.embedding.dtype == np.float32

    def logits(rgb):
        lightness = skimage.color.rgb2lab(rgb)[..., 0] / 50 - 1
        return lightness.reshape(len(rgb), -1) @ stores.matrix("a")

    rows = np.asarray(prepared.pictures)
    np.testing.assert_allclose(prepared.embedding[:, 0], logits(rows), atol=2e-3)
    np.testing.assert_allclose(prepared.embedding[:, 1], logits(rows[:, :, ::-1]), atol=2e-3)
    assert np.abs(prepared.embedding[:, 0] - prepared.embedding[:, 1]).min(0).max() > 0.1


def test_scores_are_float16_for_the_picture_and_its_mirror_image(tmp_path):
    prepared = prepare(tmp_path, segmentation_weights="a")
    assert prepared.embedding is None
    assert prepared.segmentation.shape == (len(prepared), 2, *SHAPE)
    assert prepared.segmentation.dtype == np.float16
    lightness = lab.rgb_to_lab(np.asarray(prepared.pictures))[0].numpy()[..., 0]
    quarter = lightness.reshape(-1, 2, 4, 3, 4).mean((2, 4))
    expected = np.stack([quarter, quarter[..., ::-1]], 1)[..., None] * [1, -1, 10, 100]
    np.testing.assert_allclose(prepared.segmentation, expected, rtol=1e-3, atol=1e-3)


def test_each_precision_has_its_own_rows(tmp_path, networks, monkeypatch):
    built, build = [], segmentation.build
    monkeypatch.setattr(segmentation, "build", lambda dtype: built.append(dtype) or build(dtype))
    given = {"segmentation_weights": "a"}
    plain = prepare(tmp_path, **given)
    folders = []
    for _ in range(2):
        rounded = prepare(tmp_path, **given, frozen_precision="bfloat16")
        folders.append(sorted(path.name for path in tmp_path.glob("*/segmentation-*.npy")))
    assert built == ["float32", "bfloat16"]  # each computed once
    assert rounded.path == plain.path and len(folders[0]) == 2 and folders[0] == folders[1]
    # The name that float32 has had before there was a choice.
    name = f"segmentation-{store_files.fingerprint({'weights': 'of a'})}.npy"
    assert plain.segmentation.filename.name == name
    assert {rounded.segmentation.filename.name} == set(folders[0]) - {name}


@pytest.mark.parametrize(
    "gpus, pixels, expected",
    [(0, 256**2, 8), (0, 2048**2, 8), (1, 256**2, 64), (1, 64**2, 64), (1, 512**2, 16)]
    + [(1, 4096**2, 1)],
)
def test_a_gpu_is_filled_and_not_overfilled(monkeypatch, gpus, pixels, expected):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu"] * gpus)
    assert features.batch_size(pixels) == expected


def test_rows_do_not_depend_on_the_batch(tmp_path, monkeypatch):
    rows = []
    for size in (1, 7, 64):
        monkeypatch.setattr(features, "BATCH", size)
        rows.append(prepare(tmp_path / str(size), segmentation_weights="a").segmentation)
    for others in rows[1:]:
        np.testing.assert_allclose(others, rows[0], rtol=1e-3)


def test_nothing_is_computed_unless_asked_for(tmp_path, networks):
    for nothing in ({}, {"embedding_weights": "none", "segmentation_weights": "none"}):
        prepared = prepare(tmp_path, **nothing)
        assert prepared.embedding is None and prepared.segmentation is None
    assert networks == {"embedding": [], "segmentation": []}


def test_each_network_has_its_own_rows(tmp_path, networks):
    both = prepare(tmp_path, embedding_weights="a", segmentation_weights="b")
    assert networks == {"embedding": ["a"], "segmentation": ["b"]}
    one = prepare(tmp_path, segmentation_weights="b")
    assert one.path == both.path and one.embedding is None
    np.testing.assert_array_equal(one.segmentation, both.segmentation)
    assert networks == {"embedding": ["a"], "segmentation": ["b"]}  # Nothing is computed twice.


def test_rows_leave_skipped_pictures_out(tmp_path):
    prepared = prepare(tmp_path, with_bad(0), on_bad_picture="skip", embedding_weights="a")
    others = tiny_source(list(tiny_source().records())[1:], identity=1)
    alone = prepare(tmp_path, others, embedding_weights="a")
    np.testing.assert_array_equal(prepared.pictures, alone.pictures)
    np.testing.assert_allclose(prepared.embedding, alone.embedding, atol=1e-4)


@pytest.mark.parametrize("name", ["embedding", "segmentation"])
def test_an_interrupted_feature_continues_where_it_stopped(
    tmp_path, small_chunks, monkeypatch, name
):
    whole = getattr(prepare(tmp_path / "whole", **{f"{name}_weights": "a"}), name)
    prepare(tmp_path / "stopped")
    with monkeypatch.context() as patched:
        # Ends the run in the second batch.
        patched.setattr(np.memmap, "flush", killed_after(1, np.memmap.flush))
        with pytest.raises(Killed):
            prepare(tmp_path / "stopped", **{f"{name}_weights": "a"})
    (unfinished,) = (tmp_path / "stopped").glob(f"*/{name}-*.partial.npy")
    rows = np.load(unfinished, mmap_mode="r+")
    rows[:8] = 123  # Only rows that are computed again can lose the mark.
    rows.flush()
    rows = getattr(prepare(tmp_path / "stopped", **{f"{name}_weights": "a"}), name)
    assert (rows[:8] == 123).all()
    np.testing.assert_array_equal(rows[8:], whole[8:])


def test_deleted_rows_are_computed_again(tmp_path, small_chunks, monkeypatch):
    prepare(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(np.memmap, "flush", killed_after(1, np.memmap.flush))
        with pytest.raises(Killed):
            prepare(tmp_path, segmentation_weights="a")
    (unfinished,) = tmp_path.glob("*/segmentation-*.partial.npy")
    unfinished.unlink()
    prepared = prepare(tmp_path, segmentation_weights="a")
    assert np.abs(prepared.segmentation).max(axis=(1, 2, 3, 4)).min() > 0
