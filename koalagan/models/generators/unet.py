# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""pix2pix's generator, an 8-level U-Net (Isola et al. 2017, section 6.1.1).

Inputs (a dict): `L` float32 [B,H,W,1] in [-1,1], H and W multiples of 256, or of 2^levels.
Output: `ab` float32 [B,H,W,2] in [-1,1].

Architecture, as in `UnetGenerator(1, 2, num_downs=8, ngf=64, use_dropout=True)` of the authors'
PyTorch code (4x4 convolutions, stride 2, padding 1; N = batch norm, D = dropout 0.5):

    down_1..8   64, 128 N, 256 N, 512 N, 512 N, 512 N, 512 N, 512    LeakyReLU 0.2 before 2..8
    up_8..1     512 N, 512 N D, 512 N D, 512 N D, 256 N, 128 N, 64 N, 2 tanh     ReLU before each

Level k is 1/2^k of the size: down_8 is 1x1 for 256x256, and up_k leads from level k to k-1. For
smaller pictures `levels` leaves out levels of 512 with dropout, as the authors' code does with
`num_downs`: 7 for 128x128 is its `unet_128`. The
input of up_(k-1) is the output of down_(k-1) (the skip) and that of up_k, concatenated.
Only up_1 has a bias: the authors' code gives the other convolutions none, not even down_1 and
down_8, which no norm follows. Kernels start from N(0, 0.02), the norms' gammas from N(1, 0.02).
54,409,858 trainable parameters, 39,072,386 without skips; 41,824,898 with 7 levels.

Dropout is the network's only noise. The paper keeps it on at inference, and so does
`dropout_at_inference`. The paper's norms then use the statistics of the batch; here they always use
the moving ones, so that the result for one image does not depend on the others in its batch.
"""

import keras
from keras import layers

from koalagan.models.channels import channels_last
from koalagan.models.generators.sizes import ImageSize, image_shape
from koalagan.models.layers.activations import leaky_relu
from koalagan.models.layers.batch_norm import FusedBatchNormalization
from koalagan.models.layers.dropout import Dropout

STRIDE = 256
# See `koalagan.models.heads`.
COLOR_FEATURES = ("up_1", 2)

_FILTERS = (64, 128, 256, 512, 512, 512, 512, 512)
# up_5, up_6 and up_7, without the innermost.
_FIRST_DROPOUT_LEVEL = 5


def _normal(mean: float) -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(mean, 0.02)


def _norm(x, name: str):
    return FusedBatchNormalization(
        momentum=0.9, epsilon=1e-5, gamma_initializer=_normal(1.0), name=name
    )(x)


def _down(x, level: int, innermost: bool):
    """From level `level - 1` to `level`; the outermost and the innermost have no norm."""
    if level > 1:
        x = layers.Activation(leaky_relu, name=f"leaky_{level}")(x)
    # "same" pads 1 on every side for 4x4 kernels, stride 2 and even sizes, as the authors' code.
    x = layers.Conv2D(
        _FILTERS[level - 1],
        4,
        strides=2,
        padding="same",
        use_bias=False,
        kernel_initializer=_normal(0.0),
        name=f"down_{level}",
    )(x)
    return x if level == 1 or innermost else _norm(x, f"down_norm_{level}")


def _up(x, level: int):
    """From level `level` to `level - 1`, up to the norm; the outermost convolution has none."""
    filters = _FILTERS[level - 2] if level > 1 else 2
    x = layers.Activation("relu", name=f"relu_{level}")(x)
    x = layers.Conv2DTranspose(
        filters,
        4,
        strides=2,
        padding="same",
        use_bias=level == 1,
        kernel_initializer=_normal(0.0),
        name=f"up_{level}",
    )(x)
    return _norm(x, f"up_norm_{level}") if level > 1 else x


@channels_last()
def build(
    image_size: ImageSize = 256,
    levels: int = len(_FILTERS),
    skips: bool = True,
    dropout: float = 0.5,
    dropout_at_inference: bool = False,
) -> keras.Model:
    """Builds the generator; see the module's docstring for its input and output.

    Args:
        image_size: an int or (height, width), multiples of 2^levels; None for a side of any length.
        levels: how many times the encoder halves the picture, 5 to 8.
        skips: append each level of the encoder to the decoder's. If False, the network is a plain
            encoder-decoder.
        dropout: the rate in the up blocks from level 5 to the innermost but one; 0 adds no dropout
            layers.
        dropout_at_inference: apply dropout in every call, not only in training.

    Raises:
        UserError: the image size is not a multiple of 2^levels.
    """
    height, width = image_shape(image_size, 2**levels)
    lightness = keras.Input((height, width, 1), name="L", dtype="float32")
    x = lightness
    encoded = {}
    for level in range(1, levels + 1):
        encoded[level] = x = _down(x, level, level == levels)
    for level in range(levels, 0, -1):
        if skips and level < levels:
            # The authors' LeakyReLU works in place and changes their skips. The result is the same,
            # since a ReLU follows: ReLU(LeakyReLU(x)) = ReLU(x).
            x = layers.Concatenate(name=f"skip_{level}")([encoded[level], x])
        x = _up(x, level)
        if dropout and _FIRST_DROPOUT_LEVEL <= level < levels:
            x = Dropout(dropout, dropout_at_inference, name=f"dropout_{level}")(x)
    # Always float32: it is the model's output, and bfloat16 would quantize ab.
    ab = layers.Activation("tanh", dtype="float32", name="ab")(x)
    return keras.Model({"L": lightness}, ab, name="unet")
