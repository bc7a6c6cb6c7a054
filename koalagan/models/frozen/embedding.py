# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The frozen Inception-ResNet-v2 that says what a picture is of: 1001 logits from its lightness.

Input: L, float32 [B, H, W, 1] in [-1, 1], any size. Output: logits before softmax, float32
[B, 1001], the background class first. L is resized to 299x299 (bilinear, no antialiasing) and
stacked three times, which is what the network expects of a grey picture: its preprocessing maps RGB
to [-1, 1] as well. The architecture (Szegedy et al., Inception-v4, Inception-ResNet and the Impact
of Residual Connections on Learning, AAAI 2017, figures 3 and 5 to 8 as released in TF-Slim) is
`keras.applications.InceptionResNetV2`; fusing its logits into a colouring network is Deep
Koalarization (Baldassarre et al., 2017, section 3.2).

Weights, in `load_weights`:
- `imagenet`: the file that Keras publishes. It is TF-Slim's checkpoint with the background class
  dropped, so logits 1..1000 are exact and logit 0 is the constant 0.
- `slim:PATH`: TF-Slim's checkpoint itself, all 1001 logits exact.
- a `.weights.h5` path: written by `save_weights` of this model.
- `random`: an untrained network drawn from a fixed seed, for tests and runs without a network.
"""

import os
import re
import socket
import warnings
from collections.abc import Iterable

import keras
import numpy as np
from absl import logging

from koalagan import files, precision
from koalagan.errors import UserError
from koalagan.models.frozen import slim_checkpoint

SIZE = 299
CLASSES = 1001

_IMAGENET_FILE = "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels.h5"
_IMAGENET_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/inception_resnet_v2/"
    + _IMAGENET_FILE
)
_IMAGENET_MD5 = "e693bd0210a403b3192acc6073ad2e96"
# Seconds that one connection or one read may take: without it a dead network hangs for minutes.
_DOWNLOAD_TIMEOUT = 30.0

_ACCEPTED = "imagenet, slim:PATH, a path ending in .weights.h5, or random"

# `random` draws from this seed; a change of it or of the three gains is a new "random-v..".
_RANDOM_SEED = 20160830
_RANDOM_VERSION = "random-v1"
# Variances of the kernels times their fan-in. ReLU alone would ask for 2; 3 also makes up for the
# part of each patch's energy that zero-sum kernels do not see, so that activations keep their size.
_RANDOM_NORMALIZED_GAIN = 3.0
_RANDOM_RESIDUAL_GAIN = 1.0
_RANDOM_LOGITS_GAIN = 16.0


def build() -> keras.Model:
    """Builds the frozen network, in float32 whatever Keras's global dtype policy.

    Layers are named after TF-Slim's scopes, `_norm` and `_relu` for what follows a convolution.
    Weights are Keras's initial ones until `load_weights`.
    """
    with precision.policy("float32"):
        lightness = keras.Input((None, None, 1), dtype="float32", name="L")
        resized = keras.layers.Resizing(SIZE, SIZE, interpolation="bilinear", name="resize")
        stacked = keras.layers.Concatenate(name="stack")([resized(lightness)] * 3)
        network = keras.applications.InceptionResNetV2(
            input_tensor=stacked, weights=None, classes=CLASSES, classifier_activation=None
        )
        # keras.applications makes the input a list of one, which warns when it gets a tensor.
        model = keras.Model(lightness, network.output, name="embedding")
    _name_layers(model)
    model.trainable = False
    return model


def load_weights(model: keras.Model, weights: str) -> None:
    """Sets all weights of `model`, which comes from `build`.

    Args:
        model: the network to fill.
        weights: `imagenet`, `slim:PATH`, a path that ends in `.weights.h5`, or `random`.

    Raises:
        UserError: `weights` is none of these, or its file cannot be had, read or used.
    """
    if weights == "random":
        _set_random(model)
    elif weights == "imagenet":
        _load_imagenet(model)
    elif weights.startswith("slim:"):
        slim_checkpoint.load(model, weights.removeprefix("slim:"))
    elif weights.endswith(".weights.h5"):
        _load_keras_file(model, weights)
    else:
        raise _not_accepted(weights)


def fetch(weights: str) -> None:
    """Downloads what `weights` needs and is not there yet, so that a later export cannot lack it.

    Raises:
        UserError: it cannot be downloaded.
    """
    if weights == "imagenet" and not os.path.isfile(_imagenet_path()):
        _download_imagenet(_imagenet_path())


def fingerprint(weights: str) -> str:
    """Identifies what `load_weights(model, weights)` sets, without loading it.

    `random-v1`, `imagenet`, `slim-<hash>` or `file-<hash>`; the hash is the first 16 hexadecimal
    digits of the SHA-256 of the files' contents. A file in Keras's cache that is not the one Keras
    publishes makes `imagenet-<hash>`.

    Raises:
        UserError: `weights` is none of what `load_weights` takes, or its file does not exist.
    """
    if weights == "random":
        return _RANDOM_VERSION
    if weights == "imagenet":
        path = _imagenet_path()
        if not os.path.isfile(path) or files.digest([path], "md5") == _IMAGENET_MD5:
            return "imagenet"
        return f"imagenet-{files.digest([path])[:16]}"
    if weights.startswith("slim:"):
        paths = slim_checkpoint.files(weights.removeprefix("slim:"))
        return f"slim-{files.digest(paths)[:16]}"
    if weights.endswith(".weights.h5"):
        _check_file(weights)
        return f"file-{files.digest([weights])[:16]}"
    raise _not_accepted(weights)


def _name_layers(model: keras.Model) -> None:
    """Renames the layers of keras.applications, whose numbers go on from one model to the next.

    Keras numbers layers in the order of their creation (`model.layers` is in the order of depth),
    and creates a convolution, its batch norm and its ReLU in lockstep.
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
            raise RuntimeError(f"keras.applications built a {layer.kernel_size} kernel for {scope}")


def _set_random(model: keras.Model) -> None:
    """An untrained network whose logits are of order 1 and differ between pictures.

    Kernels are uniform, each output's kernel sums to zero and biases are zero. Plain random kernels
    mostly pass on the mean of the (positive) activations, which is nearly the same for every
    picture. On 100 COCO pictures the standard deviation of all logits is 1.2 and that of one logit
    between pictures 0.4; the largest of them is 8.
    """
    # RandomState's stream is frozen by NumPy's policy; Generator's may change between versions.
    source = np.random.RandomState(_RANDOM_SEED)

    def kernel(shape: Iterable[int], gain: float) -> np.ndarray:
        values = source.random_sample(tuple(shape)) * 2.0 - 1.0
        values -= values.mean(axis=tuple(range(values.ndim - 1)))
        fan_in = np.prod(values.shape[:-1])
        return (values * np.sqrt(3.0 * gain / fan_in)).astype(np.float32)

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


def _imagenet_path() -> str:
    """Where Keras keeps the file, whether or not it is there."""
    home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    return os.path.join(os.path.expanduser(home), "models", _IMAGENET_FILE)


def _load_imagenet(model: keras.Model) -> None:
    path = _imagenet_path()
    fetch("imagenet")
    if files.digest([path], "md5") != _IMAGENET_MD5:
        logging.warning("%s is not the file that Keras publishes; using it as it is", path)
    with precision.policy("float32"):
        try:
            published = keras.applications.InceptionResNetV2(
                weights=path, classes=CLASSES - 1, classifier_activation=None
            )
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path} is damaged or is not Keras's Inception-ResNet-v2: delete it to have it "
                f"downloaded from {_IMAGENET_URL}, or pass another --embedding_weights={_ACCEPTED}"
            ) from error
    # One function made both networks, so their layers come in the same order.
    ours = [layer for layer in model.layers if layer.weights]
    theirs = [layer for layer in published.layers if layer.weights]
    for target, layer in zip(ours, theirs, strict=True):
        values = layer.get_weights()
        if target.name == "logits":
            # The background class: weights and bias 0 make its logit 0 for every picture, which is
            # about the middle of the others and carries no information into the fusion.
            values = [np.insert(value, 0, 0.0, axis=-1) for value in values]
        target.set_weights(values)


def _download_imagenet(path: str) -> None:
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT)
    folder, name = os.path.split(path)
    try:
        os.makedirs(folder, exist_ok=True)
        # Under another name until whole, so that what bears the name is never half a file.
        partial = keras.utils.get_file(
            f"{name}.partial",
            _IMAGENET_URL,
            file_hash=_IMAGENET_MD5,
            cache_dir=os.path.dirname(folder),
            cache_subdir=os.path.basename(folder),
        )
        os.replace(partial, path)
    except Exception as error:  # get_file raises a bare Exception when the network fails
        raise UserError(
            f"{_IMAGENET_FILE} could not be downloaded: put the file from {_IMAGENET_URL} at "
            f"{path} and pass --embedding_weights=imagenet, or pass --embedding_weights=slim:PATH, "
            "the path of a .weights.h5 file, or random"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)


def _load_keras_file(model: keras.Model, path: str) -> None:
    _check_file(path)
    try:
        with warnings.catch_warnings():
            # Keras only warns where a part of the network is not in the file.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(path)
    except (OSError, ValueError, KeyError, UserWarning) as error:
        raise UserError(
            f"{path} is damaged or holds another network's weights: --embedding_weights needs a "
            "file written by save_weights of the embedding network"
        ) from error


def _check_file(path: str) -> None:
    if not os.path.isfile(path):
        raise UserError(f"there is no weights file {path}: pass --embedding_weights={_ACCEPTED}")


def _not_accepted(weights: str) -> UserError:
    return UserError(f"--embedding_weights={weights} is not one of {_ACCEPTED}")
