# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The running means over an epoch of what its steps give."""

import keras
import tensorflow as tf

PRETRAINING_LOSSES = ("loss_G_L1", "loss_G")
LOSSES = ("loss_D_fake", "loss_D_real", "loss_D", "loss_G_GAN", *PRETRAINING_LOSSES)
# Of a generator that classifies colors, in both phases.
CLASS_LOSS = "loss_G_class"
# Further values of a training step: the norm of each network's gradients, and the share of patches
# that the discriminator classifies correctly.
FACTS = ("gradient_norm_G", "gradient_norm_D", "accuracy_D_fake", "accuracy_D_real")


class StepMeans:
    """The losses of an epoch so far, and its facts.

    Attributes:
        losses, facts: running means by the names in `LOSSES`, `CLASS_LOSS` and `FACTS`.

    Args:
        classes: whether the generator classifies colors.
    """

    def __init__(self, classes: bool = False):
        names = (*LOSSES[:-1], CLASS_LOSS, LOSSES[-1]) if classes else LOSSES
        self.losses = {name: keras.metrics.Mean(name) for name in names}
        self.facts = {name: keras.metrics.Mean(name) for name in FACTS}
        self._means = {**self.losses, **self.facts}

    def phase(self, adversarial: bool) -> dict[str, keras.metrics.Mean]:
        """The losses that a phase has."""
        if adversarial:
            return self.losses
        names = (*PRETRAINING_LOSSES, CLASS_LOSS)
        return {name: mean for name, mean in self.losses.items() if name in names}

    def update(self, weight: tf.Tensor | None = None, **values: tf.Tensor) -> None:
        """Adds values of a step by name; `weight` is how much they count, 1 by default."""
        for name, value in values.items():
            self._means[name].update_state(value, sample_weight=weight)

    def sums(self) -> dict[str, list[float]]:
        """By name, the sum of what was added, and the number of steps."""
        return {name: [float(mean.total), float(mean.count)] for name, mean in self._means.items()}

    def set_sums(self, sums: dict[str, list[float]]) -> None:
        """Restores what `sums` returned, in an epoch that is continued."""
        for name, (total, count) in sums.items():
            self._means[name].total.assign(total)
            self._means[name].count.assign(count)
