# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a run: both networks, all three optimizers with their loss scales, counters.

WORKDIR/checkpoints/
  step-N             everything, after N steps; the newest few
  step-N-unvalidated the same, at the end of an epoch that is not validated yet
  best-N             the generator alone, after the epoch with the best validation metric

Each is a `tf.train.Checkpoint` (an index and a data file), which TensorFlow writes under temporary
names and renames, the index last. A checkpoint that cannot be read, after a full disk or a power
failure, is set aside, and the one before it is used. Keras's BackupAndRestore would keep only the
epoch and the first optimizer.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from koalagan import files
from koalagan.errors import UserError, one_line
from koalagan.training.gan import ColorizationGAN
from koalagan.training.state import RunState

# TensorFlow raises an IndexError for a truncated file.
_UNREADABLE = (AssertionError, IndexError, ValueError, tf.errors.OpError)


class _SavedState(tf.train.experimental.PythonState):
    """A run's state as a part of its checkpoints, in JSON."""

    def __init__(self):
        self.state = RunState()

    def serialize(self) -> str:
        return self.state.to_json()

    def deserialize(self, string_value: str | bytes) -> None:
        # In place: the callbacks hold the same object.
        vars(self.state).update(vars(RunState.from_json(string_value)))


class RunCheckpoint:
    """The checkpoints of one run.

    Args:
        gan: what is saved and restored.
        workdir: the run's folder.
        keep: how many of the newest are kept.

    Of several workers that train together, all restore, and only the chief writes.

    Raises:
        UserError: TensorFlow cannot read checkpoints there.
    """

    def __init__(self, gan: ColorizationGAN, workdir: str, keep: int = 2):
        self._gan = gan
        self._writes = gan.devices.is_chief
        self._folder = _folder(workdir)
        self._keep = keep
        self._saved_state = _SavedState()
        self._checkpoint = tf.train.Checkpoint(
            # Whoever reads the checkpoint wants this one.
            generator=gan.result,
            **({"learning_generator": gan.generator} if gan.average else {}),
            discriminator=gan.discriminator,
            pretraining_optimizer=gan.pretraining_optimizer,
            generator_optimizer=gan.generator_optimizer,
            discriminator_optimizer=gan.discriminator_optimizer,
            step=gan.step,
            adversarial_step=gan.adversarial_step,
            progress=self._saved_state,  # the name under which older runs have it too
        )

    @property
    def state(self) -> RunState:
        """The run's state, saved and restored with the weights."""
        return self._saved_state.state

    def restore(self) -> bool:
        """Restores the newest checkpoint, every variable of it; False where there is none.

        Raises:
            UserError: there are some, and none of them can be read.
        """
        return _restore_newest(
            self._folder,
            "step",
            lambda path: self._checkpoint.read(path).assert_consumed(),
            set_aside=self._writes,
        )

    def save(self, validated: bool = True) -> str:
        """Writes a checkpoint of the current step, and deletes all but the newest ones.

        Args:
            validated: False at the end of an epoch that is not validated yet.

        Raises:
            NotFinite: training diverged; the model is not saved.
            UserError: it cannot be written; earlier ones are intact.
        """
        if self._writes:  # The others would find a bad step at times of their own.
            self._gan.check_finite()
        name = f"step-{int(self._gan.step)}" + ("" if validated else "-unvalidated")
        path = self._write(self._checkpoint, name)
        self.tidy()
        return path

    def tidy(self) -> None:
        """Deletes older checkpoints, and what a killed process left.

        Raises:
            UserError: the folder cannot be written.
        """
        if not self._writes:
            return
        found = _found(self._folder, "step")
        for older in found[self._keep :]:
            _delete(older)
        for unfinished in self._folder.glob("*_temp"):  # TensorFlow's
            shutil.rmtree(unfinished, ignore_errors=True)
        if not found:
            return
        # For users of `tf.train.latest_checkpoint`; koalagan does not read it.
        newest = f'model_checkpoint_path: "{found[0].name}"\n'
        try:
            files.publish_text(self._folder / "checkpoint", newest)
        except OSError as error:
            raise self._cannot_write(found[0], error) from error

    def save_best(self) -> None:
        """Writes the generator as the best one; `drop_former_best` deletes the one before.

        Not here: until the next checkpoint is written, the former one is still the best.
        """
        self._write(tf.train.Checkpoint(generator=self._gan.result), f"best-{int(self._gan.step)}")

    def drop_former_best(self) -> None:
        """Deletes every best generator but the newest."""
        if not self._writes:
            return
        for older in _found(self._folder, "best")[1:]:
            _delete(older)

    def _write(self, checkpoint: tf.train.Checkpoint, name: str) -> str:
        path = self._folder / name
        if not self._writes:
            return str(path)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            checkpoint.write(str(path))
            for file in self._folder.glob(f"{name}.*"):
                files.flush_to_disk(file)
        except (OSError, tf.errors.OpError) as error:
            raise self._cannot_write(path, error) from error
        return str(path)

    @staticmethod
    def _cannot_write(path: Path, error: Exception) -> UserError:
        return UserError(
            f"the checkpoint {path} cannot be written ({one_line(error)}): free some disk or make "
            "its folder writable, and the same command continues from the checkpoint before."
        )


def _folder(workdir: str) -> Path:
    files.check_readable(workdir)
    return Path(workdir) / "checkpoints"


def _found(folder: Path, kind: str) -> list[Path]:
    """Paths of checkpoints without their extensions, newest first."""
    found = []
    for index in folder.glob(f"{kind}-*.index"):
        if name := re.fullmatch(rf"{kind}-(\d+)(-unvalidated)?", index.stem):
            found.append((int(name[1]), name[2] is None, index.with_suffix("")))
    return [path for *_, path in sorted(found, reverse=True)]


def _files(path: Path) -> list[Path]:
    """A checkpoint's files; without the first, the index, it is no longer found."""
    return [path.with_name(f"{path.name}.index"), *path.parent.glob(f"{path.name}.data-*")]


def _delete(path: Path) -> None:
    for file in _files(path):
        file.unlink(missing_ok=True)


def _restore_newest(
    folder: Path, kind: str, restore: Callable[[str], Any], *, set_aside: bool
) -> bool:
    """Restores the newest checkpoint that can be read, and reports damaged ones that are newer.

    Args:
        folder, kind: see `_found`.
        restore: reads a checkpoint.
        set_aside: rename the damaged ones, which only the run itself may do.
    """
    damaged: list[tuple[Path, Exception]] = []
    for path in _found(folder, kind):
        try:
            restore(str(path))
        except _UNREADABLE as error:
            damaged.append((path, error))
            continue
        for broken, error in damaged:
            if set_aside:
                for file in filter(Path.exists, _files(broken)):
                    os.replace(file, file.with_name(f"damaged-{file.name}"))
            print(
                f"koalagan: the checkpoint {broken} cannot be read ({one_line(error)}): "
                f"{path.name} is used"
                + (f", and it is set aside as damaged-{broken.name}." if set_aside else "."),
                file=sys.stderr,
            )
        return True
    if damaged:
        path, error = damaged[0]
        raise UserError(
            f"the checkpoint {path} cannot be restored ({one_line(error)}): it is damaged, or of "
            "another version or another network, and so are all before it; name another --workdir "
            "to start a new run."
        ) from error
    return False


def restore_generator(generator: keras.Model, workdir: str, *, best: bool = False) -> None:
    """Loads the generator of a run's newest checkpoint, or of its best epoch, into `generator`.

    Raises:
        UserError: the run has no such checkpoint, or its generator is another network.
    """
    checkpoint = tf.train.Checkpoint(generator=generator)

    def restore(path: str) -> None:
        status = checkpoint.read(path)
        status.assert_existing_objects_matched().expect_partial()

    kind = "best" if best else "step"
    if not _restore_newest(_folder(workdir), kind, restore, set_aside=False):
        what = "no best checkpoint, since no epoch is validated" if best else "no checkpoint"
        raise UserError(f"{workdir} has {what}: train it first, or name another run.")
