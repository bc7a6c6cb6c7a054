# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Layers that stack the lightness three times, for networks designed for RGB images."""

import keras
import tensorflow as tf
from keras import layers, ops

from koalagan.models import presets


@keras.saving.register_keras_serializable("koalagan")
class StackNormalized(layers.Layer):
    """A grayscale image with three equal channels, normalized by ImageNet's statistics.

    Call: `L [B,H,W,1] in [-1,1] -> [B,H,W,3]`.
    """

    def call(self, lightness):
        # ((L + 1) / 2 - mean) / std, in one multiplication and one addition.
        scale = [0.5 / std for std in presets.IMAGENET_STD]
        offset = [
            (0.5 - mean) / std
            for mean, std in zip(presets.IMAGENET_MEAN, presets.IMAGENET_STD, strict=True)
        ]
        return lightness * tf.constant(scale) + tf.constant(offset)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 3)


@keras.saving.register_keras_serializable("koalagan")
class StackSegmentation(layers.Layer):
    """The lightness three times, then the class scores, resized bilinearly to its size.

    Call: `[L [B,H,W,1], scores [B,h,w,C]] -> [B,H,W,3 + C]`.
    """

    def call(self, inputs):
        lightness, scores = inputs
        # Not keras.ops.image.resize, which needs sizes that are known when the graph is traced.
        scores = tf.image.resize(scores, tf.shape(lightness)[1:3])
        scores = tf.cast(scores, lightness.dtype)
        return ops.concatenate([lightness, lightness, lightness, scores], axis=-1)

    def compute_output_shape(self, input_shape):
        lightness, scores = input_shape
        return (*lightness[:-1], 3 + scores[-1])
