# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The ResNet18 U-Net, its encoder against keras-hub's own and its decoder against plain TensorFlow.

The networks have their real widths; pictures are small.
"""

import json
import os
import shutil
import socket
import sys
import time
import warnings

import h5py
import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from helpers.published import one_sentence

from koalagan import precision
from koalagan.errors import UserError
from koalagan.models import presets
from koalagan.models.generators import resnet18_unet

MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])
# Written out again: the preset's, as keras-hub's documentation and its parameter count have it.
CONFIG = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 128, 256, 512],
    "stackwise_num_blocks": [2, 2, 2, 2],
    "stackwise_num_strides": [1, 2, 2, 2],
    "block_type": "basic_block",
    "use_pre_activation": False,
}


def batch(height=64, width=64, count=1):
    values = np.random.default_rng(0).uniform(-1, 1, (count, height, width, 1))
    return {"L": tf.constant(values, tf.float32)}


def enliven(model, seed):
    """Biases and norms that do something, statistics included, and an output of order one."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.7, 1.4, weight.shape))
        elif weight.name != "kernel":
            weight.assign(rng.normal(0.0, 0.2, weight.shape))
        elif weight.path == "colour/kernel":
            weight.assign(rng.normal(0.0, 0.2, weight.shape))
    return model


@pytest.fixture(scope="module")
def fresh():
    keras.utils.set_random_seed(3)
    return resnet18_unet.build(image_size=64)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return enliven(resnet18_unet.build(image_size=64), 1)


@pytest.fixture
def copy(model):
    """For calls that change weights."""
    other = resnet18_unet.build(image_size=64)
    other.set_weights(model.get_weights())
    return other


@pytest.fixture(scope="module")
def resnet():
    """keras-hub's network on its own, with weights like those of a trained one."""
    return enliven(keras_hub.models.ResNetBackbone(**CONFIG), 2)


@pytest.fixture(scope="module")
def saved(resnet, tmp_path_factory):
    """A folder with the preset and the weights file of `resnet`."""
    folder = tmp_path_factory.mktemp("saved")
    resnet.save_to_preset(str(folder / "preset"))
    resnet.save_weights(folder / "resnet.weights.h5")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def kaggle(monkeypatch, tmp_path):
    """kagglehub with an empty cache and nobody's account."""
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    yield tmp_path / "kagglehub"
    shutil.rmtree(tmp_path / "kagglehub", ignore_errors=True)


def features(resnet, pictures):
    """From 1/32 up to 1/2."""
    levels = [resnet.pyramid_outputs[f"P{i}"] for i in (5, 4, 3, 2)]
    levels.append(resnet.get_layer("conv1_relu").output)
    return keras.Model(resnet.input, levels)(pictures, training=False)


def decoded(model, levels, L, upsample):
    """The decoder in evaluation mode, with the weights of `model`."""

    def conv(x, name):
        x = tf.nn.conv2d(x, model.get_layer(f"{name}_conv").kernel, 1, "SAME")
        norm = model.get_layer(f"{name}_norm")
        scale = norm.gamma / tf.sqrt(norm.moving_variance + 1e-5)
        return tf.nn.relu((x - norm.moving_mean) * scale + norm.beta)

    x, *skips = levels
    for step, skip in enumerate([*skips, L], 1):
        x = tf.concat([upsample(x, step), skip], -1)
        x = conv(conv(x, f"decoder_{step}_1"), f"decoder_{step}_2")
    colour = model.get_layer("colour")
    return x @ colour.kernel[0, 0] + colour.bias


def subpixel(model):
    def upsample(x, step):
        conv = model.get_layer(f"decoder_{step}_subpixel")
        x = tf.nn.relu(x @ conv.kernel[0, 0] + conv.bias).numpy()
        count, height, width, channels = x.shape
        x = x.reshape(count, height, width, 2, 2, channels // 4)
        return x.transpose(0, 1, 3, 2, 4, 5).reshape(count, 2 * height, 2 * width, channels // 4)

    return upsample


def test_gives_what_keras_hubs_encoder_and_a_plain_decoder_give(copy, resnet, saved):
    resnet18_unet.load_backbone(copy, str(saved / "preset"))
    L = batch(count=2)["L"]
    grey = np.repeat((L + 1) / 2, 3, axis=-1)
    levels = features(resnet, (grey - MEAN) / STD)
    expected = tf.tanh(decoded(copy, levels, L, subpixel(copy)))
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(copy({"L": L}, training=False), expected, atol=1e-4)


def test_sees_what_keras_hubs_converter_makes_of_a_grey_picture(model):
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
def test_parameter_counts(fresh, upsampling, parameters, trainable):
    model = fresh if upsampling == "subpixel" else resnet18_unet.build(64, upsampling=upsampling)
    assert model.count_params() == parameters
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == trainable
    preset = keras_hub.models.ResNetBackbone.presets["resnet_18_imagenet"]
    published = preset["metadata"]["params"]
    assert model.get_layer("encoder").count_params() == published == 11_186_112
    assert resnet18_unet._PRESET.handle in preset["kaggle_handle"]


@pytest.mark.parametrize("upsampling", ["subpixel", "transposed"])
def test_outline_of_the_decoder(fresh, upsampling):
    model = fresh if upsampling == "subpixel" else resnet18_unet.build(64, upsampling=upsampling)
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


def test_constant_features_come_up_constant_at_the_start(fresh):
    rng = np.random.default_rng(4)
    for step in range(1, 6):
        conv = fresh.get_layer(f"decoder_{step}_subpixel")
        shuffle = fresh.get_layer(f"decoder_{step}_shuffle")
        constant = np.tile(rng.normal(size=(1, 1, 1, conv.kernel.shape[2])), (1, 3, 4, 1))
        up = shuffle(conv(tf.constant(constant, tf.float32))).numpy()
        assert up.shape == (1, 6, 8, conv.filters // 4)
        np.testing.assert_array_equal(up, np.broadcast_to(up[:, :1, :1], up.shape))
        # Not because there is nothing, nor because all channels are one.
        assert np.mean(up[0, 0, 0] > 0) > 0.2 and len(np.unique(up[0, 0, 0])) > 4


def test_subpixel_kernels_start_from_he(fresh):
    kernel = fresh.get_layer("decoder_1_subpixel").kernel.numpy()
    assert abs(kernel.mean()) < 1e-3
    assert kernel.std() == pytest.approx((2 / 512) ** 0.5, rel=0.01)


def test_first_colours_are_near_grey(fresh):
    assert np.std(fresh(batch(), training=True)) < 0.2


def test_depth_to_space_puts_channels_where_it_says():
    x = np.random.default_rng(5).normal(size=(2, 3, 5, 12)).astype(np.float32)
    y = resnet18_unet.DepthToSpace()(x).numpy()
    assert y.shape == (2, 6, 10, 3)
    for i in range(2):
        for j in range(2):
            first = (2 * i + j) * 3
            np.testing.assert_array_equal(y[:, i::2, j::2], x[..., first : first + 3])


def test_sigmoid_is_mapped_to_the_range_of_ab(model):
    sigmoid = resnet18_unet.build(image_size=64, output_activation="sigmoid")
    sigmoid.set_weights(model.get_weights())
    logits = np.arctanh(np.asarray(model(batch(), training=False), np.float64))
    ab = sigmoid(batch(), training=False)
    assert ab.dtype == tf.float32 and np.min(ab) < -0.1 and np.max(ab) > 0.1
    np.testing.assert_allclose(ab, 2 / (1 + np.exp(-logits)) - 1, atol=1e-4)


@pytest.mark.parametrize("option", ["upsampling", "output_activation"])
def test_other_options_are_refused(option):
    with pytest.raises(ValueError, match=option):
        resnet18_unet.build(image_size=64, **{option: "other"})


def test_not_square_and_one_model_for_any_size(model):
    fixed = resnet18_unet.build(image_size=(32, 96))
    free = resnet18_unet.build(image_size=(None, None))
    fixed.set_weights(model.get_weights())
    free.set_weights(model.get_weights())
    ab = fixed(batch(32, 96), training=False)
    assert ab.shape == (1, 32, 96, 2) and np.all(np.abs(ab) <= 1)
    np.testing.assert_allclose(free(batch(32, 96), training=False), ab, atol=1e-5)


@pytest.mark.parametrize("size", [100, (64, 48), 0])
def test_other_sizes_end_in_a_sentence(size):
    with pytest.raises(UserError, match="divides by 32"):
        resnet18_unet.build(image_size=size)


@pytest.mark.parametrize("upsampling", ["subpixel", "transposed"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_returns_float32_near_the_float32_result(dtype, upsampling):
    reference = enliven(resnet18_unet.build(image_size=64, upsampling=upsampling), 6)
    with precision.policy(dtype):
        mixed = resnet18_unet.build(image_size=64, upsampling=upsampling)
    mixed.set_weights(reference.get_weights())
    assert mixed.get_layer("encoder").get_layer("conv1_conv").compute_dtype == dtype
    assert mixed.get_layer("decoder_5_2_conv").compute_dtype == dtype
    ab = mixed(batch(), training=False)
    assert ab.dtype == tf.float32
    expected = reference(batch(), training=False)
    tolerance = {"bfloat16": 0.1, "float16": 0.02}[dtype]
    assert np.sqrt(np.mean((ab - expected) ** 2)) < tolerance * np.std(expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_gradient_reaches_every_trainable_variable(model, dtype):
    with precision.policy(dtype):
        student = resnet18_unet.build(image_size=64)
    student.set_weights(model.get_weights())
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.abs(student(batch(count=2), training=True) - 0.2))
        loss *= 1024.0  # as loss scaling does for float16
    gradients = tape.gradient(loss, student.trainable_variables)
    for variable, gradient in zip(student.trainable_variables, gradients, strict=True):
        assert np.any(gradient) and np.all(np.isfinite(gradient)), variable.path
    # The encoder's norms learn their statistics too.
    for norm in ("conv1_bn", "stack3_block1_2_bn"):
        mean = student.get_layer("encoder").get_layer(norm).moving_mean
        before = model.get_layer("encoder").get_layer(norm).moving_mean
        assert np.all(np.not_equal(mean, before))


def test_save_and_reload(model, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(batch(), training=False), model(batch(), training=False))
    (tmp_path / "model.keras").unlink()  # 60 MB, which pytest would keep


def test_checkpoint_restores_into_a_model_for_any_size(model, tmp_path):
    path = tf.train.Checkpoint(generator=model).write(str(tmp_path / "checkpoint"))
    other = resnet18_unet.build(image_size=(None, None))
    status = tf.train.Checkpoint(generator=other).read(path)
    status.assert_existing_objects_matched().assert_consumed()
    for weight, expected in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    for file in tmp_path.iterdir():
        file.unlink()


def assert_encoder_is(copy, resnet, model):
    """The encoder of `copy` is `resnet`, the rest is that of `model`."""
    encoder = copy.get_layer("encoder")
    expected = {weight.path: weight.numpy() for weight in resnet.weights}
    assert {weight.path for weight in encoder.weights} == set(expected)
    for weight in encoder.weights:
        np.testing.assert_array_equal(weight, expected[weight.path])
    pictures = np.random.default_rng(7).normal(size=(1, 64, 96, 3)).astype(np.float32)
    free = keras.Model(encoder.input, encoder.output)
    for actual, wanted in zip(
        free(pictures[:, :, :64], training=False),
        features(resnet, pictures[:, :, :64]),
        strict=True,
    ):
        assert np.std(wanted) > 0.1
        np.testing.assert_allclose(actual, wanted, atol=1e-5)
    encoders = {id(weight) for weight in encoder.weights}
    rest = [weight for weight in copy.weights if id(weight) not in encoders]
    before = {weight.path: weight.numpy() for weight in model.weights}
    assert len(rest) == len(copy.weights) - len(encoder.weights) > 50
    for weight in rest:
        np.testing.assert_array_equal(weight, before[weight.path])


@pytest.mark.parametrize("form", ["preset", "resnet.weights.h5", "preset/model.weights.h5"])
def test_weights_of_keras_hubs_network_become_the_encoders(copy, model, resnet, saved, form):
    resnet18_unet.fetch(str(saved / form))
    resnet18_unet.load_backbone(copy, str(saved / form))
    assert_encoder_is(copy, resnet, model)


def test_loading_works_under_another_policy(model, resnet, saved):
    with precision.policy("bfloat16"):
        mixed = resnet18_unet.build(image_size=64)
        mixed.set_weights(model.get_weights())
        resnet18_unet.load_backbone(mixed, str(saved / "preset"))
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    expected = {weight.path: weight.numpy() for weight in resnet.weights}
    for weight in mixed.get_layer("encoder").weights:
        np.testing.assert_array_equal(weight, expected[weight.path])


def test_random_leaves_the_weights_alone(copy, model):
    resnet18_unet.fetch("random")
    resnet18_unet.load_backbone(copy, "random")
    for weight, expected in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_untrained_weights_come_from_the_seed():
    kernels = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        encoder = resnet18_unet.build(image_size=32).get_layer("encoder")
        kernels.append(encoder.get_layer("stack3_block1_2_conv").kernel.numpy())
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 0.01


def refused(model, weights):
    """The sentence; nothing of the model may have changed."""
    before = model.get_weights()
    with pytest.raises(UserError) as error, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as outside pytest, where they are no errors
        resnet18_unet.load_backbone(model, str(weights))
    for weight, former in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, former)
    return one_sentence(error)


@pytest.mark.parametrize("weights", ["", "none", "Imagenet", "resnet_18_imagenet", "w.h5"])
def test_other_names_are_refused(model, weights):
    text = refused(model, weights)
    for accepted in (f"--backbone_weights={weights}", "imagenet", ".weights.h5", "random"):
        assert accepted in text


def test_missing_files(model, saved, tmp_path):
    assert str(tmp_path / "no.weights.h5") in refused(model, tmp_path / "no.weights.h5")
    assert "config.json, model.weights.h5" in refused(model, tmp_path)
    shutil.copy(saved / "preset" / "config.json", tmp_path)
    assert "lacks model.weights.h5" in refused(model, tmp_path)


@pytest.mark.parametrize("damage", ["cut", "text", "a layer is missing", "another network's"])
def test_damaged_files(model, saved, tmp_path, damage):
    preset = tmp_path / "preset"
    shutil.copytree(saved / "preset", preset)
    file = preset / "model.weights.h5"
    if damage == "cut":
        os.truncate(file, 1_000_000)
    elif damage == "text":
        file.write_text("not HDF5")
    elif damage == "a layer is missing":
        with h5py.File(file, "r+") as layers:
            del layers["layers/conv2d_7"]
    else:
        inputs = keras.Input((4,))
        keras.Model(inputs, keras.layers.Dense(3)(inputs)).save_weights(file, overwrite=True)
    assert str(preset) in refused(model, preset)
    assert str(file) in refused(model, file)
    shutil.rmtree(preset)


def test_presets_of_other_networks(model, saved, tmp_path):
    preset = tmp_path / "preset"
    shutil.copytree(saved / "preset", preset)
    config = json.loads((preset / "config.json").read_text())
    (preset / "config.json").write_text("{")
    assert str(preset) in refused(model, preset)
    (preset / "config.json").write_text(json.dumps({**config, "registered_name": "other>Net"}))
    assert str(preset) in refused(model, preset)
    shutil.rmtree(preset)
    other = keras_hub.models.ResNetBackbone(**{**CONFIG, "stackwise_num_blocks": [1, 1, 1, 1]})
    other.save_to_preset(str(preset))
    text = refused(model, preset)
    assert str(preset) in text and "another stackwise_num_blocks" in text
    assert str(preset / "model.weights.h5") in refused(model, preset / "model.weights.h5")
    shutil.rmtree(preset)


def close_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_preset_in_kagglehubs_cache(copy, model, resnet, saved, kaggle, monkeypatch):
    from kagglehub import cache, handle

    close_network(monkeypatch)
    preset = handle.parse_model_handle("keras/resnetv1/keras/resnet_18_imagenet/3")
    folder = cache.get_cached_path(preset)
    assert folder.startswith(str(kaggle))
    shutil.copytree(saved / "preset", folder)
    for name in ("config.json", "model.weights.h5"):
        cache.Cache().mark_as_complete(preset, name)
    resnet18_unet.fetch("imagenet")
    resnet18_unet.load_backbone(copy, "imagenet")
    assert_encoder_is(copy, resnet, model)


def test_download_that_fails(model, kaggle, monkeypatch):
    close_network(monkeypatch)
    with pytest.raises(UserError) as error:
        resnet18_unet.fetch("imagenet")
    for text in (one_sentence(error), refused(model, "imagenet")):
        assert "resnet_18_imagenet" in text and "config.json, model.weights.h5" in text
        assert "--backbone_weights=PATH" in text and "https://www.kaggle.com/models/keras" in text


def test_download_from_a_server_that_never_answers(kaggle, monkeypatch):
    monkeypatch.setattr(presets, "_DOWNLOAD_TIMEOUT", 0.2)
    look_up = socket.getaddrinfo
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, _, *args, **kwargs: look_up("127.0.0.1", port, *args, **kwargs),
        )
        start = time.monotonic()
        with pytest.raises(UserError) as error:
            resnet18_unet.fetch("imagenet")
        assert time.monotonic() - start < 10.0
    assert "--backbone_weights=PATH" in one_sentence(error)


def test_without_keras_hub(model, saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    calls = (
        lambda: resnet18_unet.build(image_size=64),
        lambda: resnet18_unet.fetch("imagenet"),
        lambda: resnet18_unet.load_backbone(model, str(saved / "preset")),
    )
    for call in calls:
        with pytest.raises(UserError) as error:
            call()
        assert "pip install 'koalagan[hub]'" in one_sentence(error)
