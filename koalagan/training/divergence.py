# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Finds the first training step that was not finite, without waiting for the device in each."""

from collections.abc import Iterable

import tensorflow as tf


class NotFinite(ArithmeticError):
    """A training step gave losses or gradients that are NaN or infinite.

    Attributes:
        step: its number, from 0.
        losses: the step's losses by name.
    """

    def __init__(self, step: int, losses: dict[str, float]):
        shown = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        super().__init__(f"losses or gradients of step {step} are NaN or infinite: {shown}")
        self.step = step
        self.losses = losses


class FirstBadStep:
    """The first step, from 0, whose losses or gradients were NaN or infinite, and its losses.

    Args:
        names: of all losses that a step can have.
    """

    def __init__(self, names: Iterable[str]):
        self._names = tuple(names)
        self._step = tf.Variable(-1, dtype=tf.int64, trainable=False, name="bad_step")
        self._losses = tf.Variable(tf.zeros([len(self._names)]), trainable=False, name="bad_losses")

    def note(
        self, step: tf.Tensor, losses: dict[str, tf.Tensor], gradients_finite: tf.Tensor
    ) -> None:
        """Keeps a step if it is the first bad one; runs on the device."""
        row = tf.stack([losses.get(name, tf.constant(0.0)) for name in self._names])
        finite = gradients_finite & tf.reduce_all(tf.math.is_finite(row))
        first = ~finite & (self._step < 0)
        self._losses.assign(tf.where(first, row, self._losses))
        self._step.assign(tf.where(first, step, self._step))

    def check(self, names: Iterable[str]) -> None:
        """Raises NotFinite, with the losses of these names, if there was a bad step."""
        step = int(self._step)
        if step >= 0:
            values = dict(zip(self._names, self._losses.numpy().tolist(), strict=True))
            raise NotFinite(step, {name: values[name] for name in names})
