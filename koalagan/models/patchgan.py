# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The 70x70 PatchGAN discriminator (Isola et al. 2017, section 6.1.2; C64-C128-C256-C512).

Input: L and ab concatenated, float32 [B,H,W,3] in [-1,1]; or ab alone, [B,H,W,2], for the
unconditional discriminator, which judges colors without their lightness.
Output: patch logits, float32 [B,h,w,1] without a sigmoid; 30x30 for 256x256. Each logit judges a
70x70 patch.

4x4 convolutions, zero padding of 1 on every side: 64 s2, 128 s2, 256 s2, 512 s1, 1 s1; batch norm
on all but the first and last, LeakyReLU 0.2. 2,767,425 parameters with the moving statistics
(2,766,401 unconditional).
"""

import keras
from keras import layers

from koalagan.errors import UserError
from koalagan.models.channels import channels_last
from koalagan.models.layers.activations import leaky_relu
from koalagan.models.layers.batch_norm import FusedBatchNormalization
from koalagan.models.layers.padded_conv import PaddedConv2D, PaddedLogitConv2D

# (filters, stride, batch norm)
_BLOCKS = ((64, 2, False), (128, 2, True), (256, 2, True), (512, 1, True))
# In pixels; for smaller images the last convolution has no output.
MINIMUM_SIZE = 24


def _conv(x, filters: int, strides: int, use_bias: bool, name: str):
    kind = PaddedLogitConv2D if filters == 1 else PaddedConv2D
    return kind(
        filters,
        4,
        strides=strides,
        use_bias=use_bias,
        kernel_initializer=keras.initializers.RandomNormal(0.0, 0.02),
        name=name,
    )(x)


@channels_last()
def build(
    image_size: int | tuple[int | None, int | None] = 256, conditional: bool = True
) -> keras.Model:
    """Builds the discriminator; see the module's docstring for its input and output.

    Args:
        image_size: an int or (height, width), at least 24; None for a side of any length.
        conditional: its input is L and ab, not ab alone.

    Raises:
        UserError: a side is smaller than 24.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    for side in (height, width):
        if side is not None and side < MINIMUM_SIZE:
            raise UserError(
                f"the discriminator needs images of at least {MINIMUM_SIZE} pixels a side, "
                f"not {side}: increase --image_size."
            )
    channels = 3 if conditional else 2
    inputs = keras.Input((height, width, channels), name="picture", dtype="float32")
    x = inputs
    for number, (filters, strides, norm) in enumerate(_BLOCKS, 1):
        # A norm's beta makes the bias of the convolution before it redundant.
        x = _conv(x, filters, strides, not norm, f"conv_{number}")
        if norm:
            x = FusedBatchNormalization(momentum=0.9, epsilon=1e-5, name=f"norm_{number}")(x)
        x = layers.Activation(leaky_relu, name=f"leaky_{number}")(x)
    x = _conv(x, 1, 1, True, f"conv_{len(_BLOCKS) + 1}")
    logits = layers.Activation("linear", dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="patchgan")
