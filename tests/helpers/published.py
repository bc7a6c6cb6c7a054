# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The networks with published weights, and what their tests share."""

import dataclasses
import socket
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import h5py
import keras
import numpy as np
import tensorflow as tf

from helpers import presets
from koalagan.models.frozen import inception_resnet_v2, segmentation
from koalagan.models.generators import resnet18_unet


@dataclasses.dataclass(frozen=True)
class Network:
    """A module that loads published weights.

    Attributes:
        module: has `build` and `fetch`, and `fingerprint` if the network is frozen.
        load: sets weights of a model from a value of the flag.
        flag: selects the weights.
        published: the value of the flag that selects the published weights.
        accepted: parts of error messages that list the accepted values.
        download: parts of error messages that explain a manual download.
        layer: a layer in files of `save_weights`.
    """

    module: ModuleType
    load: Callable[[keras.Model, str], None]
    flag: str
    published: str
    accepted: tuple[str, ...]
    download: tuple[str, ...]
    layer: str

    def __str__(self) -> str:
        return self.module.__name__.rpartition(".")[2]

    @property
    def frozen(self) -> bool:
        return hasattr(self.module, "fingerprint")

    def build(self) -> keras.Model:
        return self.module.build() if self.frozen else self.module.build(image_size=32)

    def loaded(self, model: keras.Model) -> dict[str, keras.Variable]:
        """The variables that `load` sets, or, in another network, those that it sets them from."""
        if self.frozen:
            return {str(i): weight for i, weight in enumerate(model.weights)}
        encoder = model.get_layer("encoder") if "encoder" in _layers(model) else model
        return {weight.path: weight for weight in encoder.weights}

    def writer(self, model: keras.Model) -> keras.Model:
        """A network whose `save_weights` writes files that `load` accepts."""
        return model if self.frozen else presets.resnet18()


def _layers(model: keras.Model) -> set[str]:
    return {layer.name for layer in model.layers}


EMBEDDING = Network(
    module=inception_resnet_v2,
    load=inception_resnet_v2.load_weights,
    flag="--embedding_weights",
    published="imagenet",
    accepted=("imagenet", "slim:PATH", ".weights.h5", "random"),
    download=(
        "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels.h5",
        "https://storage.googleapis.com/tensorflow/keras-applications/inception_resnet_v2/",
        "--embedding_weights=imagenet",
        "slim:PATH",
        "random",
    ),
    layer="conv2d_100",
)
SEGMENTATION = Network(
    module=segmentation,
    load=segmentation.load_weights,
    flag="--segmentation_weights",
    published="pascalvoc",
    accepted=("pascalvoc", "folder", ".weights.h5", "random"),
    download=(
        "deeplab_v3_plus_resnet50_pascalvoc",
        "config.json, task.json, task.weights.h5, model.weights.h5",
        "https://www.kaggle.com/models/keras/deeplabv3plus",
        "--segmentation_weights=PATH",
        "--segmentation_weights=random",
    ),
    layer="__preprocessing",
)
RESNET18 = Network(
    module=resnet18_unet,
    load=resnet18_unet.load_backbone,
    flag="--backbone_weights",
    published="imagenet",
    accepted=("imagenet", "folder", ".weights.h5", "random"),
    download=(
        "resnet_18_imagenet",
        "config.json, model.weights.h5",
        "https://www.kaggle.com/models/keras/resnetv1",
        "--backbone_weights=PATH",
        "--backbone_weights=random",
    ),
    layer="conv2d_7",
)


def one_sentence(error) -> str:
    """The message of a `pytest.raises`, which must be one sentence."""
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 900, text
    return text


def close_network(monkeypatch, tmp_path) -> None:
    """Lets every download fail, with empty caches in `tmp_path`."""

    def refuse(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    use_empty_caches(monkeypatch, tmp_path)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def use_empty_caches(monkeypatch, tmp_path) -> None:
    """Lets keras and kagglehub, without an account, download to `tmp_path`."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    for name in ("KAGGLE_API_ENVIRONMENT", "KAGGLE_KERNEL_RUN_TYPE", "TBE_RUNTIME_ADDR"):
        monkeypatch.delenv(name, raising=False)


def graph(model):
    """The model as a graph for images of any size, faster than hundreds of layers one by one."""
    signature = [tf.TensorSpec((None, None, None, 1))]
    function = tf.function(lambda lightness: model(lightness), input_signature=signature)
    return lambda lightness: function(lightness).numpy()


def pictures(count=2, height=64, width=64, seed=0) -> tf.Tensor:
    """Lightness with structure at several scales, differing in contrast and detail."""
    random = np.random.default_rng(seed)
    stack = 0
    for cells in (2, 4, 8, 16, 32):
        noise = random.normal(0, 1, (count, cells, cells, 1)) * random.uniform(
            0.1, 0.4, (count, 1, 1, 1)
        )
        stack = stack + tf.image.resize(noise, (height, width), "bicubic")
    return tf.clip_by_value(tf.cast(stack, tf.float32), -1.0, 1.0)


def write_keras_2_file(network: keras.Model, path: Path) -> None:
    """Draws weights for a network and writes them in the format of Keras 2, which Keras publishes
    the weights of its applications in.
    """
    random = np.random.default_rng(9)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in network.layers]
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.0.4"
        for layer in network.layers:
            group = file.create_group(layer.name)
            names = []
            for weight in layer.weights:
                if weight.name == "moving_variance":
                    value = random.uniform(0.3, 2.0, weight.shape)
                elif weight.name == "kernel":
                    fan_in = np.prod(weight.shape[:-1])
                    value = random.normal(0, (2 / fan_in) ** 0.5, weight.shape)
                else:
                    value = random.normal(0.05, 0.2, weight.shape)
                weight.assign(value)
                names.append(f"{layer.name}/{weight.name}:0".encode())
                group.create_dataset(names[-1].decode(), data=value.astype(np.float32))
            group.attrs["weight_names"] = names
