# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Measures predictors side by side on the same pictures, gray first.

What is measured, and how, is in `koalagan.evaluation.metrics`. A picture without color is the first
row of every table: a model that is not better than gray has learned nothing.
"""

import functools
import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

import koalagan
from koalagan import files, progress
from koalagan.color import lab
from koalagan.data.objects import Objects
from koalagan.errors import UserError
from koalagan.evaluation import by_object, distributions, intervals, metrics, report, tables
from koalagan.evaluation.grids import picture_grid
from koalagan.models import picture_features

# From L, float32 [B, H, W, 1], to ab [B, H, W, 2].
Predictor = Callable[[tf.Tensor], tf.Tensor]

# What an evaluation writes into its folder.
FILES = ("metrics.json", "table.md", "pictures.csv", "pictures.jsonl", "grid.png")

_SSIM_WINDOW = 11
# Of a normalized a* or b*, whose range is -1 to 1.
_LARGEST = 100.0


def evaluate_models(
    models: Mapping[str, Predictor],
    pictures: np.ndarray,
    *,
    data: dict[str, Any],
    output_dir: str,
    ids: Sequence[str] | None = None,
    compare: str = "first",
    features: str = "none",
    objects: Sequence[Objects | None] | None = None,
    report_path: str | None = None,
    batch_size: int = 16,
    grid_rows: int = 8,
) -> dict[str, Any]:
    """Measures gray and then every model on every picture, and writes the results.

    The results are metrics.json (all numbers, with the data and versions that made them), table.md
    (the same, to read), pictures.csv and pictures.jsonl (what was measured of each picture, a line
    for each picture and model) and grid.png (gray | each model | true).

    Args:
        models: from a model's name to its predictor.
        pictures: the truth, uint8 [N, H, W, 3]; a memory map is read batch by batch.
        data: what `pictures` are, for `metrics.json`: JSON-able, "dataset" and "split" at least.
        output_dir: made if absent; its older results are replaced.
        ids: the names of the pictures; None for their numbers.
        compare: which models are compared with each other (see `intervals.pairs`).
        features: the network of `picture_features.NETWORKS` by whose features the distributions of
            the pictures are compared, or "none".
        objects: those of each picture, to measure by class and size; None does not.
        report_path: where to write the page of `koalagan.evaluation.report`; None does not.
        batch_size: pictures that a predictor is given at once.
        grid_rows: how many pictures, spread evenly over all, the grid shows.

    Returns:
        The content of `metrics.json`.

    Raises:
        UserError: the pictures are too small, a model does not return finite ab of its input's
            size, or `output_dir` cannot be written.
    """
    height, width = pictures.shape[1:3]
    if min(height, width) < _SSIM_WINDOW:
        raise UserError(
            f"pictures of {height}x{width} are too small to measure: --image_size must be at least "
            f"{_SSIM_WINDOW}."
        )
    if features != "none" and len(pictures) < 2:
        raise UserError("one picture has no distribution: leave --features out.")
    if report_path:
        report.check(report_path)
    try:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        shown = np.linspace(0, len(pictures) - 1, min(grid_rows, len(pictures))).astype(int)
        describe = None if features == "none" else picture_features.load(features)
        rows, columns, joined, described, found = [], {}, {}, {}, {}
        predictors = {tables.GRAY: _gray, **models}
        for name, predict in predictors.items():
            measured, described[name], found[name] = _measure(
                name, predict, pictures, batch_size, describe, objects
            )
            rows.append({"model": name, **metrics.aggregate(measured)})
            joined[name] = metrics.join(measured)
            columns[name] = _colorize(name, predict, pictures[shown])
        result = {
            "rows": rows,
            "truth": metrics.aggregate_truth(measured),
            "intervals": {
                "confidence": intervals.CONFIDENCE,
                "resamplings": intervals.RESAMPLINGS,
                "rows": intervals.of_models(joined),
                "differences": intervals.compare(joined, intervals.pairs(list(joined), compare)),
            },
            "distributions": describe
            and {
                "features": picture_features.NETWORKS[features].title,
                "rows": _distances(described, _described(pictures, batch_size, describe)),
            },
            "objects": None if objects is None else by_object.aggregate(found),
            "data": data,
            "versions": versions(),
        }
        text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False)
        grid = picture_grid({**columns, "true": pictures[shown]}, max_rows=grid_rows)
        folder = Path(output_dir)
        files.publish(folder / "grid.png", Image.fromarray(grid).save)
        files.publish_text(folder / "table.md", tables.format_table(result))
        files.publish_text(folder / "metrics.json", text + "\n")
        files.publish_text(folder / "pictures.csv", tables.format_pictures(joined, ids))
        files.publish_text(folder / "pictures.jsonl", tables.pictures_as_json(joined, ids))
        if report_path:

            def color(name: str, rows: np.ndarray) -> np.ndarray:
                return _colorize(name, predictors[name], pictures[rows])

            report.write(report_path, result, joined, pictures, color, ids)
    except OSError as error:
        raise UserError(
            f"the results cannot be written to {output_dir} ({error.strerror or error}): make it "
            "writable, or name another place with --output_dir."
        ) from error
    return result


def versions() -> dict[str, str]:
    """The versions of the software that makes a measurement."""
    return {
        "koalagan": koalagan.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "tensorflow-io": importlib.metadata.version("tensorflow-io"),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _gray(L: tf.Tensor) -> tf.Tensor:
    return tf.repeat(tf.zeros_like(L), 2, axis=-1)


@functools.cache
def _measure_batch() -> Callable[..., dict[str, tf.Tensor]]:
    """`metrics.measure` as a graph, one for all models."""
    return tf.function(metrics.measure, reduce_retracing=True)


def _measure(
    name: str,
    predict: Predictor,
    pictures: np.ndarray,
    batch_size: int,
    describe: Callable[[tf.Tensor], tf.Tensor] | None,
    objects: Sequence[Objects | None] | None,
) -> tuple[list[dict[str, np.ndarray]], np.ndarray | None, list[dict[str, Any]]]:
    """What `metrics.measure` gives of each batch, the features of the colored pictures, and what
    was measured of each object.
    """
    measured, described, found = [], [], []
    with progress.bar(f"evaluate {name}", len(pictures)) as bar:
        for start in range(0, len(pictures), batch_size):
            truth = tf.constant(pictures[start : start + batch_size])
            L, ab = lab.rgb_to_lab(truth)
            predicted = _predict(name, predict, L)
            batch = _measure_batch()(truth, L, ab, predicted)
            measured.append({metric: values.numpy() for metric, values in batch.items()})
            if describe:
                described.append(describe(lab.lab_to_rgb(L, predicted)).numpy())
            if objects:
                here = objects[start : start + batch_size]
                found += by_object.measure(start, (truth, L, ab), predicted, here)
            bar.update(len(truth))
    return measured, np.concatenate(described) if described else None, found


def _described(
    pictures: np.ndarray, batch_size: int, describe: Callable[[tf.Tensor], tf.Tensor]
) -> np.ndarray:
    """The features of the true pictures."""
    described = []
    with progress.bar("features", len(pictures)) as bar:
        for start in range(0, len(pictures), batch_size):
            described.append(describe(tf.constant(pictures[start : start + batch_size])).numpy())
            bar.update(len(described[-1]))
    return np.concatenate(described)


def _distances(described: Mapping[str, np.ndarray], truth: np.ndarray) -> list[dict[str, Any]]:
    truth = truth.astype(np.float64)
    rows = []
    for name, features in described.items():
        pair = features.astype(np.float64), truth
        fid, kid = distributions.frechet_distance(*pair), distributions.kernel_distance(*pair)
        rows.append({"model": name, "fid": fid, "kid": kid})
    return rows


def _colorize(name: str, predict: Predictor, pictures: np.ndarray) -> np.ndarray:
    L = lab.lightness(pictures)
    return lab.lab_to_rgb(L, _predict(name, predict, L)).numpy()


def _predict(name: str, predict: Predictor, L: tf.Tensor) -> tf.Tensor:
    ab = tf.cast(predict(L), tf.float32)
    expected = (*L.shape[:3], 2)
    if tuple(ab.shape) != expected:
        raise UserError(
            f"{name} returned {tuple(ab.shape)} for L of {tuple(L.shape)} instead of "
            f"{expected}: pass an --image_size that it takes."
        )
    # NaN is not smaller.
    if not tf.reduce_all(tf.abs(ab) < _LARGEST):
        raise UserError(
            f"{name} predicts colors that are NaN, infinite or far beyond all there are: its "
            "training diverged, train it again."
        )
    return ab
