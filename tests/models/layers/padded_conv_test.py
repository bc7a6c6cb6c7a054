# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.layers import output_and_gradients
from keras import layers

from koalagan.models.layers.padded_conv import PaddedConv2D, PaddedLogitConv2D


@pytest.mark.parametrize(
    "kind, strides", [(PaddedConv2D, 1), (PaddedConv2D, 2), (PaddedLogitConv2D, 1)]
)
@pytest.mark.parametrize("filters", [1, 3])
@pytest.mark.parametrize("size", [(6, 8), (9, 5)])
def test_equals_padding_and_keras_convolution(kind, strides, filters, size):
    inputs = keras.Input((*size, 4))
    layer = kind(filters, 4, strides=strides)
    model = keras.Model(inputs, layer(inputs))
    own = layers.Conv2D(filters, 4, strides=strides)
    plain = keras.Model(inputs, own(layers.ZeroPadding2D(1)(inputs)))
    assert model.output_shape == plain.output_shape
    rng = np.random.default_rng(0)
    for each in (layer, own):
        each.set_weights([rng.normal(size=weight.shape) for weight in layer.weights])
        rng = np.random.default_rng(0)
    picture = tf.constant(rng.normal(size=(2, *size, 4)), tf.float32)
    for got, expected in zip(
        output_and_gradients(model, picture), output_and_gradients(plain, picture), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", [PaddedConv2D, PaddedLogitConv2D])
@pytest.mark.parametrize("dtype, step", [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_half_precision_is_near_float32(kind, dtype, step):
    half, whole = (kind(1, 4, dtype=policy) for policy in (f"mixed_{dtype}", "float32"))
    picture = tf.random.stateless_normal((2, 6, 5, 32), (0, 1))
    expected = whole(picture)
    half.build(picture.shape)
    half.set_weights(whole.get_weights())
    outputs = half(picture)
    assert outputs.dtype == dtype
    np.testing.assert_allclose(
        tf.cast(outputs, tf.float32), expected, atol=2 * step * np.abs(expected).max()
    )
