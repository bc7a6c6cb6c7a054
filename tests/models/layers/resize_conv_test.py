# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.layers import output_and_gradients
from keras import layers

from koalagan.models.layers.resize_conv import ResizeConv2D

FILTERS = 5


def layer_and_plain_form(channels=3, dtype="float32"):
    """The layer, and Keras's two layers with the same weights, in float32."""
    layer = ResizeConv2D(FILTERS, dtype=dtype)
    convolution = layers.Conv2D(FILTERS, 3, padding="same", activation="relu", dtype="float32")
    plain = keras.Sequential([layers.UpSampling2D(2, interpolation="nearest"), convolution])
    layer.build((None, None, None, channels))
    plain.build((None, None, None, channels))
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(3, 3, channels, FILTERS)), rng.normal(size=FILTERS)]
    layer.set_weights(values)
    plain.set_weights(values)
    return layer, plain


def features(height, width, channels=3):
    values = np.random.default_rng(1).normal(size=(2, height, width, channels))
    return tf.constant(values, tf.float32)


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 2)])
def test_equals_upsampling_and_convolution(size):
    layer, plain = layer_and_plain_form()
    for got, expected in zip(
        output_and_gradients(layer, features(*size)),
        output_and_gradients(plain, features(*size)),
        strict=True,
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_near_with_float32_weights(dtype):
    layer, plain = layer_and_plain_form(dtype=f"mixed_{dtype}")
    inputs = features(4, 6)
    outputs = layer(inputs)
    assert outputs.dtype == dtype
    assert all(weight.dtype == "float32" for weight in layer.weights)
    expected = plain(inputs).numpy()
    step = {"bfloat16": 2**-8, "float16": 2**-11}[dtype]
    # 27 products and their sum, each rounded: a few steps of the largest value.
    np.testing.assert_allclose(
        tf.cast(outputs, tf.float32), expected, atol=4 * step * expected.max()
    )


def test_sizes_known_only_at_run_time():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, ResizeConv2D(FILTERS)(inputs))
    assert model.output.shape == (None, None, None, FILTERS)
    run = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 3))])
    for size in ((2, 3), (4, 1)):
        assert run(features(*size)).shape == (2, 2 * size[0], 2 * size[1], FILTERS)


def test_save_and_reload(tmp_path):
    inputs = keras.Input((4, 6, 3))
    model = keras.Model(inputs, ResizeConv2D(FILTERS, kernel_initializer="glorot_uniform")(inputs))
    assert model.output.shape == (None, 8, 12, FILTERS)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(features(4, 6)), model(features(4, 6)))
    assert again.layers[-1].get_config() == model.layers[-1].get_config()
