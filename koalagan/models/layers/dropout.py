# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Dropout as a generator's noise, optionally at inference too (Isola et al. 2017, 3.1 and 3.3)."""

import keras
import tensorflow as tf
from keras import layers

from koalagan import distribution


@keras.saving.register_keras_serializable("koalagan")
class Dropout(layers.Dropout):
    """Keras's Dropout that can also drop at inference and keeps its random state in checkpoints.

    Args:
        rate: the fraction of values that become zero; above 0.
        at_inference: drop in every call. Calling the layer with `training=True` in a functional
            model is not enough: a call of the model with `training=False` overrides it.
    """

    def __init__(self, rate: float, at_inference: bool = False, **kwargs):
        super().__init__(rate, **kwargs)
        self.at_inference = at_inference
        # Checkpoints and SavedModels leave out Keras's seed generators but include this TensorFlow
        # variable, so that a resumed run continues the same noise.
        self.seed_state = self.seed_generator.state.value

    def call(self, inputs, training=False):
        training = training or self.at_inference
        devices, own = distribution.replica()
        if not training or devices == 1:
            return super().call(inputs, training=training)
        # The noise of the whole batch, as one device would draw it, of which this one takes its
        # share: all have the same random state.
        size = tf.shape(inputs)[0]
        whole = tf.ones(tf.concat([[devices * size], tf.shape(inputs)[1:]], 0), inputs.dtype)
        noise = super().call(whole, training=True)
        return inputs * noise[own * size : (own + 1) * size]

    def get_config(self):
        return {**super().get_config(), "at_inference": self.at_inference}
