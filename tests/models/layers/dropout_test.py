# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Dropout alone; unet_test has its place in a generator, in checkpoints and in SavedModels."""

import numpy as np
import pytest
import tensorflow as tf

from koalagan.models.layers.dropout import Dropout


def test_dropout_zeroes_its_rate_and_keeps_the_mean():
    layer = Dropout(0.3, at_inference=True)
    values = layer(tf.ones((200, 200)), training=False).numpy()
    assert np.mean(values == 0) == pytest.approx(0.3, abs=0.01)
    np.testing.assert_allclose(values[values != 0], 1 / 0.7, rtol=1e-6)
