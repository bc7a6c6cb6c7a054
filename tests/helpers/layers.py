# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Comparing a layer with another form of the same function."""

import tensorflow as tf


def output_and_gradients(model, inputs, **arguments) -> list[tf.Tensor]:
    """The output, and the gradients of one loss for the inputs and all trainable weights."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = model(inputs, **arguments)
        loss = tf.reduce_sum(tf.sin(tf.cast(outputs, tf.float32)))
    return [outputs, *tape.gradient(loss, [inputs, *model.trainable_variables])]
