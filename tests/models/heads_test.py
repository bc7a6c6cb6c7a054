# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The classification head on every generator."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from koalagan import precision
from koalagan.color import bins
from koalagan.models import GENERATORS, heads


def _module(model):
    # The paper's generator and Deep Koalarization's are one network.
    return GENERATORS[model.name].module


def _head(generator, name, temperature=1.0):
    features = GENERATORS[name].module.COLOR_FEATURES
    return heads.classification(generator, features, temperature)


def _inputs(model, height, width):
    rng = np.random.default_rng(0)
    shapes = {
        "L": (1, height, width, 1),
        "embedding": (1, 1001),
        "segmentation": (1, height // 4, width // 4, 21),
    }
    return {name: tf.constant(rng.normal(size=shapes[name]), tf.float32) for name in model.input}


@pytest.fixture(scope="module", params=GENERATORS)
def pair(request):
    """A generator for any size, and itself with the other head."""
    keras.utils.set_random_seed(0)
    generator = GENERATORS[request.param]((None, None))
    return generator, _head(generator, request.param, 0.5)


def test_colors_are_the_annealed_means_of_the_classes(pair):
    _, model = pair
    stride = _module(model).STRIDE
    height, width = stride, 2 * stride
    outputs = heads.outputs(model)(_inputs(model, height, width), training=False)
    assert outputs["class_logits"].shape == (1, height // 4, width // 4, 261)
    small = scipy.special.softmax(outputs["class_logits"] / np.float32(0.5), axis=-1)
    small = small @ bins.centers() / 110.0
    expected = keras.layers.UpSampling2D(4, interpolation="bilinear")(small)
    np.testing.assert_allclose(outputs["ab"], expected, atol=1e-5)
    np.testing.assert_array_equal(
        model(_inputs(model, height, width), training=False), outputs["ab"]
    )


def test_all_layers_but_the_last_are_the_generators(pair):
    generator, model = pair
    features, _ = _module(model).COLOR_FEATURES
    own = {weight.path for weight in model.weights} - {w.path for w in generator.weights}
    assert own == {"class_logits/kernel", "class_logits/bias"}
    lost = [w for w in generator.weights if not any(w is other for other in model.weights)]
    assert {weight.path.split("/")[0] for weight in lost} == {features}
    assert heads.outputs(generator).output.keys() == {"ab"}


def test_the_head_learns_through_colors_and_through_classes(pair):
    _, model = pair
    stride = _module(model).STRIDE
    inputs, network = _inputs(model, stride, stride), heads.outputs(model)
    kernel = model.get_layer("class_logits").kernel
    for name in ("ab", "class_logits"):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(network(inputs, training=True)[name] ** 2)
        assert np.abs(tape.gradient(loss, kernel)).max() > 0


def test_bfloat16_gives_float32_colors():
    keras.utils.set_random_seed(0)
    exact = _head(GENERATORS["koala"](64), "koala")
    with precision.policy("bfloat16"):
        model = _head(GENERATORS["koala"](64), "koala")
    model.set_weights(exact.get_weights())
    inputs = _inputs(model, 64, 64)
    ab = model(inputs, training=False)
    assert ab.dtype == tf.float32
    expected = exact(inputs, training=False).numpy()
    assert np.abs(ab - expected).max() < 0.1 * np.abs(expected).max()


def test_saved_and_loaded(tmp_path):
    model = _head(GENERATORS["inception_fusion"](32, segmentation=False), "inception_fusion", 0.38)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    inputs = _inputs(model, 32, 32)
    np.testing.assert_array_equal(loaded(inputs), model(inputs))
