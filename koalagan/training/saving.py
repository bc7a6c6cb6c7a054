# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""When a run saves itself, which epoch was its best, and how it stops."""

import os
import signal
import time
import types
from collections.abc import Callable

import keras

from koalagan.training.checkpoint import RunCheckpoint

# Validation metrics that can choose the best epoch, and whether more is better.
BEST_METRICS = {"psnr": True, "psnr_pooled": True, "ssim": True, "loss_G_L1": False}


class Stopped(Exception):
    """Training was asked to stop, and has saved itself."""


class Saver(keras.callbacks.Callback):
    """Saves after every epoch and as often as it is told, chooses the best epoch, and stops.

    The first Ctrl-C or SIGTERM asks to stop: after the current step, of training or of validation,
    it saves and raises `Stopped`. A second one stops at once. Use it as a context manager around
    `fit`, so that the signals' former handlers come back.

    Give it to `fit` behind the callbacks that write: what they wrote before a checkpoint is not
    written again. A run continues in the middle of an epoch with the epoch's sums of losses, so
    that its curves and means are those of a run that was never stopped.

    Args:
        checkpoint: the run's.
        steps: training steps in an epoch.
        every_steps: save after so many steps; 0 does not.
        every_minutes: save after a step when so many minutes have passed; 0 does not.
        check_every: look for losses and gradients that are no numbers after so many steps.
        best_metric: one of `BEST_METRICS`.
        before_save: called before each checkpoint.

    Attributes:
        patience: end training after so many epochs without a better one; 0 does not.
        stopped_by: the signal that ended training, or None.
    """

    def __init__(
        self,
        checkpoint: RunCheckpoint,
        steps: int,
        *,
        every_steps: int = 0,
        every_minutes: float = 0.0,
        check_every: int = 10,
        best_metric: str = "psnr",
        before_save: Callable[[], None] = lambda: None,
    ):
        super().__init__()
        self._checkpoint = checkpoint
        self._steps = steps
        self._every_steps = every_steps
        self._every_seconds = 60 * every_minutes
        self._check_every = check_every
        self._best_metric = best_metric
        self._before_save = before_save
        self._saved_at = time.monotonic()
        self._former: dict[int, object] = {}
        self.patience = 0
        self.stopped_by: signal.Signals | None = None

    def __enter__(self) -> "Saver":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._former[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: types.FrameType | None) -> None:
        self.stopped_by = signal.Signals(number)
        # Not print: a signal may arrive in the middle of another one.
        os.write(2, b"\nstopping after this step; once more stops at once\n")
        for former_number, handler in self._former.items():
            signal.signal(former_number, handler)

    @property
    def epoch_unvalidated(self) -> bool:
        """Whether the run stands at the end of an epoch that is not validated."""
        epoch, done = divmod(int(self.model.step), self._steps)
        return not done and self._checkpoint.progress.get("validated", 0) < epoch

    @property
    def out_of_patience(self) -> bool:
        """Whether so many epochs have not been better that training ends."""
        best = self._checkpoint.progress.get("best")
        validated = self._checkpoint.progress.get("validated", 0)
        # Another phase's best says nothing of this one, which has not begun.
        if not best or best["adversarial"] != self.model.adversarial:
            return False
        return bool(self.patience) and validated - best["epoch"] >= self.patience

    def on_epoch_begin(self, epoch, logs=None):
        # Kept until the epoch's end: its validation may be stopped again.
        sums = self._checkpoint.progress.get("losses")
        if sums:  # of the epoch's steps before the run was stopped
            self.model.set_sums(sums)

    def on_train_batch_end(self, batch, logs=None):
        step = int(self.model.step)
        last = step % self._steps == 0
        if step % self._check_every == 0 or last:
            self.model.check_finite()
        due = (self._every_steps and step % self._every_steps == 0) or (
            self._every_seconds and time.monotonic() - self._saved_at >= self._every_seconds
        )
        if last or due or self.stopped_by:
            # Validation will take over the sums.
            self._checkpoint.progress["losses"] = self.model.sums()
        if self.stopped_by:
            # Not `stop_training`: Keras would first validate and close the unfinished epoch.
            self._save(validated=not last)
            raise Stopped
        if due and not last:  # which is saved when it is validated
            self._save()

    def on_test_batch_end(self, batch, logs=None):
        if self.stopped_by:
            self._save(validated=False)
            raise Stopped

    def on_epoch_end(self, epoch, logs=None):
        progress = self._checkpoint.progress
        progress.pop("losses", None)
        progress["validated"] = epoch + 1
        value = (logs or {}).get(f"val_{self._best_metric}")
        if value is not None and self._is_best(float(value)):
            self._checkpoint.save_best()
            progress["best"] = {
                "epoch": epoch + 1,
                "value": float(value),
                "adversarial": self.model.adversarial,
            }
        self._save()
        self._checkpoint.drop_former_best()
        if self.stopped_by:
            raise Stopped
        if self.out_of_patience:
            self.model.stop_training = True

    def _is_best(self, value: float) -> bool:
        """Whether no epoch of this phase was better; adversarial training starts anew.

        A discriminator costs what these metrics measure: the best of both phases would nearly
        always be one before it.
        """
        best = self._checkpoint.progress.get("best")
        if not best or best["adversarial"] != self.model.adversarial:
            return True
        more = BEST_METRICS[self._best_metric]
        return value > best["value"] if more else value < best["value"]

    def _save(self, validated: bool = True) -> None:
        self._before_save()
        self._checkpoint.save(validated)
        self._saved_at = time.monotonic()
