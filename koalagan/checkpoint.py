# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Saving and continuing a run: both networks, all three optimizers with their loss scale, counters.

Checkpoints are `tf.train.Checkpoint`s under WORKDIR/checkpoints, written by a `CheckpointManager`
(to a temporary name first, the index last). Keras's own BackupAndRestore would keep only the epoch
and the first optimizer.
"""

import os
import signal
import types
from pathlib import Path

import keras
import tensorflow as tf

from koalagan.errors import UserError, one_line
from koalagan.gan import ColorizationGAN


def _folder(workdir: str) -> Path:
    return Path(workdir) / "checkpoints"


class RunCheckpoint:
    """The checkpoints of one run.

    Args:
        gan: what is saved and restored.
        workdir: the run's folder.
    """

    def __init__(self, gan: ColorizationGAN, workdir: str):
        self._gan = gan
        self._manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(
                generator=gan.generator,
                discriminator=gan.discriminator,
                pretraining_optimizer=gan.pretraining_optimizer,
                generator_optimizer=gan.generator_optimizer,
                discriminator_optimizer=gan.discriminator_optimizer,
                step=gan.step,
                adversarial_step=gan.adversarial_step,
            ),
            str(_folder(workdir)),
            max_to_keep=2,
            checkpoint_name="step",
        )

    def restore(self) -> bool:
        """Restores the newest checkpoint, every variable of it; False where there is none."""
        path = self._manager.latest_checkpoint
        if path is None:
            return False
        try:
            self._manager.checkpoint.restore(path).assert_consumed()
        # TensorFlow tells a short file by an IndexError.
        except (AssertionError, IndexError, ValueError, tf.errors.OpError) as error:
            raise UserError(
                f"the checkpoint {path} cannot be restored ({one_line(error)}): it is damaged or "
                "another version's; delete it to go on from the one before."
            ) from error
        return True

    def save(self) -> str:
        """Writes a checkpoint of the current step, unless it is there; returns its path."""
        step = int(self._gan.step)
        path = self._manager.latest_checkpoint
        if path is not None and path.endswith(f"-{step}"):
            return path
        try:
            return self._manager.save(checkpoint_number=step)
        except (OSError, tf.errors.OpError) as error:
            raise UserError(
                f"the checkpoint of step {step} cannot be written ({one_line(error)}): free some "
                "disk, and the same command continues from the checkpoint before."
            ) from error


def restore_generator(generator: keras.Model, workdir: str) -> None:
    """Loads the generator of a run's newest checkpoint into `generator`.

    Raises:
        UserError: the run has no checkpoint, or its generator is another network.
    """
    checkpoint = tf.train.Checkpoint(generator=generator)
    path = tf.train.latest_checkpoint(str(_folder(workdir)))
    if path is None:
        raise UserError(f"{workdir} holds no checkpoint: train it first, or name another run.")
    try:
        status = checkpoint.restore(path)
        status.assert_existing_objects_matched().expect_partial()
    except (AssertionError, IndexError, ValueError, tf.errors.OpError) as error:
        raise UserError(
            f"the generator in {path} is damaged or another network than the flags describe "
            f"({one_line(error)})."
        ) from error


class Stopped(Exception):
    """Training was asked to stop; raised between two steps."""


class Saver(keras.callbacks.Callback):
    """Saves after every epoch, and raises `Stopped` after the current step once asked to stop.

    The first Ctrl-C or SIGTERM asks; a second one stops at once. Use it as a context manager around
    `fit`, so that the signals' former handlers come back.

    Attributes:
        stopped_by: the signal that ended training, or None.
    """

    def __init__(self, checkpoint: RunCheckpoint):
        super().__init__()
        self._checkpoint = checkpoint
        self._former: dict[int, object] = {}
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

    def on_train_batch_end(self, batch, logs=None):
        if not self.stopped_by:
            return
        if batch + 1 == self.params["steps"]:
            # The epoch is whole: stopped here, nobody would validate it any more.
            self._checkpoint.save()
            return
        # Not `stop_training`: Keras would first validate and close the unfinished epoch.
        raise Stopped

    def on_epoch_end(self, epoch, logs=None):
        self._checkpoint.save()
        if self.stopped_by:  # during validation
            raise Stopped
