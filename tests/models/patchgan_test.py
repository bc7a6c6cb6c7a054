# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from koalagan.errors import UserError
from koalagan.models import patchgan


def test_parameters_and_output_of_the_paper():
    model = patchgan.build(image_size=256)
    assert model.count_params() == 2_767_425
    assert model.input_shape == (None, 256, 256, 3)
    assert model.output_shape == (None, 30, 30, 1)


def test_receptive_field_is_70():
    # In inference batch norm works pixel by pixel, so the gradient's extent is the field.
    model = patchgan.build(image_size=128)
    picture = tf.Variable(tf.random.stateless_uniform((1, 128, 128, 3), (0, 1)))
    with tf.GradientTape() as tape:
        logit = model(picture, training=False)[0, 7, 7, 0]
    touched = np.argwhere(np.abs(tape.gradient(logit, picture)[0]).sum(-1) > 0)
    assert tuple(touched.max(0) - touched.min(0) + 1) == (70, 70)


def test_padding_is_symmetric():
    # A discriminator of the mirrored picture with mirrored kernels gives mirrored logits.
    model, mirrored = patchgan.build(64), patchgan.build(64)
    mirrored.set_weights([w[:, ::-1] if w.ndim == 4 else w for w in model.get_weights()])
    picture = tf.random.stateless_uniform((1, 64, 64, 3), (0, 1))
    logits = mirrored(picture[:, :, ::-1], training=False)[:, :, ::-1]
    np.testing.assert_allclose(model(picture, training=False), logits, atol=1e-6)


@pytest.mark.parametrize(
    "kind, strides", [("PaddedConv2D", 1), ("PaddedConv2D", 2), ("PaddedLogitConv2D", 1)]
)
@pytest.mark.parametrize("filters", [1, 3])
@pytest.mark.parametrize("size", [(6, 8), (9, 5)])
def test_convolutions_give_what_padding_and_keras_own_give(kind, strides, filters, size):
    inputs = keras.Input((*size, 4))
    layer = getattr(patchgan, kind)(filters, 4, strides=strides)
    model = keras.Model(inputs, layer(inputs))
    own = layers.Conv2D(filters, 4, strides=strides)
    plain = keras.Model(inputs, own(layers.ZeroPadding2D(1)(inputs)))
    assert model.output_shape == plain.output_shape
    rng = np.random.default_rng(0)
    for each in (layer, own):
        each.set_weights([rng.normal(size=weight.shape) for weight in layer.weights])
        rng = np.random.default_rng(0)
    picture = tf.constant(rng.normal(size=(2, *size, 4)), tf.float32)
    answers = []
    for each in (model, plain):
        with tf.GradientTape() as tape:
            tape.watch(picture)
            outputs = each(picture)
            loss = tf.reduce_sum(tf.sin(outputs))
        answers.append([outputs, *tape.gradient(loss, [picture, *each.trainable_variables])])
    for got, expected in zip(*answers, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["PaddedConv2D", "PaddedLogitConv2D"])
@pytest.mark.parametrize("dtype, step", [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_convolutions_in_half_precision_are_near_the_float32_ones(kind, dtype, step):
    half, whole = (
        getattr(patchgan, kind)(1, 4, dtype=policy) for policy in (f"mixed_{dtype}", "float32")
    )
    picture = tf.random.stateless_normal((2, 6, 5, 32), (0, 1))
    expected = whole(picture)
    half.build(picture.shape)
    half.set_weights(whole.get_weights())
    outputs = half(picture)
    assert outputs.dtype == dtype
    np.testing.assert_allclose(
        tf.cast(outputs, tf.float32), expected, atol=2 * step * np.abs(expected).max()
    )


@pytest.mark.parametrize("size", [64, 57, (None, None)])
def test_the_graph_of_its_gradients_can_be_rewritten(size, capfd):
    model = patchgan.build(size)
    picture = tf.random.stateless_uniform((1, 57, 57, 3) if size != 64 else (1, 64, 64, 3), (0, 1))

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(picture, training=True))
        return tape.gradient(loss, model.trainable_variables)

    gradients()
    assert "remapper failed" not in capfd.readouterr().err


def test_norm_everywhere_but_first_and_last():
    names = [layer.name for layer in patchgan.build(64).layers]
    assert [name for name in names if name.startswith("norm")] == ["norm_2", "norm_3", "norm_4"]
    norm = patchgan.build(64).get_layer("norm_2")
    assert (norm.momentum, norm.epsilon) == (0.9, 1e-5)


def test_weights_start_from_a_narrow_normal():
    kernel = patchgan.build(64).get_layer("conv_4").kernel.numpy()
    assert abs(kernel.mean()) < 1e-3 and kernel.std() == pytest.approx(0.02, rel=0.02)


def test_not_square_and_too_small():
    assert patchgan.build((64, 96)).output_shape == (None, 6, 10, 1)
    with pytest.raises(UserError, match="at least 24"):
        patchgan.build(16)


def test_the_unconditional_one_takes_the_colours_alone():
    model = patchgan.build(64, conditional=False)
    assert model.input_shape == (None, 64, 64, 2)
    assert model.count_params() == 2_767_425 - 4 * 4 * 64
