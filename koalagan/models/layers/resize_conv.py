# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Resize-convolution: nearest-neighbor upsampling and the convolution after it, in one operation.

The two are an upsampling step in Deep Koalarization's decoder (Baldassarre et al. 2017, Table 1).
The name is from Odena et al. 2016, Deconvolution and Checkerboard Artifacts.
"""

import keras
import tensorflow as tf
from keras import layers


@keras.saving.register_keras_serializable("koalagan")
class ResizeConv2D(layers.Layer):
    """Upsampling by 2 (nearest neighbor), a 3x3 convolution (same padding) and ReLU.

    In a nearest-neighbor upsampled image, a 3x3 window covers only 2x2 different pixels. The result
    equals a transposed convolution of stride 2 whose 4x4 kernel is the sum of the 3x3 kernel at
    four offsets: 16 multiplications instead of 36, and the upsampled image is never stored. The
    weights keep the layout of the 3x3 convolution.

    Call: `[B,h,w,C] -> [B,2h,2w,filters]`.

    Args:
        filters: the number of output channels.
        kernel_initializer: initializer of the 3x3 kernel.
    """

    def __init__(self, filters: int, kernel_initializer="he_normal", **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        # Not autocast: the kernel's sums are computed in float32 and rounded afterwards.
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
        """[4,4,filters,C]: the sum of the flipped 3x3 kernel at the four offsets of a pixel."""
        flipped = tf.transpose(tf.reverse(tf.convert_to_tensor(self.kernel), [0, 1]), [0, 1, 3, 2])
        shifted = [
            tf.pad(flipped, [[i, 1 - i], [j, 1 - j], [0, 0], [0, 0]])
            for i in (0, 1)
            for j in (0, 1)
        ]
        return tf.add_n(shifted)

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
