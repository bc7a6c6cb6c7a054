# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import tensorflow as tf

from koalagan.errors import UserError
from koalagan.models import GENERATORS

build = GENERATORS["koalarization"]


def test_is_the_fusion_network_without_segmentation():
    model = build(image_size=(16, 24))
    reference = GENERATORS["inception_fusion"](image_size=(16, 24), segmentation=False)
    assert model.count_params() == 6_574_050
    assert set(model.input) == {"L", "embedding"} and model.output_shape == (None, 16, 24, 2)
    model.set_weights(reference.get_weights())
    rng = np.random.default_rng(0)
    batch = {
        "L": tf.constant(rng.uniform(-1, 1, (1, 16, 24, 1)), tf.float32),
        "embedding": tf.constant(rng.normal(size=(1, 1001)), tf.float32),
    }
    np.testing.assert_array_equal(model(batch), reference(batch))


def test_without_the_embedding_and_other_sizes():
    assert build(image_size=16, embedding=False).count_params() == 6_317_794
    with pytest.raises(UserError, match="divides by 8"):
        build(image_size=20)
