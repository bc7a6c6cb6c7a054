# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What a run writes for TensorBoard."""

import contextlib
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from koalagan import files
from koalagan.color import lab
from koalagan.errors import UserError, one_line
from koalagan.evaluation import grids
from koalagan.training.state import RunState

_SHOWN_FIRST = ("generator", "dataset", "pretrain_epochs", "epochs", "batch_size")
_SAMPLED = 64  # side, in pixels, to which pictures are thinned for histograms
_SHOWN_SIDE = 192  # pixels: smaller pictures are enlarged to be judged by eye


class TensorBoardLog(keras.callbacks.Callback):
    """Writes a run's curves and pictures for TensorBoard, at the run's global step.

    `train/` gets the losses and `step_means.FACTS`, averaged over the steps since the last point,
    the learning rates and the pictures a second, every `every` steps and at the end of each epoch;
    `validation/` gets, after each epoch, the same losses on the validation pictures (so that both
    curves share a chart), PSNR, SSIM, colorfulness, and of a few pictures the grid gray |
    predicted | true and the histograms of a* and b*, predicted and true.

    Keras's TensorBoard callback restarts its step at every `fit`.

    Args:
        folder: WORKDIR/tensorboard. What a killed run wrote there after its last checkpoint is
            deleted, because the run that continues it writes it again.
        grid_batch: a batch (see `koalagan.training.gan`) whose pictures the grid shows.
        state: the run's; `logged` and `logged_at` belong to this callback.
        batch_size: pictures in a training step.
        flags: the run's, by name, shown as text.
        steps: training steps done.
        validated_steps: training steps of the validated epochs.
        every: training steps between two points.
    """

    def __init__(
        self,
        folder: str,
        grid_batch: dict,
        state: RunState,
        *,
        batch_size: int = 1,
        flags: Mapping[str, Any] | None = None,
        steps: int = 0,
        validated_steps: int = 0,
        every: int = 10,
    ):
        super().__init__()
        self._folder = folder
        self._batch = grid_batch
        L, ab = grid_batch["L"], grid_batch["ab"]
        self._gray = _shown(lab.lab_to_rgb(L, tf.zeros_like(ab)))
        self._true = _shown(lab.lab_to_rgb(L, ab))
        self._state = state
        with _writing(folder):
            # The checkpoint's own step included, if its point was written after the checkpoint.
            _drop_events(
                Path(folder) / "train",
                (steps if state.logged_at is None else state.logged_at) if steps else 0,
            )
            _drop_events(Path(folder) / "validation", validated_steps)
            self._train = tf.summary.create_file_writer(f"{folder}/train")
            self._validation = tf.summary.create_file_writer(f"{folder}/validation")
        self._batch_size = batch_size
        self._every = every
        if flags and not steps:
            rows = [f"| {name} | {value} |" for name, value in flags.items()]
            with self._to(self._train):
                tf.summary.text("flags", "\n".join(["| flag | |", "| :--- | :--- |", *rows]), 0)

    @contextlib.contextmanager
    def _to(self, writer: tf.summary.SummaryWriter) -> Iterator[None]:
        with _writing(self._folder), writer.as_default():
            yield

    def on_epoch_begin(self, epoch, logs=None):
        # A continued epoch still has them; the sums of a new one are zero.
        if self._state.logged is None:
            self._state.logged = self.model.step_means.sums()
        self._since = time.monotonic(), self.model.steps_done

    def on_train_batch_end(self, batch, logs=None):
        if self.model.steps_done % self._every == 0:
            self._write_point()

    def on_test_begin(self, logs=None):
        # The epoch's last steps, before validation overwrites the model's running means.
        self._write_point()

    def _write_point(self) -> None:
        """Writes the means over the steps since the last point."""
        step = self.model.steps_done
        if self._state.logged_at == step:
            return
        before, sums = self._state.logged, self.model.step_means.sums()
        with self._to(self._train):
            for name, (total, count) in sums.items():
                total_before, count_before = before[name]
                if count > count_before:
                    tf.summary.scalar(name, (total - total_before) / (count - count_before), step)
            for name, rate in self.model.learning_rates().items():
                tf.summary.scalar(f"learning_rate_{name}", rate, step)
            now, (then, step_then) = time.monotonic(), self._since
            if step > step_then:
                pictures = (step - step_then) * self._batch_size
                tf.summary.scalar("pictures_per_second", pictures / (now - then), step)
        self._state.logged, self._state.logged_at = sums, step
        self._since = now, step

    def say(self, warning: str) -> None:
        """Writes a warning into the run's texts."""
        with self._to(self._train):
            tf.summary.text("warning", warning, self.model.steps_done)

    def flush(self) -> None:
        """Writes buffered events to disk.

        Raises:
            UserError: it cannot be written.
        """
        with _writing(self._folder):
            self._train.flush()
            self._validation.flush()

    def on_epoch_end(self, epoch, logs=None):
        step = self.model.steps_done
        L, ab = self._batch["L"], self._batch["ab"]
        predicted = self.model(self._batch, training=False)
        columns = {
            "gray": self._gray,
            "predicted": _shown(lab.lab_to_rgb(L, predicted)),
            "true": self._true,
        }
        # Two columns fill TensorBoard's cards, which are wider than high.
        half = -(-len(L) // 2)
        grid = np.concatenate(
            [
                grids.picture_grid(
                    {
                        title: _filled(some[part : part + half], half)
                        for title, some in columns.items()
                    }
                )
                for part in range(0, len(L), half)
            ],
            axis=1,
        )
        with self._to(self._validation):
            for name, value in (logs or {}).items():
                if name.startswith("val_"):
                    tf.summary.scalar(name.removeprefix("val_"), value, step)
            tf.summary.image("gray | predicted | true", grid[None], step)
            for whose, colors in (("predicted", predicted), ("true", ab)):
                _, a, b = tf.unstack(_thinned(lab.lab_units(L, colors)), axis=-1)
                tf.summary.histogram(f"a*/{whose}", a, step)
                tf.summary.histogram(f"b*/{whose}", b, step)
        self._state.logged = None
        self.flush()


def _shown(pictures: tf.Tensor) -> np.ndarray:
    """Pictures large enough to judge: small ones get larger pixels."""
    factor = max(1, _SHOWN_SIDE // pictures.shape[1])
    return pictures.numpy().repeat(factor, axis=1).repeat(factor, axis=2)


def _thinned(pictures: tf.Tensor) -> tf.Tensor:
    """Fewer pixels, enough for a histogram: TensorBoard keeps 30 numbers of each."""
    every = max(1, pictures.shape[1] // _SAMPLED)
    return pictures[:, ::every, ::every]


def _filled(pictures: np.ndarray, count: int) -> np.ndarray:
    """`count` pictures: white ones are added where there are fewer."""
    missing = [(0, count - len(pictures)), (0, 0), (0, 0), (0, 0)]
    return np.pad(pictures, missing, constant_values=255)


def write_result(folder: str, run: str, flags: Mapping[str, Any], row: Mapping[str, Any]) -> None:
    """Writes a finished run's flags and results for TensorBoard's table of runs (HParams).

    Args:
        folder: WORKDIR/tensorboard; what was written there for an earlier end of the run is
            replaced.
        run: what the table calls it.
        flags: the run's, by name.
        row: the model's of `metrics.json`.
    """
    measures = {name: value for name, value in row.items() if isinstance(value, float)}
    # TensorBoard shows the first few columns by default.
    flags = {**{name: flags[name] for name in _SHOWN_FIRST if name in flags}, **flags}
    with _writing(folder):
        for path in Path(folder).glob("*tfevents*"):
            path.unlink()
        with tf.summary.create_file_writer(folder).as_default():
            hparams.hparams_config(
                hparams=[hparams.HParam(name) for name in flags],
                metrics=[hparams.Metric(f"final/{name}", display_name=name) for name in measures],
            )
            hparams.hparams({name: _hparam(value) for name, value in flags.items()}, trial_id=run)
            for name, value in measures.items():
                tf.summary.scalar(f"final/{name}", value, 0)


@contextlib.contextmanager
def _writing(folder: str) -> Iterator[None]:
    """Turns errors of the disk into a sentence for the user."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise UserError(
            f"the curves in {folder} cannot be written ({one_line(error)}): free some disk or make "
            "the folder writable, and the same command continues from the newest checkpoint."
        ) from error


def _hparam(value: Any) -> str | bool | float | int:
    return value if isinstance(value, (bool, float, int)) else str(value)


def _drop_events(folder: Path, last_step: int) -> None:
    """Deletes events after `last_step` from TensorBoard's files, and truncated records.

    For a new run, with a `last_step` of 0, it deletes all events.
    """
    for path in sorted(folder.glob("*tfevents*")):
        if not last_step:
            path.unlink()
            continue
        kept, dropped = [], False
        try:
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                if tf.compat.v1.Event.FromString(record).step > last_step:
                    dropped = True
                else:
                    kept.append(record)
        except tf.errors.OpError:  # its last record is truncated
            dropped = True
        if dropped:
            files.publish(path, functools.partial(_write_records, records=kept))


def _write_records(path: Path, records: Sequence[bytes]) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
