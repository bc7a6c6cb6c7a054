# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Bilinear upsampling for sizes that are known only when the graph runs."""

import keras
import tensorflow as tf
from keras import layers


@keras.saving.register_keras_serializable("koalagan")
class BilinearUpsampling(layers.Layer):
    """Enlarges pictures like `keras.layers.UpSampling2D(factor, interpolation="bilinear")`.

    Keras's layer needs sizes that are known when the graph is traced.

    Call: `[B,h,w,C] -> [B,factor*h,factor*w,C]`, float32.

    Args:
        factor: how many times as high and wide the result is.
    """

    def __init__(self, factor: int = 2, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, inputs):
        return tf.image.resize(inputs, self.factor * tf.shape(inputs)[1:3], "bilinear")

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        larger = (side and self.factor * side for side in (height, width))
        return (batch, *larger, channels)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}
