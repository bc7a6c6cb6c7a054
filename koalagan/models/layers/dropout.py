# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Dropout as a generator's noise, also on when it colours (Isola et al. 2017, 3.1 and 3.3)."""

import keras
from keras import layers


@keras.saving.register_keras_serializable("koalagan")
class Dropout(layers.Dropout):
    """Keras's dropout that can also be on outside training, and whose noise checkpoints continue.

    Args:
        rate: of the values, how many become zero; above 0.
        at_inference: on in every call. Giving the layer `training=True` in a functional model is
            not enough: a call of the model with `training=False` overrides it.
    """

    def __init__(self, rate: float, at_inference: bool = False, **kwargs):
        super().__init__(rate, **kwargs)
        self.at_inference = at_inference
        # As a TensorFlow variable it becomes part of checkpoints and SavedModels, which leave out
        # Keras's seed generators: a continued run goes on with the same noise.
        self.seed_state = self.seed_generator.state.value

    def call(self, inputs, training=False):
        return super().call(inputs, training=training or self.at_inference)

    def get_config(self):
        return {**super().get_config(), "at_inference": self.at_inference}
