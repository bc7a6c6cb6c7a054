# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The color that a distribution over classes of color stands for."""

import keras
from keras import layers

from koalagan.color import bins


@keras.saving.register_keras_serializable("koalagan")
class AnnealedMean(layers.Layer):
    """The annealed mean of class logits; see `bins.annealed_mean`.

    Call: `[B,h,w,261] -> [B,h,w,2]`, float32, normalized ab.

    Args:
        temperature: 1 for the mean; toward 0 it becomes the most likely class.
    """

    def __init__(self, temperature: float = 1.0, **options):
        super().__init__(**options)
        self.temperature = temperature

    def call(self, logits):
        return bins.annealed_mean(logits, self.temperature)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}
