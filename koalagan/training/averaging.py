# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""An average of the weights that a network has while it learns.

While the learning rate is high, weights wander around a good place, which their average is nearer
to (Polyak and Juditsky 1992, Acceleration of stochastic approximation by averaging).
"""

import keras
import tensorflow as tf


class WeightAverage:
    """An exponential moving average of a network's weights, statistics of batch norm included.

    Attributes:
        network: has the averaged weights, and is not trained.

    Args:
        learner: the network that learns.
        network: another one of the same layers.
        momentum: the share of the former average that a step leaves, below 1. It is lower in the
            first steps, so that the weights which training begins with are soon forgotten.
    """

    def __init__(self, learner: keras.Model, network: keras.Model, momentum: float):
        self.network = network
        self._momentum = momentum
        self._pairs = list(zip(network.weights, learner.weights, strict=True))
        self.restart()

    def restart(self) -> None:
        """Forgets the average, after the weights of the learner were set."""
        for mean, weight in self._pairs:
            mean.assign(weight)

    def update(self, steps: tf.Tensor) -> None:
        """Takes the weights of the learner into the average.

        Args:
            steps: how many steps it has learned before this one.
        """
        steps = tf.cast(steps, tf.float32)
        momentum = tf.minimum(self._momentum, (1.0 + steps) / (10.0 + steps))
        for mean, weight in self._pairs:
            # This form leaves weights that do not change exactly as they are.
            mean.assign_add((1.0 - momentum) * (weight - mean))
