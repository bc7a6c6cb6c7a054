# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The Inception-GAN paper's generator: an encoder-decoder that fuses an embedding at H/8.

Inputs (a dict): `L` float32 [B,H,W,1] in [-1,1]; `embedding` float32 [B,1001], Inception-ResNet-v2
logits; `segmentation` float32 [B,h,w,21] class scores of any size, resized here to H x W.
Output: `ab` float32 [B,H,W,2] in [-1,1].

Architecture (3x3 convolutions, same padding, ReLU, unless said; s2 = stride 2; no skips, no norm):

    input    L, or with segmentation L three times + 21 scores -> conv 24
    encoder  64 s2, 128, 128 s2, 256, 256 s2, 512, 512, 256      -> H/8 x W/8 x 256
    fusion   append the repeated embedding (1257 channels), 1x1 conv 256
    decoder  128, up x2 nearest, 64, 64, up, 32, 2 tanh, up      -> H x W x 2

The encoder and decoder are Deep Koalarization's (Baldassarre et al. 2017, Table 1); the
Inception-GAN paper adds the segmentation layer. The paper's text gives the last encoder layer 512
filters, its table and its 1257 channels 256: this follows the table. The paper tries dropout in the
decoder without stating where; here it comes after each of the four ReLUs.
Parameters: 6,574,050 without segmentation, 6,592,506 with it, 6,317,794 without the embedding.
"""

import functools

import keras
from keras import layers

from koalagan.models import frozen
from koalagan.models.channels import channels_last
from koalagan.models.generators.sizes import ImageSize, image_shape
from koalagan.models.layers.dropout import Dropout
from koalagan.models.layers.fusion import Fusion
from koalagan.models.layers.resize_conv import ResizeConv2D
from koalagan.models.layers.stacking import StackSegmentation

STRIDE = 8
# See `koalagan.models.heads`.
COLOR_FEATURES = ("decoder_5", 2)

# (name, filters, stride)
_ENCODER = (
    ("encoder_1", 64, 2),
    ("encoder_2", 128, 1),
    ("encoder_3", 128, 2),
    ("encoder_4", 256, 1),
    ("encoder_5", 256, 2),
    ("encoder_6", 512, 1),
    ("encoder_7", 512, 1),
    ("encoder_8", 256, 1),
)


def _conv(x, filters: int, name: str, *, initializer, kernel_size: int = 3, strides: int = 1):
    return layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        activation="relu",
        kernel_initializer=initializer,
        name=name,
    )(x)


def _dropout(x, name: str, *, rate: float, always: bool):
    if not rate:
        return x
    return Dropout(rate, at_inference=always, name=name)(x)


@channels_last()
def build(
    image_size: ImageSize = 256,
    segmentation: bool = True,
    embedding: bool = True,
    dropout: float = 0.0,
    dropout_at_inference: bool = False,
    kernel_initializer="he_normal",
) -> keras.Model:
    """Builds the generator; see the module's docstring for its inputs and output.

    Args:
        image_size: an int or (height, width), multiples of 8; None for a side of any length.
        segmentation: stack the 21 class scores on the input.
        embedding: fuse the embedding. If False, the 1x1 fusion convolution stays.
        dropout: the rate after each of the decoder's ReLUs; 0 adds no dropout layers.
        dropout_at_inference: apply dropout in every call, not only in training.
        kernel_initializer: initializer of all kernels. He and not N(0, 0.02), with which the
            initial output would vanish because there is no normalization.

    Raises:
        UserError: the image size is not a multiple of 8.
    """
    height, width = image_shape(image_size, STRIDE)
    conv = functools.partial(_conv, initializer=kernel_initializer)
    lightness = keras.Input((height, width, 1), name="L", dtype="float32")
    inputs = {"L": lightness}
    x = lightness
    if segmentation:
        classes = frozen.CLASSES["segmentation"]
        inputs["segmentation"] = keras.Input(
            (None, None, classes), name="segmentation", dtype="float32"
        )
        x = StackSegmentation(name="stack_segmentation")([x, inputs["segmentation"]])
        x = conv(x, 3 + classes, "segmentation_conv")
    for name, filters, strides in _ENCODER:
        x = conv(x, filters, name, strides=strides)
    if embedding:
        inputs["embedding"] = keras.Input(
            (frozen.CLASSES["embedding"],), name="embedding", dtype="float32"
        )
        fusion = Fusion(256, kernel_initializer=kernel_initializer, name="fusion")
        x = fusion([x, inputs["embedding"]])
    else:
        x = conv(x, 256, "fusion", kernel_size=1)
    noise = {"rate": dropout, "always": dropout_at_inference}
    x = _dropout(conv(x, 128, "decoder_1"), "dropout_1", **noise)
    up = functools.partial(ResizeConv2D, kernel_initializer=kernel_initializer)
    x = _dropout(up(64, name="decoder_2")(x), "dropout_2", **noise)
    x = _dropout(conv(x, 64, "decoder_3"), "dropout_3", **noise)
    x = _dropout(up(32, name="decoder_4")(x), "dropout_4", **noise)
    x = layers.Conv2D(
        2, 3, padding="same", kernel_initializer=kernel_initializer, name="decoder_5"
    )(x)
    # Always float32: it is the model's output, and bfloat16 would quantize ab.
    x = layers.Activation("tanh", dtype="float32", name="tanh")(x)
    ab = layers.UpSampling2D(2, interpolation="nearest", dtype="float32", name="ab")(x)
    return keras.Model(inputs, ab, name="inception_fusion")
