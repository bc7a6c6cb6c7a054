# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""--frozen_precision: what the frozen networks say in bfloat16 is what they say in float32."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.pictures import picture

from koalagan.color import lab
from koalagan.models import frozen


@pytest.mark.parametrize(
    "role, name, alike",
    [
        ("embedding", "inception_resnet_v2", 0.95),
        ("embedding", "efficientnet_lite2", 0.95),
        ("segmentation", None, 0.9),
    ],
)
def test_bfloat16_is_close_to_float32(role, name, alike):
    network, outputs = frozen.network(role, name), []
    lightness, _ = lab.rgb_to_lab(np.stack([picture(seed, 64, 64) for seed in range(3)]))
    for dtype in ("float32", "bfloat16"):
        model = network.build(dtype)
        network.load_weights(model, "random")
        assert all(weight.dtype == "float32" for weight in model.weights)
        convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
        assert {layer.compute_dtype for layer in convolutions} == {dtype}
        output = tf.cast(tf.function(model)(lightness, training=False), tf.float32).numpy()
        outputs.append((output - output.mean(0)).ravel())  # what differs between pictures
    assert alike < np.corrcoef(*outputs)[0, 1] < 1.0
