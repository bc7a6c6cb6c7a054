# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Activation functions."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("koalagan")
def leaky_relu(x):
    """LeakyReLU with a slope of 0.2 for negative inputs."""
    return _leaky_relu(x)


@tf.custom_gradient
def _leaky_relu(x):
    """LeakyReLU whose gradient depends on the output's sign, which equals the input's.

    TensorFlow's gradient depends on the input. Without that dependency, the activation can be fused
    with the convolution before it. TensorFlow 2.21's graph rewriter (the remapper) fuses them in
    any case, finds the input gone, and gives up on the whole graph with an error in the log.
    """
    y = tf.nn.leaky_relu(x, 0.2)
    return y, lambda dy: tf.raw_ops.LeakyReluGrad(gradients=dy, features=y, alpha=0.2)
