# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The frozen Inception-ResNet-v2, which classifies an image: 1001 logits from its lightness.

Input: L, float32 [B, H, W, 1] in [-1, 1], any size. Output: logits before softmax, float32
[B, 1001], the background class first. L is resized to 299x299 (bilinear, no antialiasing) and
stacked three times. A grayscale image after the network's own preprocessing, which maps RGB to
[-1, 1], has the same form. The architecture (Szegedy et al., Inception-v4, Inception-ResNet and the
Impact of Residual Connections on Learning, AAAI 2017, figures 3 and 5 to 8 as released in TF-Slim)
is `keras.applications.InceptionResNetV2`. Fusing its logits into a colorization network is Deep
Koalarization's idea (Baldassarre et al., 2017, section 3.2).

Weights, for `load_weights`:
- `imagenet`: the file that Keras publishes. It is TF-Slim's checkpoint without the background
  class, so logits 1..1000 are exact and logit 0 is the constant 0.
- `slim:PATH`: TF-Slim's checkpoint itself, all 1001 logits exact.
- a `.weights.h5` path: written by `save_weights` of this model.
- `random`: an untrained network drawn from a fixed seed, for tests and for use offline.
"""

import os
import re
from collections.abc import Iterable

import keras
import numpy as np
from absl import logging

from koalagan import files, precision
from koalagan.errors import UserError, one_line
from koalagan.models import downloads, frozen
from koalagan.models.channels import channels_last
from koalagan.models.frozen import slim_checkpoint
from koalagan.models.weights import (
    LOADING_ERRORS,
    WeightsFlag,
    fingerprint_of,
    zero_sum_kernel,
)

SIZE = 299
CLASSES = frozen.CLASSES["embedding"]

_IMAGENET_FILE = "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels.h5"
IMAGENET_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/inception_resnet_v2/"
    + _IMAGENET_FILE
)
IMAGENET_MD5 = "e693bd0210a403b3192acc6073ad2e96"

_FLAG = WeightsFlag(
    "--embedding_weights",
    accepted="imagenet, slim:PATH, a path ending in .weights.h5, or random",
    network="the embedding network",
)

# The seed of `random`. If it or one of the gains changes, so must the version.
_RANDOM_SEED = 20160830
_RANDOM_VERSION = "random-v1"
# Variances of the kernels times their fan-in. With ReLU alone, 2 would preserve the activations'
# scale; 3 also compensates for the mean of each patch, which zero-sum kernels cancel.
_RANDOM_NORMALIZED_GAIN = 3.0
_RANDOM_RESIDUAL_GAIN = 1.0
_RANDOM_LOGITS_GAIN = 16.0


@channels_last()
def build(dtype: str = "float32") -> keras.Model:
    """Builds the frozen network, in `dtype` under any global dtype policy.

    Layers have the names of TF-Slim's scopes; `_norm` and `_relu` are the suffixes of the layers
    that follow a convolution. Weights are Keras's initial ones until `load_weights`.

    Args:
        dtype: what it computes in, float32 or bfloat16; weights are float32.
    """
    with precision.policy(dtype):
        lightness = keras.Input((None, None, 1), dtype="float32", name="L")
        resized = keras.layers.Resizing(
            SIZE, SIZE, interpolation="bilinear", dtype="float32", name="resize"
        )
        stacked = keras.layers.Concatenate(dtype="float32", name="stack")([resized(lightness)] * 3)
        network = keras.applications.InceptionResNetV2(
            input_tensor=stacked, weights=None, classes=CLASSES, classifier_activation=None
        )
        # keras.applications wraps the input in a list, which warns when called with a tensor.
        model = keras.Model(lightness, network.output, name="embedding")
    _name_layers(model)
    model.trainable = False
    return model


def load_weights(model: keras.Model, weights: str) -> None:
    """Sets all weights.

    Args:
        model: the network, from `build`.
        weights: `imagenet`, `slim:PATH`, a path that ends in `.weights.h5`, or `random`.

    Raises:
        UserError: `weights` is none of these, or its file cannot be downloaded, read or used.
    """
    if weights == "random":
        _set_random(model)
    elif weights == "imagenet":
        _load_imagenet(model)
    elif weights.startswith("slim:"):
        slim_checkpoint.load(model, weights.removeprefix("slim:"))
    elif weights.endswith(".weights.h5"):
        _FLAG.load_file(model, weights)
    else:
        raise _FLAG.not_accepted(weights)


def fetch(weights: str) -> None:
    """Downloads the file that `weights` needs, unless it is cached.

    Raises:
        UserError: it cannot be downloaded.
    """
    if weights == "imagenet":
        downloads.fetch_keras_file(
            _IMAGENET_FILE,
            IMAGENET_URL,
            IMAGENET_MD5,
            " and pass --embedding_weights=imagenet, or set --embedding_weights to slim:PATH, the "
            "path of a .weights.h5 file, or random",
        )


def fingerprint(weights: str) -> str:
    """Identifies the weights that `load_weights(model, weights)` sets, without loading them.

    Returns:
        `random-v1`, `imagenet`, `slim-<hash>` or `file-<hash>`; see `weights.fingerprint_of` for
        the hash. `imagenet-<hash>` if the file in Keras's cache is not the one that Keras
        publishes.

    Raises:
        UserError: `load_weights` does not accept `weights`, or its file does not exist.
    """
    if weights == "random":
        return _RANDOM_VERSION
    if weights == "imagenet":
        path = downloads.keras_path(_IMAGENET_FILE)
        if not os.path.isfile(path) or files.digest([path], "md5") == IMAGENET_MD5:
            return "imagenet"
        return fingerprint_of("imagenet", [path])
    if weights.startswith("slim:"):
        return fingerprint_of("slim", slim_checkpoint.files(weights.removeprefix("slim:")))
    if weights.endswith(".weights.h5"):
        _FLAG.check_file(weights)
        return fingerprint_of("file", [weights])
    raise _FLAG.not_accepted(weights)


def _name_layers(model: keras.Model) -> None:
    """Renames the layers of keras.applications, whose numbers continue from model to model.

    Keras numbers layers in the order of creation, whereas `model.layers` is in the order of depth.
    keras.applications creates each convolution together with its batch norm and ReLU.
    """
    numbered: dict[str, list[tuple[int, keras.Layer]]] = {}
    for layer in model.layers:
        if match := re.fullmatch(r"([a-z_]+(?:2d)?)(?:_(\d+))?", layer.name):
            numbered.setdefault(match[1], []).append((int(match[2] or 0), layer))
    created = {
        kind: [layer for _, layer in sorted(layers, key=lambda pair: pair[0])]
        for kind, layers in numbered.items()
    }
    kinds = {"conv2d": "", "batch_normalization": "_norm", "activation": "_relu"}
    *scopes, last_scope = slim_checkpoint.NORMALIZED_SCOPES
    for kind, suffix in kinds.items():
        for scope, layer in zip(scopes, created.pop(kind), strict=True):
            layer.name = slim_checkpoint.layer_name(scope) + suffix
    for own, suffix in {"conv_7b": "", "conv_7b_bn": "_norm", "conv_7b_ac": "_relu"}.items():
        model.get_layer(own).name = slim_checkpoint.layer_name(last_scope) + suffix
    blocks = [f"block35_{i}" for i in range(1, 11)]
    blocks += [f"block17_{i}" for i in range(1, 21)] + [f"block8_{i}" for i in range(1, 11)]
    for block, scope in zip(blocks, slim_checkpoint.RESIDUAL_SCOPES, strict=True):
        model.get_layer(f"{block}_conv").name = slim_checkpoint.layer_name(scope)
    model.get_layer("predictions").name = "logits"
    for kind in ("max_pooling2d", "average_pooling2d", "custom_scale_layer"):
        for i, layer in enumerate(created[kind]):
            layer.name = f"{kind}_{i}"
    for scope in slim_checkpoint.NORMALIZED_SCOPES:
        layer = model.get_layer(slim_checkpoint.layer_name(scope))
        if not scope.endswith("_{}x{}".format(*layer.kernel_size)):
            raise RuntimeError(
                f"keras.applications built a {layer.kernel_size} kernel for {scope}."
            )


def _set_random(model: keras.Model) -> None:
    """Draws an untrained network whose logits are of order 1 and differ between images.

    On 100 COCO pictures the standard deviation of all logits is 1.2 and that of one logit between
    pictures 0.4; the largest logit is 8.
    """
    source = np.random.RandomState(_RANDOM_SEED)

    def kernel(shape: Iterable[int], gain: float) -> np.ndarray:
        return zero_sum_kernel(source, shape, gain)

    for scope in slim_checkpoint.NORMALIZED_SCOPES:
        layer = model.get_layer(slim_checkpoint.layer_name(scope))
        norm = model.get_layer(f"{slim_checkpoint.layer_name(scope)}_norm")
        layer.kernel.assign(kernel(layer.kernel.shape, _RANDOM_NORMALIZED_GAIN))
        norm.beta.assign(np.zeros(norm.beta.shape))
        norm.moving_mean.assign(np.zeros(norm.beta.shape))
        norm.moving_variance.assign(np.ones(norm.beta.shape))
    for scope in slim_checkpoint.RESIDUAL_SCOPES:
        layer = model.get_layer(slim_checkpoint.layer_name(scope))
        layer.kernel.assign(kernel(layer.kernel.shape, _RANDOM_RESIDUAL_GAIN))
        layer.bias.assign(np.zeros(layer.bias.shape))
    logits = model.get_layer("logits")
    logits.kernel.assign(kernel(logits.kernel.shape, _RANDOM_LOGITS_GAIN))
    logits.bias.assign(np.zeros(logits.bias.shape))


@channels_last()
def _load_imagenet(model: keras.Model) -> None:
    path = downloads.keras_path(_IMAGENET_FILE)
    fetch("imagenet")
    if files.digest([path], "md5") != IMAGENET_MD5:
        logging.warning("%s is not the file that Keras publishes; it is used nevertheless", path)
    with precision.policy("float32"):
        try:
            published = keras.applications.InceptionResNetV2(
                weights=path, classes=CLASSES - 1, classifier_activation=None
            )
        except LOADING_ERRORS as error:
            raise UserError(
                f"{path} is damaged or is not Keras's Inception-ResNet-v2 ({one_line(error)}): "
                f"delete it to have it downloaded from {IMAGENET_URL}, or {_FLAG.advice}."
            ) from error
    # The same function built both networks, so their layers are in the same order.
    targets = [layer for layer in model.layers if layer.weights]
    sources = [layer for layer in published.layers if layer.weights]
    for target, layer in zip(targets, sources, strict=True):
        values = layer.get_weights()
        if target.name == "logits":
            # The background class. With weights and bias 0, its logit is 0 for every image, near
            # the mean of the others, and carries no information into the fusion.
            values = [np.insert(value, 0, 0.0, axis=-1) for value in values]
        target.set_weights(values)
