# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What the tests of networks with published weights share."""

import numpy as np
import tensorflow as tf


def one_sentence(error) -> str:
    """The message of a `pytest.raises`, which must be one for a person."""
    text = str(error.value)
    assert "\n" not in text and not text.endswith(".") and len(text) < 900, text
    return text


def pictures(count=2, height=64, width=64, seed=0) -> tf.Tensor:
    """Lightness with structure at several scales, differing in contrast and detail."""
    random = np.random.default_rng(seed)
    stack = 0
    for cells in (2, 4, 8, 16, 32):
        noise = random.normal(0, 1, (count, cells, cells, 1)) * random.uniform(
            0.1, 0.4, (count, 1, 1, 1)
        )
        stack = stack + tf.image.resize(noise, (height, width), "bicubic")
    return tf.clip_by_value(tf.cast(stack, tf.float32), -1.0, 1.0)
