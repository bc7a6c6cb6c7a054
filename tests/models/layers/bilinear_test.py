# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import keras
import numpy as np
import tensorflow as tf

from koalagan.models.layers.bilinear import BilinearUpsampling


def test_it_is_keras_bilinear_upsampling_for_any_size():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 2)).astype(np.float32)
    expected = keras.layers.UpSampling2D(2, interpolation="bilinear")(x)
    layer = BilinearUpsampling()
    signature = [tf.TensorSpec([None, None, None, 2])]
    result = tf.function(layer, input_signature=signature)(x)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6)
    assert layer.compute_output_shape((None, 3, None, 2)) == (None, 6, None, 2)
