# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Bilinear upsampling for sizes that are known only when the graph runs."""

import keras
import tensorflow as tf
from keras import layers


@keras.saving.register_keras_serializable("koalagan")
class BilinearUpsampling(layers.Layer):
    """Doubles height and width like `keras.layers.UpSampling2D(2, interpolation="bilinear")`.

    Keras's layer needs sizes that are known when the graph is traced.

    Call: `[B,h,w,C] -> [B,2h,2w,C]`, float32.
    """

    def call(self, inputs):
        return tf.image.resize(inputs, 2 * tf.shape(inputs)[1:3], "bilinear")

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        doubled = (side and 2 * side for side in (height, width))
        return (batch, *doubled, channels)
