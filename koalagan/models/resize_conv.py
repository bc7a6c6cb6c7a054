# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Nearest-neighbour upsampling and the convolution after it, in one: a resize-convolution.

The two are the decoder's step up in Deep Koalarization (Baldassarre et al. 2017, Table 1); Odena et
al. 2016 (Deconvolution and Checkerboard Artifacts) gave them the name.
"""

import keras
import tensorflow as tf
from keras import layers


@keras.saving.register_keras_serializable("koalagan")
class ResizeConv2D(layers.Layer):
    """Twice the size by repeating pixels, a 3x3 convolution (same padding), ReLU.

    Where pixels are repeated, a 3x3 kernel sees only 2x2 different ones, and some of its weights
    always meet the same pixel. Of the four outputs that lie on one input, each therefore is a 2x2
    convolution of the small picture with sums of the weights: 16 products for 36, and neither the
    large picture nor its gradient is ever made. The kernel keeps the layout of the plain form.

    Call: `[B,h,w,C] -> [B,2h,2w,filters]`.
    """

    def __init__(self, filters: int, kernel_initializer="he_normal", **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        # Not cast to the compute dtype: the sums are taken before they are rounded.
        self.kernel = self.add_weight(
            name="kernel",
            shape=(3, 3, input_shape[-1], self.filters),
            initializer=self.kernel_initializer,
            autocast=False,
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, inputs):
        rows = [
            tf.stack([self._output(inputs, i, j) for j in (0, 1)], axis=3)  # [B,h,w,2,filters]
            for i in (0, 1)
        ]
        batch, height, width, _ = tf.unstack(tf.shape(inputs))
        large = (batch, 2 * height, 2 * width, self.filters)
        return tf.reshape(tf.stack(rows, axis=2), large)  # from [B,h,2,w,2,filters]

    def _output(self, inputs, i: int, j: int):
        """The outputs at offset (i, j) of every input, [B,h,w,filters]."""
        kernel = _merge(_merge(self.kernel, 0, i), 1, j)
        # Offset 0 sees the pixel before and its own, offset 1 its own and the one after.
        padding = [[0, 0], [1 - i, i], [1 - j, j], [0, 0]]
        outputs = tf.nn.conv2d(inputs, tf.cast(kernel, inputs.dtype), 1, padding)
        return tf.nn.relu(tf.nn.bias_add(outputs, tf.convert_to_tensor(self.bias)))

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, height and 2 * height, width and 2 * width, self.filters)

    def get_config(self):
        initializer = keras.initializers.serialize(self.kernel_initializer)
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_initializer": initializer,
        }


def _merge(kernel, axis: int, offset: int):
    """Adds the two of three weights along an axis that meet the same pixel at this offset."""
    first, middle, last = tf.unstack(kernel, axis=axis)
    pair = [first, middle + last] if offset == 0 else [first + middle, last]
    return tf.stack(pair, axis=axis)
