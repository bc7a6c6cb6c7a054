# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What a run tells while it learns: a progress line, TensorBoard; and grids of pictures."""

import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from koalagan import files, lab, progress

_GUTTER = 4


def picture_grid(columns: Mapping[str, np.ndarray], *, max_rows: int = 8) -> np.ndarray:
    """Lays pictures out side by side, one picture a row, with a title over each column.

    Args:
        columns: from title to pictures, uint8 [N, H, W, 3], the same shape in every column.
        max_rows: how many of the N pictures to show, the first ones.

    Returns:
        uint8 [h, w, 3].
    """
    pictures = np.stack([np.asarray(column)[:max_rows] for column in columns.values()], axis=1)
    rows, count, height, width, _ = pictures.shape
    font, header, titles = _fit_titles(list(columns), width)
    shape = (header + rows * (height + _GUTTER), _GUTTER + count * (width + _GUTTER), 3)
    grid = Image.fromarray(np.full(shape, 255, np.uint8))
    draw = ImageDraw.Draw(grid)
    for column, title in enumerate(titles):
        left = _GUTTER + column * (width + _GUTTER)
        draw.text((left + width / 2, header / 2), title, fill="black", font=font, anchor="mm")
        for row in range(rows):
            top = header + row * (height + _GUTTER)
            grid.paste(Image.fromarray(pictures[row, column]), (left, top))
    return np.asarray(grid)


def _fit_titles(
    titles: list[str], width: int
) -> tuple[ImageFont.FreeTypeFont | ImageFont.ImageFont, int, list[str]]:
    """The font, the height of the header, and the titles cut to the width of a column."""
    size = max(10, min(24, width // 12))
    font = ImageFont.load_default(size)

    def fit(title: str) -> str:
        if font.getlength(title) <= width:
            return title
        # The end is cut: what tells two runs apart is more often at the start.
        while title and font.getlength(title + "...") > width:
            title = title[:-1]
        return title + "..." if title else ""

    return font, size + 2 * _GUTTER, [fit(title) for title in titles]


class TensorBoardLog(keras.callbacks.Callback):
    """Writes a run's curves and pictures for TensorBoard, at the run's global step.

    `train/` gets the losses, averaged over the steps since the last point, every `every` steps and
    at the end of each epoch;
    `validation/` gets, after each epoch, the same losses on the validation pictures (so that both
    curves share a chart), PSNR, SSIM, colourfulness, and the grid grey | predicted | true.

    Keras's own TensorBoard callback starts its steps anew with every `fit`.

    Args:
        folder: WORKDIR/tensorboard. What a run that was killed wrote there after its checkpoint
            is deleted, so that the run that continues it can write it.
        grid_batch: a batch (see `koalagan.gan`) whose pictures the grid shows.
        progress: what the run's checkpoints keep for its callbacks (`RunCheckpoint.progress`).
        steps: training steps done.
        validated_steps: those of the epochs that are validated.
        every: training steps between two points.
    """

    def __init__(
        self,
        folder: str,
        grid_batch: dict,
        progress: dict,
        *,
        steps: int = 0,
        validated_steps: int = 0,
        every: int = 10,
    ):
        super().__init__()
        _drop_events(Path(folder) / "train", steps)
        _drop_events(Path(folder) / "validation", validated_steps)
        self._train = tf.summary.create_file_writer(f"{folder}/train")
        self._validation = tf.summary.create_file_writer(f"{folder}/validation")
        self._batch = grid_batch
        self._progress = progress
        self._every = every

    def on_epoch_begin(self, epoch, logs=None):
        # Kept from before where the epoch is continued; a new one's sums are zero.
        self._progress.setdefault("logged", self.model.loss_sums())

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.step) % self._every == 0:
            self._write_losses()

    def on_test_begin(self, logs=None):
        # The epoch's last steps: validation is about to take over the model's running means.
        self._write_losses()

    def _write_losses(self) -> None:
        """Writes the losses of the steps since the last point."""
        step = int(self.model.step)
        before, sums = self._progress["logged"], self.model.loss_sums()
        with self._train.as_default():
            for name, (total, count) in sums.items():
                total_before, count_before = before[name]
                if count > count_before:
                    tf.summary.scalar(name, (total - total_before) / (count - count_before), step)
        self._progress["logged"] = sums

    def say(self, warning: str) -> None:
        """Writes a sentence among the run's texts."""
        with self._train.as_default():
            tf.summary.text("warning", warning, int(self.model.step))

    def flush(self) -> None:
        """Writes what is still in memory."""
        self._train.flush()
        self._validation.flush()

    def on_epoch_end(self, epoch, logs=None):
        step = int(self.model.step)
        L, ab = self._batch["L"], self._batch["ab"]
        grid = picture_grid(
            {
                "grey": lab.lab_to_rgb(L, tf.zeros_like(ab)).numpy(),
                "predicted": lab.lab_to_rgb(L, self.model(self._batch, training=False)).numpy(),
                "true": lab.lab_to_rgb(L, ab).numpy(),
            }
        )
        with self._validation.as_default():
            for name, value in (logs or {}).items():
                if name.startswith("val_"):
                    tf.summary.scalar(name.removeprefix("val_"), value, step)
            tf.summary.image("grey | predicted | true", grid[None], step)
        self._progress.pop("logged", None)
        self.flush()


def _drop_events(folder: Path, last_step: int) -> None:
    """Deletes the events after `last_step` from TensorBoard's files, and what a kill cut off."""
    for path in sorted(folder.glob("*tfevents*")):
        kept, dropped = [], False
        try:
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                if tf.compat.v1.Event.FromString(record).step > last_step:
                    dropped = True
                else:
                    kept.append(record)
        except tf.errors.OpError:  # its last record is not whole
            dropped = True
        if dropped:
            files.publish(path, functools.partial(_write_records, records=kept))


def _write_records(path: Path, records: Sequence[bytes]) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


class ProgressLine(keras.callbacks.Callback):
    """One bar an epoch with losses, pictures/s and time left; one line at its end.

    Args:
        epochs: of the whole run, both phases.
        batch_size: pictures in a step.
        steps: steps in an epoch.
    """

    def __init__(self, epochs: int, batch_size: int, steps: int):
        super().__init__()
        self._epochs = epochs
        self._batch_size = batch_size
        self._steps = steps
        self._bar = None

    def close(self) -> None:
        """Ends the bar of an epoch that is not going to end."""
        if self._bar is not None:
            self._bar.close()

    def on_epoch_begin(self, epoch, logs=None):
        done = int(self.model.step) - epoch * self._steps
        self._trained, self._started = 0, time.monotonic()
        self._name = f"epoch {epoch + 1}/{self._epochs}"
        self._bar = progress.bar(
            self._name, self._steps * self._batch_size, initial=done * self._batch_size
        )

    def on_train_batch_end(self, batch, logs=None):
        self._bar.set_postfix_str(
            " ".join(f"{name} {float(value):.3g}" for name, value in logs.items()), refresh=False
        )
        self._bar.update(self._batch_size)
        self._trained += self._batch_size

    def on_test_begin(self, logs=None):
        # Validation is not training: its time must not enter the rate.
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
            # None where the run was stopped just before validation.
            + (f" | {self._rate:.1f} pictures/s" if self._trained else ""),
            flush=True,
        )


class Watch(keras.callbacks.Callback):
    """Says once, in words, when a GAN's training has gone one of the two ways that it goes wrong.

    Args:
        progress: what the run's checkpoints keep for its callbacks (`RunCheckpoint.progress`).
        say: is given each sentence, which is printed too.
    """

    # The Inception-GAN paper's discriminator had won at a loss of 0.003 (its batch of 16); at
    # balance, where it cannot tell, the loss is 0.69.
    WON = 0.05
    EPOCHS = 2
    # Of 255 levels; photographs have about 45, and a model that learns by L1 alone 6 and more.
    GREY = 2.0

    def __init__(self, progress: dict, say: Callable[[str], None]):
        super().__init__()
        self._progress = progress
        self._say = say

    def on_epoch_end(self, epoch, logs=None):
        if not self.model.adversarial:
            return
        lost = float(logs["loss_D"]) < self.WON
        self._progress["lost"] = self._progress.get("lost", 0) + 1 if lost else 0
        if self._progress["lost"] >= self.EPOCHS:
            self._once(
                "discriminator",
                f"the discriminator has won: its loss has been under {self.WON} for {self.EPOCHS} "
                "epochs, and the generator learns little from it any more; a larger batch, a "
                "larger --discriminator_every or a lower --discriminator_learning_rate holds it "
                "back.",
            )
        colorfulness = float(logs["val_colorfulness"])
        if colorfulness < self.GREY:
            self._once(
                "grey",
                f"the generator has gone grey: the colourfulness of its pictures is "
                f"{colorfulness:.2g} after epoch {epoch + 1}, where photographs have about 45; "
                "start anew with another --seed or lower learning rates.",
            )

    def _once(self, what: str, sentence: str) -> None:
        said = self._progress.setdefault("said", [])
        if what not in said:
            said.append(what)
            print(f"koalagan: {sentence}", file=sys.stderr)
            self._say(sentence)
