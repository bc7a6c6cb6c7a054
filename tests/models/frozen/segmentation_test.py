# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The segmentation network at its real size, against keras-hub's whole segmenter."""

import hashlib
import json
import os
import shutil
import socket
import sys
import threading
import time

import h5py
import kagglehub.cache
import kagglehub.handle
import kagglesdk.kaggle_env
import keras
import keras_hub
import numpy as np
import pytest
import requests
import skimage.data
import tensorflow as tf
from helpers.published import one_sentence, pictures

from koalagan.color import lab
from koalagan.errors import UserError
from koalagan.models import presets
from koalagan.models.frozen import segmentation

PRESET = "deeplab_v3_plus_resnet50_pascalvoc"
FILES = ("config.json", "task.json", "task.weights.h5", "model.weights.h5")
SCALE = [0.016, 0.018, 0.02]
OFFSET = [-2.0, -1.9, -1.8]


@pytest.fixture(scope="module")
def model():
    return segmentation.build()


@pytest.fixture(scope="module")
def forward(model):
    """The model as a graph for any size."""
    signature = [tf.TensorSpec((None, None, None, 1))]
    function = tf.function(lambda lightness: model(lightness), input_signature=signature)
    return lambda lightness: function(lightness).numpy()


@pytest.fixture
def random_model(model):
    segmentation.load_weights(model, "random")
    return model


@pytest.fixture(scope="module")
def segmenter():
    """keras-hub's, put together from the numbers that the preset's config.json holds."""
    encoder = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="bottleneck_block",
        use_pre_activation=False,
    )
    backbone = keras_hub.models.DeepLabV3Backbone(
        image_encoder=encoder,
        projection_filters=48,
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P5",
        upsampling_size=8,
        dilation_rates=[6, 12, 18],
    )
    converter = keras_hub.layers.DeepLabV3ImageConverter(
        image_size=(512, 512), scale=SCALE, offset=OFFSET, interpolation="nearest"
    )
    preprocessor = keras_hub.models.DeepLabV3ImageSegmenterPreprocessor(converter)
    segmenter = keras_hub.models.DeepLabV3ImageSegmenter(
        backbone, num_classes=21, preprocessor=preprocessor
    )
    # As after a training, whose state save_to_preset writes too.
    segmenter.compile(optimizer=keras.optimizers.Adam())
    segmenter.optimizer.build(segmenter.output_conv.trainable_variables)
    random = np.random.default_rng(7)
    for weight in segmenter.weights:
        if weight.name == "kernel":
            fan_in = np.prod(weight.shape[:-1])
            weight.assign(random.normal(0, (2 / fan_in) ** 0.5, weight.shape))
        elif weight.name in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        else:
            weight.assign(random.normal(0, 0.2, weight.shape))
    return segmenter


@pytest.fixture(scope="module")
def preset(segmenter, tmp_path_factory):
    """What the segmenter's save_to_preset writes."""
    folder = tmp_path_factory.mktemp("preset")
    segmenter.save_to_preset(str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def copy(preset, tmp_path):
    """A preset of its own to each test, whose big files are only links until replaced."""
    folder = tmp_path / "preset"
    folder.mkdir()
    for name in FILES:
        os.link(preset / name, folder / name)
    yield folder
    shutil.rmtree(folder)


def replace(path, data):
    """Writes a new file in place of a link."""
    path.unlink()
    path.write_bytes(data)


def whole(segmenter, lightness, scale=SCALE, offset=OFFSET):
    """keras-hub's logits at the picture's full size."""
    pixels = (np.repeat(lightness, 3, axis=-1) + 1.0) / 2.0 * 255.0
    pixels = pixels * np.float32(scale) + np.float32(offset)
    # Without `training`, keras-hub's pyramid pooling normalises by the batch.
    return segmenter(pixels, training=False).numpy()


def assert_is_whole(scores, expected):
    assert expected.std() > 0.1
    upsampled = tf.image.resize(scores, expected.shape[1:3], "bilinear")
    np.testing.assert_allclose(upsampled, expected, rtol=0, atol=1e-4 * expected.std())


def test_build_is_the_published_network_frozen(model):
    assert model.input_shape == (None, None, None, 1)
    assert model.output_shape == (None, None, None, 21)
    published = keras_hub.models.DeepLabV3Backbone.presets[PRESET]
    assert published["metadata"]["params"] == 39_190_656
    handle = published["kaggle_handle"].removeprefix("kaggle://")
    assert handle.rpartition("/")[0] == segmentation._PRESET.handle.rpartition("/")[0]
    # The head has no bias; the converter's scale and offset are weights here.
    assert model.count_params() == 39_190_656 + 256 * 21 + 2 * 3
    assert not model.trainable and not model.trainable_weights


def test_preset_gives_keras_hubs_logits_before_their_upsampling(model, forward, segmenter, preset):
    for weight in model.weights:
        weight.assign(tf.fill(weight.shape, np.nan))
    segmentation.load_weights(model, str(preset))
    for height, width in [(64, 96), (160, 128)]:
        lightness = pictures(height=height, width=width)
        scores = forward(lightness)
        assert scores.shape == (2, height // 4, width // 4, 21)
        assert_is_whole(scores, whole(segmenter, lightness))
    digest = hashlib.sha256(b"".join((preset / name).read_bytes() for name in FILES))
    assert segmentation.fingerprint(str(preset)) == f"preset-{digest.hexdigest()[:16]}"


@pytest.mark.parametrize(
    "scale,offset", [(None, None), (1 / 127.5, -1.0)], ids=["none, as published", "one for all"]
)
def test_presets_scale_and_offset(model, forward, segmenter, copy, scale, offset):
    task = json.loads((copy / "task.json").read_text())
    task["config"]["preprocessor"]["config"]["image_converter"]["config"].update(
        scale=scale, offset=offset
    )
    # The published head may end in a softmax; scores come before it.
    task["config"]["activation"] = "softmax"
    replace(copy / "task.json", json.dumps(task).encode())
    segmentation.load_weights(model, str(copy))
    lightness = pictures(width=96)
    expected = whole(segmenter, lightness, scale or 1.0, offset or 0.0)
    assert_is_whole(forward(lightness), expected)


def test_layer_names_and_float32_under_any_policy(random_model, forward):
    names = [layer.name for layer in random_model.layers]
    lightness = pictures(width=96)
    expected = forward(lightness)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        other = segmentation.build()
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        segmentation.load_weights(other, "random")
        actual = other(lightness)
    finally:
        keras.config.set_dtype_policy(before)
    assert [layer.name for layer in other.layers] == names
    assert {layer.compute_dtype for layer in other._flatten_layers()} == {"float32"}
    assert {weight.dtype for weight in other.weights} == {"float32"}
    assert actual.dtype == tf.float32
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_preset_is_loaded_in_float32_under_any_policy(model, forward, segmenter, preset):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("bfloat16")
    try:
        segmentation.load_weights(model, str(preset))
    finally:
        keras.config.set_dtype_policy(before)
    lightness = pictures(width=96)
    assert_is_whole(forward(lightness), whole(segmenter, lightness))


@pytest.mark.parametrize("height,width", [(1, 1), (32, 96), (65, 100), (75, 31)])
def test_any_size_is_resized_to_multiples_of_32(random_model, forward, height, width):
    lightness = pictures(height=128, width=128)[:, :height, :width]
    size = {1: 32, 32: 32, 65: 96, 75: 96, 96: 96, 100: 128, 31: 32}
    resized = tf.image.resize(lightness, (size[height], size[width]), "bilinear")
    scores = forward(lightness)
    assert scores.shape[1:] == (size[height] // 4, size[width] // 4, 21)
    assert scores.shape[1:] == segmentation.scores_shape(height, width)
    np.testing.assert_allclose(scores, forward(resized), atol=1e-4)
    np.testing.assert_allclose(scores, random_model(lightness), atol=1e-4)


def test_training_changes_nothing(random_model, forward):
    lightness = pictures(width=96)
    expected = forward(lightness)
    np.testing.assert_allclose(random_model(lightness, training=True), expected, atol=1e-4)
    np.testing.assert_array_equal(forward(lightness), expected)


def photographs():
    rgb = np.stack(
        [
            tf.image.resize(picture, (256, 256), antialias=True).numpy().round().astype(np.uint8)
            for picture in (skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee())
        ]
    )
    return lab.rgb_to_lab(rgb)[0].numpy()


def test_random_scores_are_of_order_one_and_vary(random_model, forward):
    scores = forward(photographs())
    assert np.isfinite(scores).all() and np.abs(scores).max() < 50.0
    assert ((scores.std(axis=(1, 2, 3)) > 1.0) & (scores.std(axis=(1, 2, 3)) < 5.0)).all()
    # Each class over each picture, and each place from picture to picture.
    assert scores.std(axis=(1, 2)).min() > 0.2
    assert scores.std(axis=0).mean() > 0.5
    # No class has the highest score everywhere.
    assert all(len(np.unique(picture.argmax(-1))) > 5 for picture in scores)


def test_mirrored_scores_are_not_the_scores_of_the_mirror_image(random_model, forward):
    """Why the store keeps both.

    The network is not symmetric: its strides sample 31 pixels further left at 1/32 of the size than
    they do in the mirror image, and its kernels have a left and a right. A training on mirrored
    pictures makes up for both as far as it can; `random` had none, so that the two maps differ
    about as much as those of two pictures (1.26 and 1.34 standard deviations on 24 COCO pictures;
    1.15 and 1.31 if its kernels were symmetric).
    """
    lightness = photographs()
    scores = forward(lightness)
    mirrored = forward(lightness[:, :, ::-1])[:, :, ::-1]
    deviation = scores.std(axis=(1, 2, 3))
    difference = np.sqrt(np.mean((mirrored - scores) ** 2, axis=(1, 2, 3))) / deviation
    assert (difference < 1.45).all()
    assert (difference > 1.0).all()


def test_random_is_the_same_everywhere_and_leaves_the_global_seeds_alone(model):
    keras.utils.set_random_seed(1)
    np.random.seed(4)
    expected = np.random.random_sample()
    np.random.seed(4)
    segmentation.load_weights(model, "random")
    assert np.random.random_sample() == expected
    weights = segmentation._named(model)
    # Golden values: a change here changes every prepared store, and asks for a new "random-v..".
    np.testing.assert_allclose(
        weights["conv1_conv/kernel"][0, 0, 0, :3], [-0.14799654, 0.18061049, 0.016747214], rtol=1e-6
    )
    np.testing.assert_allclose(
        weights["segmentation_output/kernel"][0, 0, 0, :3],
        [-0.21099794, 0.058085568, 0.0059691560],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        weights["preprocessing/scale"] * 255.0 * [0.485, 0.456, 0.406]
        + weights["preprocessing/offset"],
        0.0,
        atol=1e-6,
    )
    assert segmentation.fingerprint("random") == "random-v1"


def test_random_sets_every_weight(model):
    for weight in model.weights:
        weight.assign(tf.fill(weight.shape, np.nan))
    segmentation.load_weights(model, "random")
    assert all(np.isfinite(weight.numpy()).all() for weight in model.weights)


def change_config(folder, name, **changes):
    """Changes the configuration of the backbone, or of the task."""
    task = json.loads((folder / "task.json").read_text())
    config = task["config"] if name == "task" else task["config"]["backbone"]["config"]
    config = config["image_encoder"]["config"] if name == "encoder" else config
    config.update(changes)
    replace(folder / "task.json", json.dumps(task).encode())


def without(path, group):
    """Takes a group out of a HDF5 file."""
    data = path.read_bytes()
    replace(path, data)
    with h5py.File(path, "r+") as file:
        del file[group]


@pytest.mark.parametrize(
    "damage,named",
    [
        (lambda f: replace(f / "config.json", b"{"), "property name"),
        (
            lambda f: replace(
                f / "config.json", b'{"registered_name": "keras_hub>ResNetBackbone"}'
            ),
            "",
        ),
        (lambda f: replace(f / "task.json", b"[]"), ""),
        (lambda f: change_config(f, "task", num_classes=5), "num_classes is 5, not 21"),
        (lambda f: change_config(f, "decoder", dilation_rates=[2, 4, 6]), "dilation_rates is [2"),
        (lambda f: change_config(f, "encoder", stackwise_num_strides=[1, 2, 2, 1]), "strides"),
        (lambda f: os.truncate(f / "task.weights.h5", 100), "truncated"),
        (lambda f: without(f / "task.weights.h5", "layers/conv2d"), "segmentation_output"),
        (lambda f: without(f / "model.weights.h5", "layers/conv2d_1"), "segmentation_head_conv"),
        (lambda f: replace(f / "model.weights.h5", b"weights" * 1000), "signature"),
    ],
)
def test_preset_that_is_damaged_or_of_another_network(random_model, copy, damage, named):
    replace(copy / "task.weights.h5", (copy / "task.weights.h5").read_bytes())
    before = [weight.numpy() for weight in random_model.weights[:20]]
    damage(copy)
    with pytest.raises(UserError) as error:
        segmentation.load_weights(random_model, str(copy))
    assert str(copy) in one_sentence(error)
    assert "--segmentation_weights=pascalvoc" in one_sentence(error)
    assert named in one_sentence(error)
    for weight, value in zip(random_model.weights, before, strict=False):
        np.testing.assert_array_equal(weight, value)


def test_a_preset_that_brings_code_is_refused_and_its_code_not_run(random_model, tmp_path):
    trap = tmp_path / "sprung"
    layer = keras.layers.Lambda(eval(f"lambda x: (open({str(trap)!r}, 'w').close(), x)[1]"))
    code = json.dumps(keras.saving.serialize_keras_object(layer))
    keras.saving.deserialize_keras_object(json.loads(code), safe_mode=False)(np.zeros((1, 1)))
    assert trap.exists()
    trap.unlink()

    folder = tmp_path / "preset"
    folder.mkdir()
    backbone = {
        "module": "keras_hub.src.models.deeplab_v3.deeplab_v3_backbone",
        "class_name": "DeepLabV3Backbone",
        "registered_name": "keras_hub>DeepLabV3Backbone",
        "config": {"image_encoder": json.loads(code), "spatial_pyramid_pooling_key": "P5"},
    }
    for name in FILES:
        (folder / name).write_bytes(b"")
    (folder / "config.json").write_text(json.dumps(backbone))
    task = {
        "module": "keras_hub.src.models.deeplab_v3.deeplab_v3_segmenter",
        "class_name": "DeepLabV3ImageSegmenter",
        "registered_name": "keras_hub>DeepLabV3ImageSegmenter",
        "config": {"backbone": backbone, "num_classes": 21, "preprocessor": None},
    }
    (folder / "task.json").write_text(json.dumps(task))
    with pytest.raises(UserError, match="(?i)lambda|unsafe|safe_mode"):
        segmentation.load_weights(random_model, str(folder))
    assert not trap.exists()


@pytest.mark.parametrize("load", [True, False], ids=["load_weights", "fingerprint"])
@pytest.mark.parametrize("name", FILES)
def test_preset_that_lacks_a_file(model, copy, name, load):
    (copy / name).unlink()
    with pytest.raises(UserError, match=f"lacks {name}") as error:
        segmentation.load_weights(model, str(copy)) if load else segmentation.fingerprint(str(copy))
    assert str(copy) in one_sentence(error)


@pytest.mark.parametrize("weights", ["", "none", "PascalVOC", "hf://a/b", "model.h5", "{}/folder"])
def test_other_names_are_refused(model, tmp_path, weights):
    weights = weights.format(tmp_path)
    for call in (
        lambda: segmentation.load_weights(model, weights),
        lambda: segmentation.fingerprint(weights),
    ):
        with pytest.raises(UserError) as error:
            call()
        for accepted in (f"={weights} ", "pascalvoc", "folder", ".weights.h5", "random"):
            assert accepted in one_sentence(error)
    segmentation.fetch("random")


def test_weights_file_comes_back(random_model, tmp_path):
    path = tmp_path / "segmentation.weights.h5"
    with pytest.raises(UserError, match="there is no weights file"):
        segmentation.load_weights(random_model, str(path))
    random_model.save_weights(path)
    expected = [weight.numpy() for weight in random_model.weights]
    for weight in random_model.weights:
        weight.assign(tf.zeros(weight.shape))

    segmentation.load_weights(segmentation.build(), str(path))  # another model than it is of
    segmentation.load_weights(random_model, str(path))

    for weight, value in zip(random_model.weights, expected, strict=True):
        np.testing.assert_array_equal(weight, value)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert segmentation.fingerprint(str(path)) == f"file-{digest[:16]}"

    for damage in ("__preprocessing", None):
        if damage:
            with h5py.File(path, "r+") as file:
                del file[f"layers/{damage}"]
        else:
            os.truncate(path, 1_000_000)
        with pytest.raises(UserError) as error:
            segmentation.load_weights(random_model, str(path))
        assert str(path) in one_sentence(error)
    path.unlink()


def test_weights_file_of_something_else(model, tmp_path):
    path = tmp_path / "other.weights.h5"
    path.write_text("not HDF5")
    with pytest.raises(UserError) as error:
        segmentation.load_weights(model, str(path))
    assert str(path) in one_sentence(error)
    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Dense(3)(inputs)).save_weights(path, overwrite=True)
    with pytest.raises(UserError) as error:
        segmentation.load_weights(model, str(path))
    assert str(path) in one_sentence(error)


@pytest.fixture
def kaggle_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    for name in ("KAGGLE_API_ENVIRONMENT", "KAGGLE_KERNEL_RUN_TYPE", "TBE_RUNTIME_ADDR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def no_network(monkeypatch):
    def fail(*args, **kwargs):
        raise socket.gaierror("the network is closed")

    monkeypatch.setattr(socket, "getaddrinfo", fail)


def assert_says_where_to_put_it(error):
    text = one_sentence(error)
    assert PRESET in text and "https://www.kaggle.com/models/keras/deeplabv3plus" in text
    for name in (*FILES, "--segmentation_weights=PATH", "--segmentation_weights=random"):
        assert name in text


def test_pascalvoc_without_a_network(model, kaggle_cache, no_network):
    for call in (
        lambda: segmentation.fetch("pascalvoc"),
        lambda: segmentation.load_weights(model, "pascalvoc"),
    ):
        start = time.monotonic()
        with pytest.raises(UserError) as error:
            call()
        assert time.monotonic() - start < 10.0
        assert_says_where_to_put_it(error)
    assert segmentation.fingerprint("pascalvoc") == "pascalvoc-4"


def test_download_from_a_server_that_does_not_answer(kaggle_cache, monkeypatch):
    send = requests.Session.send
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10.0)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        environment = kagglesdk.kaggle_env.KaggleEnv.PROD
        monkeypatch.setitem(kagglesdk.kaggle_env._env_to_endpoint, environment, address)
        monkeypatch.setattr(presets, "_DOWNLOAD_TIMEOUT", 0.5)
        monkeypatch.setenv("no_proxy", "*")
        accepted = []
        listener = threading.Thread(target=lambda: accepted.append(server.accept()))
        listener.start()
        start = time.monotonic()
        with pytest.raises(UserError) as error:
            segmentation.fetch("pascalvoc")
        assert time.monotonic() - start < 10.0
        listener.join()
        assert_says_where_to_put_it(error)
        accepted[0][0].close()
    assert requests.Session.send is send


def test_pascalvoc_in_kagglehubs_cache_needs_no_network(
    model, forward, segmenter, preset, kaggle_cache, no_network
):
    handle = kagglehub.handle.parse_model_handle(segmentation._PRESET.handle)
    for name in FILES:
        path = kagglehub.cache.get_cached_path(handle, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.link(preset / name, path)
        kagglehub.cache.Cache().mark_as_complete(handle, name)

    segmentation.fetch("pascalvoc")
    segmentation.load_weights(model, "pascalvoc")

    lightness = pictures(width=96)
    assert_is_whole(forward(lightness), whole(segmenter, lightness))


def test_without_keras_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    for call in (segmentation.build, lambda: segmentation.fetch("pascalvoc")):
        with pytest.raises(UserError, match=r"pip install 'koalagan\[hub\]'") as error:
            call()
        one_sentence(error)
    segmentation.fetch("random")
    assert segmentation.fingerprint("random") == "random-v1"
