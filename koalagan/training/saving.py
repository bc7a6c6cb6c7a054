# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""When a run is saved, which epoch was its best, and how it stops."""

import os
import signal
import time
import types
from collections.abc import Callable

import keras

from koalagan.training.checkpoint import RunCheckpoint
from koalagan.training.settings import SavingSettings
from koalagan.training.state import BestEpoch


class Stopped(Exception):
    """Training was asked to stop; the run is saved."""


class Saver(keras.callbacks.Callback):
    """Saves the run, chooses its best epoch, and stops it on Ctrl-C or SIGTERM.

    The first signal asks to stop: after the current step of training or validation, the run is
    saved and `Stopped` is raised. A second one stops at once. Use it as a context manager around
    `fit`, which restores the signals' former handlers.

    Several workers stop at the same step: every `check_every` steps, and at the end of an epoch,
    they tell each other whether one of them was asked to. Their validation is not interrupted.

    It must be the last callback of `fit`: a checkpoint holds what the others noted in the state. A
    run that continues in the middle of an epoch starts with that epoch's sums of losses, so its
    curves and means are those of a run that was never stopped.

    Args:
        checkpoint: the run's.
        steps: training steps in an epoch.
        settings: how often to save and to check, and by which metric to choose the best epoch.
        before_save: called before each checkpoint.

    Attributes:
        patience: end training after this many epochs without a better one; 0 does not.
        stopped_by: the signal that ended training, or None.
    """

    def __init__(
        self,
        checkpoint: RunCheckpoint,
        steps: int,
        settings: SavingSettings | None = None,
        *,
        before_save: Callable[[], None] = lambda: None,
    ):
        super().__init__()
        self._checkpoint = checkpoint
        self._state = checkpoint.state
        self._steps = steps
        # Without settings it saves after each epoch alone.
        self._settings = settings or SavingSettings(checkpoint_every_minutes=0.0)
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
        # Not print: a signal may arrive in the middle of one.
        os.write(2, b"\nstopping after this step; a second signal stops at once\n")
        for former_number, handler in self._former.items():
            signal.signal(former_number, handler)

    @property
    def epoch_unvalidated(self) -> bool:
        """Whether the run stands at the end of an epoch that is not validated."""
        return self._state.is_unvalidated(self.model.steps_done, self._steps)

    @property
    def out_of_patience(self) -> bool:
        """Whether training ends early, after `patience` epochs without a better one."""
        return self._state.is_out_of_patience(self.patience, adversarial=self.model.adversarial)

    def on_epoch_begin(self, epoch, logs=None):
        # Kept until the epoch's end: its validation may be stopped again.
        if self._state.losses:  # of the epoch's steps before the run was stopped
            self.model.step_means.set_sums(self._state.losses)

    def on_train_batch_end(self, batch, logs=None):
        step = self.model.steps_done
        last = step % self._steps == 0
        checked = step % self._settings.check_every == 0 or last
        if checked:
            self.model.check_finite()
        stopping = self.stopping(checked)
        every_steps = self._settings.checkpoint_every_steps
        every_seconds = 60 * self._settings.checkpoint_every_minutes
        due = (every_steps and step % every_steps == 0) or (
            every_seconds and time.monotonic() - self._saved_at >= every_seconds
        )
        if last or due or stopping:
            # Validation will overwrite the model's own sums.
            self._state.losses = self.model.step_means.sums()
        if stopping:
            # Not `stop_training`: Keras would first validate and close the unfinished epoch.
            self._save(validated=not last)
            raise Stopped
        if due and not last:  # the last step is saved when the epoch is validated
            self._save()

    def stopping(self, checked: bool = True) -> bool:
        """Whether to stop now; what another worker was asked to do becomes this one's, too.

        Args:
            checked: whether all workers ask now, which then all get the same answer.
        """
        devices = self.model.devices
        if devices.workers == 1:
            return self.stopped_by is not None
        # A signal that comes while the workers exchange theirs waits for the next time.
        number = devices.any_of(self.stopped_by or 0) if checked else 0
        if number:
            self.stopped_by = signal.Signals(number)
        return bool(number)

    def on_test_batch_end(self, batch, logs=None):
        if self.stopped_by and self.model.devices.workers == 1:
            self._save(validated=False)
            raise Stopped

    def on_epoch_end(self, epoch, logs=None):
        self._state.end_epoch(epoch + 1)
        metric, adversarial = self._settings.best_metric, self.model.adversarial
        value = (logs or {}).get(f"val_{metric}")
        if value is not None and self._state.is_best(float(value), metric, adversarial=adversarial):
            self._checkpoint.save_best()
            self._state.best = BestEpoch(epoch + 1, float(value), adversarial)
        self._save()
        self._checkpoint.drop_former_best()
        if self.stopping():
            raise Stopped
        if self.out_of_patience:
            self.model.stop_training = True

    def _save(self, validated: bool = True) -> None:
        self._before_save()
        self._checkpoint.save(validated)
        self._saved_at = time.monotonic()
