# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Saving and continuing a run: both networks, all three optimizers with their loss scale, counters.

WORKDIR/checkpoints/
  step-N             everything, after N steps; the newest few
  step-N-unvalidated the same at an epoch's end that is not validated yet
  best-N             the generator alone, after the epoch with the best validation metric

Each is a `tf.train.Checkpoint` (an index and a data file), which TensorFlow writes under another
name and renames, the index last. One that cannot be read, from a disk that was full or a machine
that was switched off, is set aside, and the one before it is used. Keras's own BackupAndRestore
would keep only the epoch and the first optimizer.
"""

import json
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

# TensorFlow tells a short file by an IndexError.
_UNREADABLE = (AssertionError, IndexError, ValueError, tf.errors.OpError)


class _Progress(tf.train.experimental.PythonState):
    """What the callbacks know of a run, in its checkpoints as JSON."""

    def __init__(self):
        self.values: dict[str, Any] = {}

    def serialize(self) -> str:
        return json.dumps(self.values)

    def deserialize(self, string_value: str | bytes) -> None:
        self.values = json.loads(string_value)


class RunCheckpoint:
    """The checkpoints of one run.

    Args:
        gan: what is saved and restored.
        workdir: the run's folder.
        keep: how many of the newest are kept.

    Raises:
        UserError: TensorFlow cannot read checkpoints there.
    """

    def __init__(self, gan: ColorizationGAN, workdir: str, keep: int = 2):
        self._gan = gan
        self._folder = _folder(workdir)
        self._keep = keep
        self._progress = _Progress()
        self._checkpoint = tf.train.Checkpoint(
            generator=gan.generator,
            discriminator=gan.discriminator,
            pretraining_optimizer=gan.pretraining_optimizer,
            generator_optimizer=gan.generator_optimizer,
            discriminator_optimizer=gan.discriminator_optimizer,
            step=gan.step,
            adversarial_step=gan.adversarial_step,
            progress=self._progress,
        )

    @property
    def progress(self) -> dict[str, Any]:
        """What the callbacks know of the run: JSON-able, saved and restored with the rest."""
        return self._progress.values

    def restore(self) -> bool:
        """Restores the newest checkpoint, every variable of it; False where there is none.

        Raises:
            UserError: there are some, and none of them can be read.
        """
        return _restore_newest(
            self._folder,
            "step",
            lambda path: self._checkpoint.read(path).assert_consumed(),
            set_aside=True,
        )

    def save(self, validated: bool = True) -> str:
        """Writes a checkpoint of the current step, and deletes those that are older than the kept.

        Args:
            validated: False at the end of an epoch that is not validated yet.

        Raises:
            NotFinite: the model has gone wrong, and is not saved.
            UserError: it cannot be written; those before it are whole.
        """
        self._gan.check_finite()
        name = f"step-{int(self._gan.step)}" + ("" if validated else "-unvalidated")
        path = self._write(self._checkpoint, name)
        self.tidy()
        return path

    def tidy(self) -> None:
        """Deletes what is older than the kept ones, also what a run that was killed has left.

        Raises:
            UserError: the folder cannot be written.
        """
        found = _found(self._folder, "step")
        for older in found[self._keep :]:
            _delete(older)
        for unfinished in self._folder.glob("*_temp"):  # TensorFlow's
            shutil.rmtree(unfinished, ignore_errors=True)
        if not found:
            return
        # For `tf.train.latest_checkpoint`; nothing here reads it.
        newest = f'model_checkpoint_path: "{found[0].name}"\n'
        try:
            files.publish_text(self._folder / "checkpoint", newest)
        except OSError as error:
            raise self._cannot_write(found[0], error) from error

    def save_best(self) -> None:
        """Writes the generator as the best; `drop_former_best` deletes the one before.

        Not here: until the next checkpoint says so, that one is still the best.
        """
        self._write(
            tf.train.Checkpoint(generator=self._gan.generator), f"best-{int(self._gan.step)}"
        )

    def drop_former_best(self) -> None:
        """Deletes every best generator but the newest."""
        for older in _found(self._folder, "best")[1:]:
            _delete(older)

    def _write(self, checkpoint: tf.train.Checkpoint, name: str) -> str:
        path = self._folder / name
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
    """Checkpoints without their endings, newest first."""
    found = []
    for index in folder.glob(f"{kind}-*.index"):
        if name := re.fullmatch(rf"{kind}-(\d+)(-unvalidated)?", index.stem):
            found.append((int(name[1]), name[2] is None, index.with_suffix("")))
    return [path for *_, path in sorted(found, reverse=True)]


def _files(path: Path) -> list[Path]:
    """A checkpoint's files; without the first it is none any more."""
    return [path.with_name(f"{path.name}.index"), *path.parent.glob(f"{path.name}.data-*")]


def _delete(path: Path) -> None:
    for file in _files(path):
        file.unlink(missing_ok=True)


def _restore_newest(
    folder: Path, kind: str, restore: Callable[[str], Any], *, set_aside: bool
) -> bool:
    """Restores the newest that can be read, and names the damaged ones after it.

    Args:
        folder, kind: see `_found`.
        restore: reads a checkpoint.
        set_aside: rename the damaged ones, as only the run itself may.
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
            f"the checkpoint {path} cannot be restored ({one_line(error)}): it is damaged or "
            "another version's or another network's, and there is none before it that is not; "
            "name another --workdir to begin anew."
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
        what = "no best checkpoint: no epoch of it is validated" if best else "no checkpoint"
        raise UserError(f"{workdir} holds {what}: train it first, or name another run.")
