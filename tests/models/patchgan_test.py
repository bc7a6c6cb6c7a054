# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import tensorflow as tf

from koalagan.errors import UserError
from koalagan.models import patchgan


def test_parameter_count_and_output_shape_of_the_paper():
    model = patchgan.build(image_size=256)
    assert model.count_params() == 2_767_425
    assert model.input_shape == (None, 256, 256, 3)
    assert model.output_shape == (None, 30, 30, 1)


def test_receptive_field_is_70():
    # At inference, batch norm does not mix pixels: the gradient's extent is the receptive field.
    model = patchgan.build(image_size=128)
    picture = tf.Variable(tf.random.stateless_uniform((1, 128, 128, 3), (0, 1)))
    with tf.GradientTape() as tape:
        logit = model(picture, training=False)[0, 7, 7, 0]
    touched = np.argwhere(np.abs(tape.gradient(logit, picture)[0]).sum(-1) > 0)
    assert tuple(touched.max(0) - touched.min(0) + 1) == (70, 70)


def test_padding_is_symmetric():
    # With mirrored kernels, the logits of a mirrored picture are mirrored.
    model, mirrored = patchgan.build(64), patchgan.build(64)
    mirrored.set_weights([w[:, ::-1] if w.ndim == 4 else w for w in model.get_weights()])
    picture = tf.random.stateless_uniform((1, 64, 64, 3), (0, 1))
    logits = mirrored(picture[:, :, ::-1], training=False)[:, :, ::-1]
    np.testing.assert_allclose(model(picture, training=False), logits, atol=1e-6)


@pytest.mark.parametrize("size", [64, 57, (None, None)])
def test_tensorflow_optimizes_the_graph_of_its_gradients(size, capfd):
    model = patchgan.build(size)
    picture = tf.random.stateless_uniform((1, 57, 57, 3) if size != 64 else (1, 64, 64, 3), (0, 1))

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(picture, training=True))
        return tape.gradient(loss, model.trainable_variables)

    gradients()
    assert "remapper failed" not in capfd.readouterr().err


def test_batch_norm_in_all_but_the_first_and_last_block():
    model = patchgan.build(64)
    names = [layer.name for layer in model.layers]
    assert [name for name in names if name.startswith("norm")] == ["norm_2", "norm_3", "norm_4"]
    norm = model.get_layer("norm_2")
    assert (norm.momentum, norm.epsilon) == (0.9, 1e-5)


def test_kernels_start_from_a_normal_distribution_of_0_02():
    kernel = patchgan.build(64).get_layer("conv_4").kernel.numpy()
    assert abs(kernel.mean()) < 1e-3 and kernel.std() == pytest.approx(0.02, rel=0.02)


def test_non_square_and_too_small_sizes():
    assert patchgan.build((64, 96)).output_shape == (None, 6, 10, 1)
    with pytest.raises(UserError, match="at least 24"):
        patchgan.build(16)


def test_unconditional_discriminator_takes_ab_alone():
    model = patchgan.build(64, conditional=False)
    assert model.input_shape == (None, 64, 64, 2)
    assert model.count_params() == 2_767_425 - 4 * 4 * 64
