# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Sub-pixel upsampling (Shi et al. 2016) and its initializer ICNR (Aitken et al. 2017)."""

import keras
import tensorflow as tf
from keras import layers


@keras.saving.register_keras_serializable("koalagan")
class DepthToSpace(layers.Layer):
    """Doubles height and width by rearranging channels.

    Call: `[B,h,w,4C] -> [B,2h,2w,C]`. Channel (2i + j)C + c becomes channel c at offset (i, j).
    """

    def call(self, features):
        return tf.nn.depth_to_space(features, 2)

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        doubled = (side and 2 * side for side in (height, width))
        return (batch, *doubled, channels // 4)


@keras.saving.register_keras_serializable("koalagan")
class SpaceToDepth(layers.Layer):
    """Halves height and width without losing anything: the inverse of `DepthToSpace`.

    Call: `[B,2h,2w,C] -> [B,h,w,4C]`.
    """

    def call(self, features):
        return tf.nn.space_to_depth(features, 2)

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        halved = (side and side // 2 for side in (height, width))
        return (batch, *halved, 4 * channels)


@keras.saving.register_keras_serializable("koalagan")
class ICNR(keras.initializers.Initializer):
    """He normal, with equal values for the four channels that `DepthToSpace` makes one of.

    The upsampled features then start without a checkerboard pattern.
    """

    def __call__(self, shape, dtype=None):
        *kernel, filters = shape
        one = keras.initializers.HeNormal()((*kernel, filters // 4), dtype)
        return tf.concat([one] * 4, axis=-1)
