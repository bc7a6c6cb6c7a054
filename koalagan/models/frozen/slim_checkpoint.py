# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Reads TF-Slim's Inception-ResNet-v2 checkpoint into the network of `inception_resnet_v2`.

The checkpoint is `inception_resnet_v2_2016_08_30.ckpt`, 1001 classes with the background first:
one file in TensorFlow's V1 format, or a prefix with `.index` and `.data-*` files in V2. Variables
are named `InceptionResnetV2/<scope>/<weight>` with the scopes of `inception_resnet_v2.py` in
TF-Slim's model zoo. Kernels have Keras's layout ([height, width, in, out], dense [in, out]), so
values are copied unchanged. Batch norms have no gamma, and their epsilon is Keras's, 0.001.
"""

import glob
import os
from collections.abc import Container

import keras
import numpy as np
import tensorflow as tf

from koalagan.errors import UserError

_ROOT = "InceptionResnetV2/"
_LOGITS = "Logits/Logits"
_EXPECTED = "TF-Slim's Inception-ResNet-v2 with 1001 classes"
# TensorFlow's reader converts only some of its errors; a truncated file raises IndexError.
_READ_ERRORS = (tf.errors.OpError, ValueError, RuntimeError, LookupError)

_BLOCK35 = (
    "Branch_0/Conv2d_1x1",
    "Branch_1/Conv2d_0a_1x1",
    "Branch_1/Conv2d_0b_3x3",
    "Branch_2/Conv2d_0a_1x1",
    "Branch_2/Conv2d_0b_3x3",
    "Branch_2/Conv2d_0c_3x3",
)
_BLOCK17 = (
    "Branch_0/Conv2d_1x1",
    "Branch_1/Conv2d_0a_1x1",
    "Branch_1/Conv2d_0b_1x7",
    "Branch_1/Conv2d_0c_7x1",
)
_BLOCK8 = (
    "Branch_0/Conv2d_1x1",
    "Branch_1/Conv2d_0a_1x1",
    "Branch_1/Conv2d_0b_1x3",
    "Branch_1/Conv2d_0c_3x1",
)
# (scope of the residual block, its convolutions with a batch norm), in the network's order.
_BLOCKS35 = [(f"Repeat/block35_{i}", _BLOCK35) for i in range(1, 11)]
_BLOCKS17 = [(f"Repeat_1/block17_{i}", _BLOCK17) for i in range(1, 21)]
_BLOCKS8 = [(f"Repeat_2/block8_{i}", _BLOCK8) for i in range(1, 10)] + [("Block8", _BLOCK8)]


def _join(scope: str, convolutions: tuple[str, ...]) -> list[str]:
    return [f"{scope}/{convolution}" for convolution in convolutions]


def _inside(blocks: list[tuple[str, tuple[str, ...]]]) -> list[str]:
    return [name for scope, convolutions in blocks for name in _join(scope, convolutions)]


# The convolutions that a batch norm follows, in the order of their creation in Keras.
NORMALIZED_SCOPES: tuple[str, ...] = (
    "Conv2d_1a_3x3",
    "Conv2d_2a_3x3",
    "Conv2d_2b_3x3",
    "Conv2d_3b_1x1",
    "Conv2d_4a_3x3",
    "Mixed_5b/Branch_0/Conv2d_1x1",
    "Mixed_5b/Branch_1/Conv2d_0a_1x1",
    "Mixed_5b/Branch_1/Conv2d_0b_5x5",
    "Mixed_5b/Branch_2/Conv2d_0a_1x1",
    "Mixed_5b/Branch_2/Conv2d_0b_3x3",
    "Mixed_5b/Branch_2/Conv2d_0c_3x3",
    "Mixed_5b/Branch_3/Conv2d_0b_1x1",
    *_inside(_BLOCKS35),
    "Mixed_6a/Branch_0/Conv2d_1a_3x3",
    "Mixed_6a/Branch_1/Conv2d_0a_1x1",
    "Mixed_6a/Branch_1/Conv2d_0b_3x3",
    "Mixed_6a/Branch_1/Conv2d_1a_3x3",
    *_inside(_BLOCKS17),
    "Mixed_7a/Branch_0/Conv2d_0a_1x1",
    "Mixed_7a/Branch_0/Conv2d_1a_3x3",
    "Mixed_7a/Branch_1/Conv2d_0a_1x1",
    "Mixed_7a/Branch_1/Conv2d_1a_3x3",
    "Mixed_7a/Branch_2/Conv2d_0a_1x1",
    "Mixed_7a/Branch_2/Conv2d_0b_3x3",
    "Mixed_7a/Branch_2/Conv2d_1a_3x3",
    *_inside(_BLOCKS8),
    "Conv2d_7b_1x1",
)
# The last convolutions of the residual blocks, with biases and no batch norm, in the same order.
RESIDUAL_SCOPES: tuple[str, ...] = tuple(
    f"{scope}/Conv2d_1x1" for scope, _ in _BLOCKS35 + _BLOCKS17 + _BLOCKS8
)

# Training state that is not part of the network: slots of each variable, and counters.
_SLOTS = ("ExponentialMovingAverage", "RMSProp", "RMSProp_1", "Momentum", "Adam", "Adam_1")
_COUNTERS = ("global_step", "beta1_power", "beta2_power")


def layer_name(scope: str) -> str:
    """The name of the Keras layer for a slim scope; layer names cannot contain a slash."""
    return scope.replace("/", "_")


def files(path: str) -> list[str]:
    """The files of the checkpoint `path`, in a fixed order.

    Raises:
        UserError: there is no such checkpoint.
    """
    if path.endswith(".index"):
        raise UserError(
            "a TF-Slim checkpoint is given without .index: pass --embedding_weights=slim:"
            f"{path.removesuffix('.index')}."
        )
    # V2 first, as TensorFlow does.
    if os.path.isfile(path + ".index"):
        return [path + ".index", *sorted(glob.glob(glob.escape(path) + ".data-*"))]
    if os.path.isfile(path):
        return [path]
    raise UserError(
        f"there is no TF-Slim checkpoint {path} (nor {path}.index): pass "
        "--embedding_weights=slim:PATH with the path of inception_resnet_v2_2016_08_30.ckpt."
    )


def load(model: keras.Model, path: str) -> None:
    """Sets all weights of `model` (`inception_resnet_v2.build`) from the slim checkpoint `path`.

    The model changes only after the whole checkpoint has been read and checked.

    Raises:
        UserError: the checkpoint is missing or unreadable, lacks a variable of the network, holds
            one with another shape or dtype, or holds variables that belong neither to the network
            nor to its training (auxiliary logits, optimizer slots, moving averages, counters).
    """
    files(path)
    wanted = _variables(model)
    try:
        reader = tf.train.load_checkpoint(path)
        shapes = reader.get_variable_to_shape_map()
    except _READ_ERRORS as error:
        raise _unreadable(path) from error
    for name, variable in wanted.items():
        if name not in shapes:
            raise UserError(f"the checkpoint {path} has no variable {name}: it is not {_EXPECTED}.")
        if tuple(shapes[name]) != tuple(variable.shape):
            raise UserError(
                f"{name} in the checkpoint {path} has the shape {list(shapes[name])} instead of "
                f"{list(variable.shape)}: it is not {_EXPECTED}."
            )
    extra = set(shapes) - set(wanted)
    if unknown := sorted(name for name in extra if not _is_training_state(name, wanted)):
        more = f" and {len(unknown) - 1} more variables" if len(unknown) > 1 else ""
        raise UserError(
            f"the checkpoint {path} holds {unknown[0]}{more} that Inception-ResNet-v2 does not "
            f"have: it is not {_EXPECTED}."
        )
    try:
        values = {name: reader.get_tensor(name) for name in wanted}
    except _READ_ERRORS as error:
        raise _unreadable(path) from error
    for name, value in values.items():
        if value.dtype != np.float32:
            raise UserError(
                f"{name} in the checkpoint {path} is {value.dtype}, not float32: it is not "
                f"{_EXPECTED}."
            )
    for name, variable in wanted.items():
        variable.assign(values[name])


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    """The Keras variables of the network by their names in the checkpoint."""
    variables = {}
    for scope in NORMALIZED_SCOPES:
        norm = model.get_layer(f"{layer_name(scope)}_norm")
        variables[f"{scope}/weights"] = model.get_layer(layer_name(scope)).kernel
        variables[f"{scope}/BatchNorm/beta"] = norm.beta
        variables[f"{scope}/BatchNorm/moving_mean"] = norm.moving_mean
        variables[f"{scope}/BatchNorm/moving_variance"] = norm.moving_variance
    for scope in RESIDUAL_SCOPES:
        layer = model.get_layer(layer_name(scope))
        variables[f"{scope}/weights"] = layer.kernel
        variables[f"{scope}/biases"] = layer.bias
    logits = model.get_layer("logits")
    variables[f"{_LOGITS}/weights"] = logits.kernel
    variables[f"{_LOGITS}/biases"] = logits.bias
    if {id(v) for v in variables.values()} != {id(v) for v in model.weights}:
        raise RuntimeError("The slim scopes do not cover the Keras network's weights exactly once.")
    return {_ROOT + name: variable for name, variable in variables.items()}


def _is_training_state(name: str, wanted: Container[str]) -> bool:
    """Whether a variable belongs to the training of the network that has the `wanted` ones."""
    if name in _COUNTERS or name.startswith(_ROOT + "AuxLogits/"):
        return True
    parent, _, slot = name.rpartition("/")
    return slot in _SLOTS and parent in wanted


def _unreadable(path: str) -> UserError:
    return UserError(
        f"{path} cannot be read as a TensorFlow checkpoint: it is damaged or another kind of file; "
        "download inception_resnet_v2_2016_08_30.ckpt again."
    )
