# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import keras
import numpy as np
import tensorflow as tf

from koalagan.models.layers.fusion import Fusion


def test_factored_fusion_equals_a_convolution_of_concatenated_channels():
    rng = np.random.default_rng(1)
    features = tf.constant(rng.normal(size=(2, 4, 5, 256)), tf.float32)
    vector = tf.constant(rng.normal(size=(2, 1001)), tf.float32)
    fusion = Fusion(256)
    assert fusion([features, vector]).shape == (2, 4, 5, 256)
    fusion.bias.assign(rng.normal(size=256))
    factored = fusion([features, vector])
    repeated = tf.tile(vector[:, None, None], [1, 4, 5, 1])
    conv = keras.layers.Conv2D(256, 1, activation="relu")
    conv.build((None, 4, 5, 1257))
    conv.set_weights(fusion.get_weights())  # the same layout
    concatenated = conv(tf.concat([features, repeated], -1))
    np.testing.assert_allclose(factored, concatenated, atol=1e-5, rtol=1e-4)
