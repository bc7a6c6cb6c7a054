# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The ResNet18 U-Net: its encoder compared to keras-hub's, its decoder to plain TensorFlow.

Networks have their real widths; images are small.
"""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from helpers.presets import enliven, resnet18, resnet18_features

from koalagan import precision
from koalagan.models.generators import resnet18_unet

MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])


def batch(height=64, width=64, count=1):
    values = np.random.default_rng(0).uniform(-1, 1, (count, height, width, 1))
    return {"L": tf.constant(values, tf.float32)}


def enliven_all(model, seed):
    """`enliven`, and an output of order one."""
    kernel = enliven(model, seed).get_layer("colour").kernel
    kernel.assign(np.random.default_rng(seed).normal(0.0, 0.2, kernel.shape))
    return model


@pytest.fixture(scope="module")
def fresh():
    keras.utils.set_random_seed(3)
    return resnet18_unet.build(image_size=64)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return enliven_all(resnet18_unet.build(image_size=64), 1)


@pytest.fixture(scope="module")
def transposed():
    return resnet18_unet.build(image_size=64, upsampling="transposed")


def decoded(model, levels, L, upsample):
    """The decoder at inference, with the weights of `model`."""

    def conv(x, name):
        x = tf.nn.conv2d(x, model.get_layer(f"{name}_conv").kernel, 1, "SAME")
        norm = model.get_layer(f"{name}_norm")
        scale = norm.gamma / tf.sqrt(norm.moving_variance + 1e-5)
        return tf.nn.relu((x - norm.moving_mean) * scale + norm.beta)

    x, *skips = levels
    for step, skip in enumerate([*skips, L], 1):
        x = tf.concat([upsample(x, step), skip], -1)
        x = conv(conv(x, f"decoder_{step}_1"), f"decoder_{step}_2")
    color = model.get_layer("colour")
    return x @ color.kernel[0, 0] + color.bias


def subpixel(model):
    def upsample(x, step):
        conv = model.get_layer(f"decoder_{step}_subpixel")
        x = tf.nn.relu(x @ conv.kernel[0, 0] + conv.bias).numpy()
        count, height, width, channels = x.shape
        x = x.reshape(count, height, width, 2, 2, channels // 4)
        return x.transpose(0, 1, 3, 2, 4, 5).reshape(count, 2 * height, 2 * width, channels // 4)

    return upsample


def test_equals_keras_hubs_encoder_and_a_plain_decoder(model, tmp_path):
    resnet = resnet18()
    path = tmp_path / "resnet.weights.h5"
    resnet.save_weights(path)
    resnet18_unet.load_backbone(model, str(path))
    path.unlink()
    L = batch(count=2)["L"]
    gray = np.repeat((L + 1) / 2, 3, axis=-1)
    levels = resnet18_features(resnet, (gray - MEAN) / STD)
    expected = tf.tanh(decoded(model, levels, L, subpixel(model)))
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(model({"L": L}, training=False), expected, atol=1e-4)


def test_encoders_input_equals_keras_hubs_converter_on_a_gray_picture(model):
    converter = keras_hub.layers.ResNetImageConverter(
        scale=list(1 / (255 * STD)), offset=list(-MEAN / STD)
    )
    L = batch()["L"]
    picture = tf.repeat((L + 1) * 127.5, 3, axis=-1)
    np.testing.assert_allclose(
        model.get_layer("normalized")(L), converter(picture), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    "upsampling, parameters, trainable",
    [("subpixel", 14_357_154, 14_345_378), ("transposed", 16_493_634, 16_481_858)],
)
def test_parameter_counts(fresh, transposed, upsampling, parameters, trainable):
    model = fresh if upsampling == "subpixel" else transposed
    assert model.count_params() == parameters
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == trainable
    preset = keras_hub.models.ResNetBackbone.presets["resnet_18_imagenet"]
    published = preset["metadata"]["params"]
    assert model.get_layer("encoder").count_params() == published == 11_186_112
    assert resnet18_unet.PRESET.handle in preset["kaggle_handle"]


@pytest.mark.parametrize("upsampling", ["subpixel", "transposed"])
def test_layers_of_the_decoder(fresh, transposed, upsampling):
    model = fresh if upsampling == "subpixel" else transposed
    deepest, *skips = model.get_layer("encoder").output
    assert deepest.shape == (None, 2, 2, 512)
    filters = [256, 128, 64, 64, 32]
    for step, (width, channels) in enumerate(zip(filters, [256, 128, 64, 64, 1], strict=True), 1):
        side = 2 << step
        joined = model.get_layer(f"decoder_{step}_skip")
        assert [x.shape for x in joined.input] == [
            (None, side, side, width),
            (None, side, side, channels),
        ]
        assert model.get_layer(f"decoder_{step}_2_relu").output.shape == (None, side, side, width)
        for conv in (1, 2):
            layer = model.get_layer(f"decoder_{step}_{conv}_conv")
            assert layer.kernel_size == (3, 3) and not layer.use_bias
            norm = model.get_layer(f"decoder_{step}_{conv}_norm")
            assert (norm.momentum, norm.epsilon) == (0.9, 1e-5)
        if upsampling == "transposed":
            layer = model.get_layer(f"decoder_{step}_transposed")
            assert layer.kernel_size == (4, 4) and layer.strides == (2, 2)
        else:
            assert model.get_layer(f"decoder_{step}_subpixel").kernel_size == (1, 1)
    assert len(skips) == 4
    assert model.output_shape == (None, 64, 64, 2)


def test_constant_features_are_upsampled_to_constant_ones_initially(fresh):
    rng = np.random.default_rng(4)
    for step in range(1, 6):
        conv = fresh.get_layer(f"decoder_{step}_subpixel")
        shuffle = fresh.get_layer(f"decoder_{step}_shuffle")
        constant = np.tile(rng.normal(size=(1, 1, 1, conv.kernel.shape[2])), (1, 3, 4, 1))
        up = shuffle(conv(tf.constant(constant, tf.float32))).numpy()
        assert up.shape == (1, 6, 8, conv.filters // 4)
        np.testing.assert_array_equal(up, np.broadcast_to(up[:, :1, :1], up.shape))
        # They are neither all zero nor the same in all channels.
        assert np.mean(up[0, 0, 0] > 0) > 0.2 and len(np.unique(up[0, 0, 0])) > 4


def test_subpixel_kernels_have_hes_variance_initially(fresh):
    kernel = fresh.get_layer("decoder_1_subpixel").kernel.numpy()
    assert abs(kernel.mean()) < 1e-3
    assert kernel.std() == pytest.approx((2 / 512) ** 0.5, rel=0.01)


def test_initial_colors_are_near_gray(fresh):
    assert np.std(fresh(batch(), training=True)) < 0.2


def test_sigmoid_is_mapped_to_the_range_of_ab(model):
    sigmoid = resnet18_unet.build(image_size=64, output_activation="sigmoid")
    sigmoid.set_weights(model.get_weights())
    logits = np.arctanh(np.asarray(model(batch(), training=False), np.float64))
    ab = sigmoid(batch(), training=False)
    assert ab.dtype == tf.float32 and np.min(ab) < -0.1 and np.max(ab) > 0.1
    np.testing.assert_allclose(ab, 2 / (1 + np.exp(-logits)) - 1, atol=1e-4)


@pytest.mark.parametrize("option", ["upsampling", "output_activation"])
def test_unknown_options_are_refused(option):
    with pytest.raises(ValueError, match=option):
        resnet18_unet.build(image_size=64, **{option: "other"})


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_gradient_reaches_every_trainable_variable_in_mixed_precision(model, dtype):
    with precision.policy(dtype):
        student = resnet18_unet.build(image_size=64)
    student.set_weights(model.get_weights())
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.abs(student(batch(count=2), training=True) - 0.2))
        loss *= 1024.0  # as loss scaling does for float16
    gradients = tape.gradient(loss, student.trainable_variables)
    for variable, gradient in zip(student.trainable_variables, gradients, strict=True):
        assert np.any(gradient) and np.all(np.isfinite(gradient)), variable.path
    # The encoder's norms update their statistics, too.
    for norm in ("conv1_bn", "stack3_block1_2_bn"):
        mean = student.get_layer("encoder").get_layer(norm).moving_mean
        before = model.get_layer("encoder").get_layer(norm).moving_mean
        assert np.all(np.not_equal(mean, before))


def test_untrained_weights_depend_on_the_seed():
    kernels = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        encoder = resnet18_unet.build(image_size=32).get_layer("encoder")
        kernels.append(encoder.get_layer("stack3_block1_2_conv").kernel.numpy())
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 0.01
