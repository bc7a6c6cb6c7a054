# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The segmentation's rows; store_test has those of the embedding, and all that can end a run."""

import keras
import numpy as np
import pytest
import store_test

from koalagan.color import lab
from koalagan.data import features
from koalagan.models.frozen import segmentation

SHAPE = (2, 3, 4)  # of the stand-in's scores: a quarter of 8x12


@pytest.fixture(autouse=True)
def networks(monkeypatch):
    """Makes both frozen networks tiny; the segmentation is the picture at a quarter, four times."""
    embeddings = store_test.tiny_embedding(monkeypatch)
    loaded = []

    def build():
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


def test_scores_are_kept_in_float16_of_the_picture_and_of_its_mirror_image(tmp_path):
    prepared = store_test.prepare(tmp_path, segmentation_weights="a")
    assert prepared.embedding is None
    assert prepared.segmentation.shape == (len(prepared), 2, *SHAPE)
    assert prepared.segmentation.dtype == np.float16
    lightness = lab.rgb_to_lab(np.asarray(prepared.pictures))[0].numpy()[..., 0]
    quarter = lightness.reshape(-1, 2, 4, 3, 4).mean((2, 4))
    expected = np.stack([quarter, quarter[..., ::-1]], 1)[..., None] * [1, -1, 10, 100]
    np.testing.assert_allclose(prepared.segmentation, expected, rtol=1e-3, atol=1e-3)


def test_each_network_has_rows_of_its_own(tmp_path, networks):
    both = store_test.prepare(tmp_path, embedding_weights="a", segmentation_weights="b")
    assert networks == {"embedding": ["a"], "segmentation": ["b"]}
    one = store_test.prepare(tmp_path, segmentation_weights="b")
    assert one.path == both.path and one.embedding is None
    np.testing.assert_array_equal(one.segmentation, both.segmentation)
    assert networks == {"embedding": ["a"], "segmentation": ["b"]}  # nothing is computed twice


def test_interrupted_scores_go_on_where_they_were(tmp_path, monkeypatch):
    whole = store_test.prepare(tmp_path / "whole", segmentation_weights="a")
    batches, network = [], features.Feature._network

    def stopping(feature):
        compute = network(feature)

        def counted(batch):
            if len(batches) == 1:
                raise KeyboardInterrupt
            batches.append(len(batch))
            return compute(batch)

        return counted

    monkeypatch.setattr(features.Feature, "_network", stopping)
    with pytest.raises(KeyboardInterrupt):
        store_test.prepare(tmp_path / "stopped", segmentation_weights="a")
    monkeypatch.setattr(features.Feature, "_network", network)
    (unfinished,) = (tmp_path / "stopped").glob("*/segmentation-*.partial.npy")
    np.lib.format.open_memmap(unfinished, mode="r+")[:8] = 7  # rows that are not made again
    stopped = store_test.prepare(tmp_path / "stopped", segmentation_weights="a")
    assert batches == [8] and (stopped.segmentation[:8] == 7).all()
    np.testing.assert_array_equal(stopped.segmentation[8:], whole.segmentation[8:])


def test_rows_that_were_deleted_are_made_anew(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    compute = features.os.replace
    monkeypatch.setattr(features.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        store_test.prepare(tmp_path, segmentation_weights="a")
    monkeypatch.setattr(features.os, "replace", compute)
    for unfinished in tmp_path.glob("*/segmentation-*.partial.npy"):
        unfinished.unlink()
    prepared = store_test.prepare(tmp_path, segmentation_weights="a")
    assert np.abs(prepared.segmentation).max(axis=(1, 2, 3, 4)).min() > 0
