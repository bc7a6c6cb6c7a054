# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Convolution, batch norm and ReLU: the block that the U-Nets' decoders are made of."""

from keras import layers

from koalagan.models.layers.batch_norm import FusedBatchNormalization


def conv_block(x, filters: int, name: str, kernel_size: int = 3):
    """Applies the block: [B,h,w,C] -> [B,h,w,filters]; its layers are named after `name`."""
    x = layers.Conv2D(
        filters,
        kernel_size,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = FusedBatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)
