# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Loading keras-hub's presets, at the networks' real size, compared to keras-hub's networks."""

import hashlib
import json
import os
import shutil
import sys
import warnings

import h5py
import kagglehub.cache
import kagglehub.handle
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import presets
from helpers.published import (
    RESNET18,
    SEGMENTATION,
    close_network,
    graph,
    one_sentence,
    pictures,
)

from koalagan.errors import UserError
from koalagan.models.frozen import segmentation


class Segmentation:
    """The frozen DeepLabV3+, and keras-hub's segmenter that wrote the preset `folder`."""

    network = SEGMENTATION

    def __init__(self, folder):
        self.folder = folder
        self.segmenter = presets.segmenter()
        self.segmenter.save_to_preset(str(folder))
        self.model = segmentation.build()
        self.forward = graph(self.model)

    def load(self, weights):
        """Loads over NaNs."""
        for weight in self.model.weights:
            weight.assign(tf.fill(weight.shape, np.nan))
        segmentation.load_weights(self.model, str(weights))

    def check(self, scale=presets.SCALE, offset=presets.OFFSET, sizes=((64, 96),)):
        """Upsampled scores are keras-hub's logits."""
        for height, width in sizes:
            lightness = pictures(height=height, width=width)
            scores = self.forward(lightness)
            assert scores.shape == (2, height // 4, width // 4, 21)
            pixels = (np.repeat(lightness, 3, axis=-1) + 1.0) / 2.0 * 255.0
            pixels = pixels * np.float32(scale) + np.float32(offset)
            # Without `training`, keras-hub's pyramid pooling normalizes by the batch.
            expected = self.segmenter(pixels, training=False).numpy()
            assert expected.std() > 0.1
            upsampled = tf.image.resize(scores, expected.shape[1:3], "bilinear")
            np.testing.assert_allclose(upsampled, expected, rtol=0, atol=1e-4 * expected.std())


class ResNet18:
    """The ResNet18 U-Net, and keras-hub's backbone that wrote the preset `folder`."""

    network = RESNET18

    def __init__(self, folder):
        self.folder = folder
        self.resnet = presets.resnet18()
        self.resnet.save_to_preset(str(folder))
        self.model = RESNET18.module.build(image_size=64)
        encoder = {id(weight) for weight in self.model.get_layer("encoder").weights}
        self.others = [weight for weight in self.model.weights if id(weight) not in encoder]
        self.values = [weight.numpy() for weight in self.others]

    def load(self, weights):
        """Loads over NaNs."""
        for weight in self.model.get_layer("encoder").weights:
            weight.assign(tf.fill(weight.shape, np.nan))
        RESNET18.load(self.model, str(weights))

    def check(self):
        """The encoder is keras-hub's network, and other weights are unchanged."""
        encoder = self.model.get_layer("encoder")
        expected = {weight.path: weight.numpy() for weight in self.resnet.weights}
        assert {weight.path for weight in encoder.weights} == set(expected)
        for weight in encoder.weights:
            np.testing.assert_array_equal(weight, expected[weight.path])
        images = np.random.default_rng(7).normal(size=(1, 64, 64, 3)).astype(np.float32)
        features = keras.Model(encoder.input, encoder.output)(images, training=False)
        for actual, wanted in zip(
            features, presets.resnet18_features(self.resnet, images), strict=True
        ):
            assert np.std(wanted) > 0.1
            np.testing.assert_allclose(actual, wanted, atol=1e-5)
        assert len(self.others) > 50
        for weight, value in zip(self.others, self.values, strict=True):
            np.testing.assert_array_equal(weight, value)


@pytest.fixture(scope="module", params=[Segmentation, ResNet18], ids=lambda kind: kind.__name__)
def written(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("preset")
    yield request.param(folder)
    shutil.rmtree(folder)


@pytest.fixture
def copy(written, tmp_path):
    """A preset for one test, whose files are links until they are replaced."""
    folder = link(written, tmp_path / "preset")
    yield folder
    shutil.rmtree(folder)


def link(written, folder):
    folder.mkdir()
    for name in files(written):
        os.link(written.folder / name, folder / name)
    return folder


def files(written) -> tuple[str, ...]:
    return written.network.module.PRESET.files


def replace(path, data):
    """Writes a new file in place of a link."""
    path.unlink()
    path.write_bytes(data)


def refused(written, weights) -> str:
    """The error message; the model must not have changed."""
    before = written.model.get_weights()
    with pytest.raises(UserError) as error, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as outside of pytest, where they are no errors
        written.network.load(written.model, str(weights))
    for weight, former in zip(written.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, former)
    return one_sentence(error)


def test_preset_of_a_folder(written):
    written.network.module.fetch(str(written.folder))
    written.load(written.folder)
    if written.network is SEGMENTATION:
        written.check(sizes=[(64, 96), (160, 128)])
        digest = hashlib.sha256(
            b"".join((written.folder / name).read_bytes() for name in files(written))
        )
        expected = f"preset-{digest.hexdigest()[:16]}"
        assert segmentation.fingerprint(str(written.folder)) == expected
    else:
        written.check()
        # The file is one that save_weights could have written.
        written.load(written.folder / "model.weights.h5")
        written.check()


def test_preset_is_loaded_in_float32_under_any_policy(written):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("bfloat16")
    try:
        written.load(written.folder)
        assert keras.config.dtype_policy().name == "bfloat16"
    finally:
        keras.config.set_dtype_policy(before)
    written.check()


def test_preset_in_kagglehubs_cache_needs_no_network(written, monkeypatch, tmp_path):
    close_network(monkeypatch, tmp_path)
    handle = kagglehub.handle.parse_model_handle(written.network.module.PRESET.handle)
    for name in files(written):
        path = kagglehub.cache.get_cached_path(handle, name)
        assert path.startswith(str(tmp_path))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.link(written.folder / name, path)
        kagglehub.cache.Cache().mark_as_complete(handle, name)
    written.network.module.fetch(written.network.published)
    written.load(written.network.published)
    written.check()
    shutil.rmtree(tmp_path / "kagglehub")


def test_preset_that_lacks_files(written, copy):
    for name in reversed(files(written)):
        (copy / name).unlink()
        missing = ", ".join(n for n in files(written) if not (copy / n).exists())
        texts = [refused(written, copy)]
        if written.network is SEGMENTATION:
            with pytest.raises(UserError) as error:
                segmentation.fingerprint(str(copy))
            texts.append(one_sentence(error))
        for text in texts:
            assert f"{copy} lacks {missing}" in text and written.network.flag in text


def change_config(folder, name, **changes):
    """Changes the configuration of the segmenter ("task"), its backbone or its encoder."""
    task = json.loads((folder / "task.json").read_text())
    config = task["config"] if name == "task" else task["config"]["backbone"]["config"]
    config = config["image_encoder"]["config"] if name == "encoder" else config
    config.update(changes)
    replace(folder / "task.json", json.dumps(task).encode())


def change_class(folder, name):
    config = json.loads((folder / "config.json").read_text())
    replace(folder / "config.json", json.dumps({**config, "registered_name": name}).encode())


def truncate(path, size):
    replace(path, path.read_bytes()[:size])


def without(path, group):
    """Deletes a group of an HDF5 file."""
    replace(path, path.read_bytes())
    with h5py.File(path, "r+") as file:
        del file[group]


def dense(path):
    """Writes the weights of another network."""
    path.unlink()
    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Dense(3)(inputs)).save_weights(path)


def smaller_resnet(folder):
    for path in folder.iterdir():
        path.unlink()
    presets.resnet18(stackwise_num_blocks=[1, 1, 1, 1]).save_to_preset(str(folder))


DAMAGES = {
    Segmentation: [
        (lambda f: replace(f / "config.json", b"{"), "property name"),
        (lambda f: change_class(f, "keras_hub>ResNetBackbone"), ""),
        (lambda f: replace(f / "task.json", b"[]"), ""),
        (lambda f: change_config(f, "task", num_classes=5), "num_classes is 5, not 21"),
        (lambda f: change_config(f, "decoder", dilation_rates=[2, 4, 6]), "dilation_rates is [2"),
        (lambda f: change_config(f, "encoder", stackwise_num_strides=[1, 2, 2, 1]), "strides"),
        (lambda f: truncate(f / "task.weights.h5", 100), "truncated"),
        (lambda f: without(f / "task.weights.h5", "layers/conv2d"), "segmentation_output"),
        (lambda f: without(f / "model.weights.h5", "layers/conv2d_1"), "segmentation_head_conv"),
        (lambda f: replace(f / "model.weights.h5", b"weights" * 1000), "signature"),
    ],
    ResNet18: [
        (lambda f: replace(f / "config.json", b"{"), "property name"),
        (lambda f: change_class(f, "other>Net"), ""),
        (smaller_resnet, "stackwise_num_blocks is [1, 1, 1, 1], not [2, 2, 2, 2]"),
        (lambda f: truncate(f / "model.weights.h5", 1_000_000), "truncated"),
        (lambda f: without(f / "model.weights.h5", "layers/conv2d_7"), ""),
        (lambda f: replace(f / "model.weights.h5", b"not HDF5"), "signature"),
        (lambda f: dense(f / "model.weights.h5"), ""),
    ],
}


def test_presets_that_are_damaged_or_of_another_network(written, tmp_path):
    # In one test: parameters beside those of `written` would build its networks anew for each.
    for i, (damage, part) in enumerate(DAMAGES[type(written)]):
        folder = link(written, tmp_path / f"preset_{i}")
        damage(folder)
        text = refused(written, folder)
        assert f"{folder} is damaged" in text and part in text
        assert f"set {written.network.flag} to {written.network.published}" in text
        if damage is smaller_resnet:
            file = folder / "model.weights.h5"
            assert f"{file} is damaged" in refused(written, file)
        shutil.rmtree(folder)


@pytest.mark.parametrize("written", [Segmentation], indirect=True)
@pytest.mark.parametrize(
    "scale,offset", [(None, None), (1 / 127.5, -1.0)], ids=["none, as published", "one for all"]
)
def test_scale_and_offset_of_the_preset(written, copy, scale, offset):
    task = json.loads((copy / "task.json").read_text())
    task["config"]["preprocessor"]["config"]["image_converter"]["config"].update(
        scale=scale, offset=offset
    )
    # The published head may end in a softmax; scores are the values before it.
    task["config"]["activation"] = "softmax"
    replace(copy / "task.json", json.dumps(task).encode())
    written.load(copy)
    written.check(scale or 1.0, offset or 0.0)


@pytest.mark.parametrize("written", [Segmentation], indirect=True)
def test_a_preset_that_contains_code_is_refused_and_not_run(written, tmp_path):
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
    for name in files(written):
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
        written.network.load(written.model, str(folder))
    assert not trap.exists()


def test_without_keras_hub(written, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    network = written.network
    for call in (
        network.build,
        lambda: network.module.fetch(network.published),
        lambda: network.load(written.model, str(written.folder)),
    ):
        with pytest.raises(UserError, match=r"pip install 'koalagan\[hub\]'") as error:
            call()
        one_sentence(error)
    network.module.fetch("random")
    network.load(written.model, "random")
    if network is SEGMENTATION:
        assert network.module.fingerprint("random") == "random-v1"
