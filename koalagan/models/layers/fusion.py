# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Fusion of a feature map with a vector (Deep Koalarization, Baldassarre et al. 2017, 3.2)."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("koalagan")
class Fusion(layers.Layer):
    """Appends a vector to the channels at every position, then a 1x1 convolution and ReLU.

    A 1x1 convolution of concatenated channels is the sum of a convolution of the feature channels
    and a convolution of the repeated vector. The latter is the same at every position, so it is
    computed once, as a dense map, and broadcast: the same function for a fifth of the work. The
    kernel keeps the layout of the paper's convolution, [1, 1, features + vector, filters], features
    first.

    Call: `[features [B,h,w,C], vector [B,V]] -> [B,h,w,filters]`.

    Args:
        filters: the number of output channels.
        kernel_initializer: initializer of the kernel.
    """

    def __init__(self, filters: int, kernel_initializer="he_normal", **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        features, vector = input_shape
        self.kernel = self.add_weight(
            name="kernel",
            shape=(1, 1, features[-1] + vector[-1], self.filters),
            initializer=self.kernel_initializer,
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, inputs):
        features, vector = inputs
        channels = features.shape[-1]
        local = ops.conv(
            features, self.kernel[:, :, :channels], padding="same", data_format="channels_last"
        )
        everywhere = ops.matmul(vector, self.kernel[0, 0, channels:]) + self.bias
        return ops.relu(local + everywhere[:, None, None, :])

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], self.filters)

    def get_config(self):
        initializer = keras.initializers.serialize(self.kernel_initializer)
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_initializer": initializer,
        }
