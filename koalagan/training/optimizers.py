# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Optimizers of a GAN under mixed precision, and what they do with a network's gradients."""

from collections.abc import Iterable

import keras
import tensorflow as tf

from koalagan import distribution


class Adam(keras.optimizers.Adam):
    """Keras's Adam with another learning rate for some of the variables.

    Scaling their gradients would change nothing: Adam divides by the size of the gradients.

    Args:
        learning_rate: of all other variables.
        others: variables whose learning rate is multiplied by `factor`.
        factor: 0 leaves them as they are.
    """

    def __init__(
        self,
        learning_rate: float,
        *,
        others: Iterable[keras.Variable] = (),
        factor: float = 1.0,
        **kwargs,
    ):
        super().__init__(learning_rate, **kwargs)
        self.base_rate = learning_rate
        # `update_step` gets TensorFlow's variables, those of one device, which are compared by
        # reference.
        self._others = {
            copy.ref()
            for variable in others
            for copy in tf.distribute.get_strategy().experimental_local_results(variable.value)
        }
        self._factor = factor

    def update_step(self, gradient, variable, learning_rate):
        if variable.ref() in self._others:
            learning_rate = learning_rate * self._factor
        super().update_step(gradient, variable, learning_rate)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        # `apply_gradients` has averaged them over the devices; Keras would add them up again.
        return grads_and_vars


def build(network: keras.Model, learning_rate: float, **options) -> keras.optimizers.Optimizer:
    """An `Adam` for a network, built, and wrapped for float16 where the policy asks for it.

    `keras.Model.compile` wraps only its first optimizer; a GAN has two, and both overflow.
    """
    optimizer = Adam(learning_rate, **options)
    if keras.mixed_precision.dtype_policy().compute_dtype == "float16":
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
    optimizer.build(network.trainable_variables)
    return optimizer


def scale_rate(optimizer: keras.optimizers.Optimizer, factor: float) -> None:
    """Sets the learning rate to a multiple of the one that `build` was given."""
    adam = getattr(optimizer, "inner_optimizer", optimizer)
    optimizer.learning_rate = factor * adam.base_rate


def apply_gradients(
    optimizer: keras.optimizers.Optimizer,
    tape: tf.GradientTape,
    scaled_loss: tf.Tensor,
    network: keras.Model,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Updates a network's weights, on all devices alike.

    Returns:
        Whether the gradients are finite, True where loss scaling skips those that are not, and
        their global norm, 0 where they are not finite but skipped.
    """
    variables = network.trainable_variables
    gradients = distribution.mean(tape.gradient(scaled_loss, variables))
    norm = tf.cast(tf.linalg.global_norm(gradients), tf.float32)
    finite = tf.math.is_finite(norm)
    if isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer):
        scale = tf.convert_to_tensor(optimizer.dynamic_scale)
        # The optimizer skips a step with gradients that are not finite, and halves the scale.
        # Once it is below 1, scaling is not what makes them overflow: no later step would move.
        norm = tf.where(finite, norm / scale, 0.0)
        finite = finite | (scale >= 1.0)
    optimizer.apply(gradients, variables)
    return finite, norm
