# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What a run shows on the terminal while it trains: a progress line, and warnings."""

import sys
import time
from collections.abc import Callable

import keras

from koalagan import progress
from koalagan.training.state import RunState


class ProgressLine(keras.callbacks.Callback):
    """One bar an epoch with losses, pictures/s and time left; one line at its end.

    Args:
        epochs: of the whole run, both phases.
        batch_size: pictures in a step.
        steps: steps in an epoch.
        every: steps between two readings of the losses.
    """

    def __init__(self, epochs: int, batch_size: int, steps: int, every: int = 10):
        super().__init__()
        self._epochs = epochs
        self._batch_size = batch_size
        self._steps = steps
        self._every = every
        self._bar = None

    def close(self) -> None:
        """Closes the bar of an epoch that will not be finished."""
        if self._bar is not None:
            self._bar.close()

    def on_epoch_begin(self, epoch, logs=None):
        done = self.model.steps_done - epoch * self._steps
        self._trained, self._started = 0, time.monotonic()
        self._name = f"epoch {epoch + 1}/{self._epochs}"
        self._bar = progress.bar(
            self._name, self._steps * self._batch_size, initial=done * self._batch_size
        )

    def on_train_batch_end(self, batch, logs=None):
        if self.model.steps_done % self._every == 0:
            self._bar.set_postfix_str(
                " ".join(f"{name} {float(value):.3g}" for name, value in logs.items()),
                refresh=False,
            )
        self._bar.update(self._batch_size)
        self._trained += self._batch_size

    def on_test_begin(self, logs=None):
        # The time of validation must not enter the rate.
        self._rate = self._trained / (time.monotonic() - self._started)
        self._bar.close()

    def on_epoch_end(self, epoch, logs=None):
        phase = "adversarial" if self.model.adversarial else "pretraining"
        shown = {name: float(value) for name, value in logs.items()}
        validation = {name[4:]: value for name, value in shown.items() if name.startswith("val_")}
        training = {name: value for name, value in shown.items() if not name.startswith("val_")}
        print(
            f"{self._name} {phase}: "
            + " ".join(f"{name} {value:.4g}" for name, value in training.items())
            + f" | validation: loss_G_L1 {validation['loss_G_L1']:.4g}"
            + "".join(
                f" {name} {validation[name]:.4g}"
                for name in ("psnr", "psnr_pooled", "ssim", "colorfulness")
            )
            # No rate where the run was stopped just before validation.
            + (f" | {self._rate:.1f} pictures/s" if self._trained else ""),
            flush=True,
        )


class Watch(keras.callbacks.Callback):
    """Warns once when adversarial training fails in one of its two usual ways.

    Args:
        state: the run's; `lost` and `said` belong to this callback, and it reads the epoch's
            `losses`, which the saver noted after its last step.
        say: called with each warning, which is also printed.
    """

    # In the Inception-GAN paper the discriminator had won at a loss of 0.003 (batch size 16). These
    # are 0.07 of the losses at balance, where it cannot tell real from fake: 0.69 and 0.25.
    WON = {"vanilla": 0.05, "lsgan": 0.018}
    EPOCHS = 2
    # Colorfulness, in 255 levels: photographs have about 45, a model trained by L1 alone over 6.
    GRAY = 2.0

    def __init__(self, state: RunState, say: Callable[[str], None]):
        super().__init__()
        self._state = state
        self._say = say

    def on_epoch_end(self, epoch, logs=None):
        if not self.model.adversarial:
            return
        won = self.WON[self.model.gan_loss]
        # The mean over no turns is 0, which says nothing: the discriminator had none in an epoch of
        # fewer than --discriminator_every steps.
        total, turns = self._state.losses["loss_D"]
        if turns:
            self._state.lost = self._state.lost + 1 if total / turns < won else 0
        if self._state.lost >= self.EPOCHS:
            self._once(
                "discriminator",
                f"the discriminator has won: its loss has been below {won} for {self.EPOCHS} "
                "epochs, and the generator no longer learns from it; use a larger batch, a larger "
                "--discriminator_every or a lower --discriminator_learning_rate.",
            )
        colorfulness = float(logs["val_colorfulness"])
        if colorfulness < self.GRAY:
            self._once(
                "gray",
                f"the generator produces gray pictures: their colorfulness is {colorfulness:.2g} "
                f"after epoch {epoch + 1}, and that of photographs about 45; start a new run with "
                "another --seed or lower learning rates.",
            )

    def _once(self, what: str, sentence: str) -> None:
        if what not in self._state.said:
            self._state.said.append(what)
            print(f"koalagan: {sentence}", file=sys.stderr)
            self._say(sentence)
