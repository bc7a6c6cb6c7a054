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
    always meet the same pixel. What it computes is a transposed convolution of stride 2 whose 4x4
    kernel is the sum of the 3x3 one at four places: 16 products for 36, and the large picture in
    between is never made. The kernel keeps the layout of the plain form.

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
        batch, height, width, _ = tf.unstack(tf.shape(inputs))
        outputs = tf.nn.conv2d_transpose(
            inputs,
            tf.cast(self._transposed_kernel(), inputs.dtype),
            (batch, 2 * height, 2 * width, self.filters),
            strides=2,
        )
        return tf.nn.relu(tf.nn.bias_add(outputs, tf.convert_to_tensor(self.bias)))

    def _transposed_kernel(self) -> tf.Tensor:
        """[4,4,filters,C]: the turned 3x3 kernel, once for each of the four places of a pixel."""
        turned = tf.transpose(tf.reverse(tf.convert_to_tensor(self.kernel), [0, 1]), [0, 1, 3, 2])
        places = [
            tf.pad(turned, [[i, 1 - i], [j, 1 - j], [0, 0], [0, 0]]) for i in (0, 1) for j in (0, 1)
        ]
        return tf.add_n(places)

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
