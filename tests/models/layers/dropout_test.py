# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import keras
import numpy as np
import pytest
import tensorflow as tf

from koalagan.models.layers.dropout import Dropout


def test_zeroes_its_rate_and_keeps_the_mean():
    layer = Dropout(0.3, at_inference=True)
    values = layer(tf.ones((200, 200)), training=False).numpy()
    assert np.mean(values == 0) == pytest.approx(0.3, abs=0.01)
    np.testing.assert_allclose(values[values != 0], 1 / 0.7, rtol=1e-6)


def test_exported_noise_differs_from_call_to_call(tmp_path):
    class Exported(tf.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 1))])
        def run(self, inputs):
            return self.model(inputs, training=False)

    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, Dropout(0.5, at_inference=True)(inputs))
    tf.saved_model.save(Exported(model), str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    first, second = (loaded.run(tf.ones((1, 8, 8, 1))) for _ in range(2))
    assert first.shape == (1, 8, 8, 1)
    assert np.abs(first - second).max() > 0.01
