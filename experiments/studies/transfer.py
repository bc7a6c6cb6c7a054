# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What coloring teaches for recognizing things: a generator's encoder becomes a classifier.

    python experiments/studies/transfer.py --workdir=runs/NAME --dataset=coco/2017 --data_dir=... \\
        --train_split=train --eval_split=validation [--seeds=0,1,2]

The encoder of a run's generator, the mean over its features and one sigmoid for each class are
trained to say which classes of objects a gray picture shows (several at once), by binary
cross-entropy and Adam, for --epochs: from scratch at 2e-4, and from the run's weights at 1e-4, of
which the first 3 epochs train the classifier alone. This is the experiment in section V of the
IJEAST paper of 2022 (Table 5.1: accuracy 55 % from scratch, 63 % from colorization; it names no
data, no batch size and no definition of its accuracy). From scratch means the generator's own start
(its module says which one); the paper draws from a Gaussian with deviation 0.02.

Pictures without marked objects are left out, and so are classes that no picture of the training
split shows. mAP is the mean over the classes that the evaluated pictures show of their average
precision; accuracy is the share of right answers at 0.5, which a classifier that never finds
anything has almost all of: the row "never" is that one. The last row is what the two trainings of
a seed differ by. Intervals are over seeds, which are of the classifier alone: all start from the
same run, and are measured on the same pictures.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import scipy.stats
import tensorflow as tf

from koalagan import cli, files, progress
from koalagan.color import lab
from koalagan.data import sources, store
from koalagan.errors import UserError
from koalagan.options import option
from koalagan.training import networks, run_folder
from koalagan.training.checkpoint import restore_generator
from koalagan.training.settings import DataSettings

# The layer that each generator's encoder ends with. koala is not here: a part of its encoder never
# trains, so that it cannot start from scratch.
_ENCODERS = {
    "inception_fusion": "encoder_8",
    "koalarization": "encoder_8",
    "unet": "down_{levels}",
    "resnet18_unet": "encoder",
}
_SCRATCH_RATE, _TRANSFER_RATE = 2e-4, 1e-4
_FROZEN_EPOCHS = 3


@dataclasses.dataclass(frozen=True)
class Settings:
    """Transfer."""

    workdir: str = option(None, "The folder of a run that colors.", required=True)
    dataset: str = option("coco/2017", "A TFDS dataset that marks objects.")
    data_dir: str | None = option(None, "Where TFDS datasets lie.")
    train_split: str = option("train", "What to train on.")
    eval_split: str = option("validation", "What to measure on.")
    epochs: int = option(50, "Epochs, with those of the classifier alone.", minimum=4)
    batch_size: int = option(16, "Pictures in a step.", minimum=1)
    seeds: str = option("0,1,2", "One training each, separated by commas.")
    output: str | None = option(None, "A .json file for the measured values.")


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures and what they show.

    Attributes:
        rgb: uint8 [M, H, W, 3], a memory map.
        rows: which of them have objects, [N].
        labels: float32 [N, classes], 0 or 1.
    """

    rgb: np.ndarray
    rows: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def lightness(self, numbers: np.ndarray) -> tf.Tensor:
        """L [n, H, W, 1] of some of the N pictures."""
        return lab.lightness(self.rgb[self.rows[numbers]])


def open_pictures(
    settings: Settings, data: DataSettings, classes: Sequence[str] | None, split: str
) -> tuple[Pictures, list[str]]:
    """The pictures of a split that have objects, and the classes: those given, or all it shows.

    Args:
        data: says how the run prepared its pictures.

    Raises:
        UserError: the dataset marks no objects, or none of its pictures has any of these classes.
    """
    source = sources.open_source(settings.dataset, split, data_dir=settings.data_dir)
    if not source.objects:
        raise UserError(f"{source.name} marks no objects in its pictures: name another --dataset.")
    known = source.objects()
    prepared = store.prepare(source, image_size=(data.image_size,) * 2, resize=data.resize)
    shown = [set(known[name].classes) if name in known else set() for name in prepared.ids()]
    rows = [row for row, names in enumerate(shown) if names]
    found = set().union(*shown)
    classes = list(classes or sorted(found))
    if not found & set(classes):
        raise UserError(f"no picture of {source.name} {split} has marked objects to recognize.")
    labels = [[name in shown[row] for name in classes] for row in rows]
    return Pictures(prepared.pictures, np.array(rows), np.array(labels, np.float32)), classes


def classifier(generator: keras.Model, layer: str, classes: int) -> keras.Model:
    """Logits of each class from L, by the generator's layers up to the end of its encoder."""
    encoder = generator.get_layer(layer)
    features = encoder.output
    if isinstance(encoder, keras.Model):  # called in the generator; its last stage comes first
        features = encoder(generator.get_layer("normalized").output)[0]
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(features)
    logits = keras.layers.Dense(classes, dtype="float32", name="classes")(pooled)
    return keras.Model(generator.input["L"], logits)


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """The mean of the precision at each picture that shows the class, by falling score.

    Pictures of the same score are found together.
    """
    order = np.argsort(-scores, kind="stable")
    hits = labels[order] > 0
    # How many pictures are found with each one: up to the last one of its score.
    found = np.searchsorted(-scores[order], -scores[order], side="right")
    precision = np.cumsum(hits)[found - 1] / found
    return float(precision[hits].mean())


def measure(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """mAP over the classes that occur, and accuracy at a probability of 0.5.

    Raises:
        UserError: a logit is NaN or infinite.
    """
    if not np.isfinite(logits).all():
        raise UserError("the classifier predicts NaN or infinite values: its training diverged.")
    occurring = np.flatnonzero(labels.any(axis=0))
    return {
        "mAP": float(np.mean([average_precision(labels[:, c], logits[:, c]) for c in occurring])),
        "accuracy": float(np.mean((logits > 0) == (labels > 0))),
    }


def train(
    model: keras.Model,
    pictures: Pictures,
    *,
    seed: int,
    batch_size: int,
    epochs: int,
    rate: float,
    frozen_epochs: int,
    advance: Callable[[], Any],
) -> None:
    """Trains a classifier; for the first epochs its last layer alone."""
    rng = np.random.default_rng(seed)
    for frozen, count in ((True, frozen_epochs), (False, epochs - frozen_epochs)):
        variables = model.trainable_variables
        if frozen:
            variables = model.get_layer("classes").trainable_variables
        optimizer = keras.optimizers.Adam(rate)
        optimizer.build(variables)
        step = _step(model, variables, optimizer, training=not frozen)
        for _ in range(count):
            order = rng.permutation(len(pictures))
            for rows in np.array_split(order, max(1, len(order) // batch_size)):
                L = pictures.lightness(rows)
                mirrored = rng.random(len(rows)) < 0.5
                L = tf.where(mirrored[:, None, None, None], L[:, :, ::-1], L)
                step(L, tf.constant(pictures.labels[rows]))
            advance()


def _step(
    model: keras.Model,
    variables: Sequence[keras.Variable],
    optimizer: keras.optimizers.Optimizer,
    *,
    training: bool,
) -> Callable[[tf.Tensor, tf.Tensor], None]:
    """A step of Adam on some variables; without `training`, norms keep their statistics."""

    @tf.function(autograph=False, reduce_retracing=True)
    def step(L: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = model(L, training=training)
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits))
        optimizer.apply(tape.gradient(loss, variables), variables)

    return step


def compare(settings: Settings, seeds: Sequence[int]) -> dict[str, Any]:
    """Trains from scratch and from the run's weights, with each seed.

    Returns:
        The values of every training, and what they were measured on.

    Raises:
        UserError: the run's encoder cannot become a classifier, or start from scratch.
    """
    run = run_folder.read_settings(settings.workdir)
    name, side = run.networks.generator, run.data.image_size
    if name not in _ENCODERS:
        raise UserError(f"{settings.workdir} trained {name}, not one of {', '.join(_ENCODERS)}.")
    layer = _ENCODERS[name].format(levels=run.networks.levels)
    if name == "resnet18_unet" and run.networks.backbone_weights != "random":
        raise UserError(
            f"the encoder of {settings.workdir} did not start from scratch, so that what it knows "
            "is not of coloring alone: name a run with --backbone_weights=random."
        )
    if run.networks.init_from:
        raise UserError(
            f"{settings.workdir} started from the weights of {run.networks.init_from}, so that "
            "what it knows is not of this run alone: name a run without --init_from."
        )
    if "segmentation" in networks.frozen_weights(run.networks):
        raise UserError(
            f"the encoder of {settings.workdir} sees a segmentation, which a classifier does not "
            "have: name a run with --segmentation_weights=none."
        )
    training, classes = open_pictures(settings, run.data, None, settings.train_split)
    evaluated, _ = open_pictures(settings, run.data, classes, settings.eval_split)
    results: dict[str, list] = {"from scratch": [], "from colorization": []}
    with progress.bar("transfer", 2 * len(seeds) * settings.epochs, unit="epoch") as bar:
        for seed in seeds:
            for start, values in results.items():
                keras.utils.set_random_seed(seed)
                generator = networks.build_generator(run.networks, side)
                transferred = start == "from colorization"
                if transferred:
                    restore_generator(generator, settings.workdir)
                model = classifier(generator, layer, len(classes))
                train(
                    model,
                    training,
                    seed=seed,
                    batch_size=settings.batch_size,
                    epochs=settings.epochs,
                    rate=_TRANSFER_RATE if transferred else _SCRATCH_RATE,
                    frozen_epochs=_FROZEN_EPOCHS if transferred else 0,
                    advance=bar.update,
                )
                parts = np.array_split(
                    np.arange(len(evaluated)), -(-len(evaluated) // settings.batch_size)
                )
                logits = np.concatenate(
                    [model(evaluated.lightness(rows), training=False) for rows in parts]
                )
                values.append(measure(evaluated.labels, logits))
    never = measure(evaluated.labels, np.full_like(evaluated.labels, -1.0))
    return {
        "generator": name,
        "image_size": side,
        "classes": len(classes),
        "training_pictures": len(training),
        "evaluated_pictures": len(evaluated),
        "epochs": settings.epochs,
        "results": {"never": [never], **results},
    }


def report(result: dict[str, Any]) -> str:
    """The table: means over the seeds with their 95 % intervals (Student's t)."""
    lines = [
        f"{result['generator']} at {result['image_size']}x{result['image_size']}: "
        f"{result['training_pictures']} pictures, {result['classes']} classes, {result['epochs']} "
        f"epochs; measured on {result['evaluated_pictures']} pictures.",
        "",
        "| encoder | trainings | mAP | accuracy at 0.5 |",
        "| :--- | ---: | ---: | ---: |",
    ]
    values = {
        start: np.array([[one["mAP"], one["accuracy"]] for one in measured])
        for start, measured in result["results"].items()
    }
    for start, measured in values.items():
        lines.append(_line(start, measured, ""))
    # The two of a seed saw the same pictures in the same order.
    difference = values["from colorization"] - values["from scratch"]
    lines.append(_line("colorization minus scratch", difference, "+"))
    return "\n".join(lines)


def _line(name: str, values: np.ndarray, sign: str) -> str:
    cells = [_interval(column, sign) for column in values.T]
    return f"| {name} | {len(values)} | {cells[0]} | {cells[1]} |"


def _interval(values: np.ndarray, sign: str) -> str:
    mean = np.mean(values)
    if len(values) < 2:
        return f"{mean:{sign}.3f}"
    half = scipy.stats.sem(values) * scipy.stats.t.ppf(0.975, len(values) - 1)
    return f"{mean:{sign}.3f} ({mean - half:{sign}.3f} to {mean + half:{sign}.3f})"


def main(settings: Settings, arguments: list[str]) -> None:
    """Runs the script."""
    try:
        seeds = [int(seed) for seed in settings.seeds.split(",")]
    except ValueError:
        raise UserError(f"--seeds={settings.seeds} must be numbers, such as 0,1,2.") from None
    if len(set(seeds)) < len(seeds) or not all(0 <= seed < 2**32 for seed in seeds):
        raise UserError(f"--seeds={settings.seeds} must be different numbers from 0 to 2^32 - 1.")
    if settings.output and not Path(settings.output).parent.is_dir():
        raise UserError(f"the folder of --output={settings.output} does not exist: make it.")
    if settings.output and Path(settings.output).is_dir():
        raise UserError(f"--output={settings.output} is a folder: name a file.")
    result = compare(settings, seeds)
    print(report(result))
    if settings.output:
        files.publish_text(Path(settings.output), json.dumps(result, indent=1) + "\n")


COMMAND = cli.Command(__doc__, Settings, main)

if __name__ == "__main__":
    cli.run(COMMAND)
