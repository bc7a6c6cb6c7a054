# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Measures exported models side by side, grey first.

    python -m koalagan.evaluate --saved_model=DIR [--saved_model=DIR2 ...] \\
        --dataset=... --data_dir=... --split=... --output_dir=OUT

Writes `OUT/metrics.json` (every number, with the data and versions that made it), `OUT/table.md`
(the same, to read) and `OUT/grid.png` (grey | each model | true). What is measured, and how, stands
in `metrics`. A picture without colour is the first row of every table: a model that does not beat
it has learned nothing.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from PIL import Image

import koalagan
from koalagan import errors, files, lazy, progress
from koalagan.data import flags as data_flags
from koalagan.data import sources, store
from koalagan.errors import UserError
from koalagan.inference import saved_model

keras = lazy.module("keras")
tf = lazy.module("tensorflow")
lab = lazy.module("koalagan.color.lab")
metrics = lazy.module("koalagan.evaluation.metrics")
summaries = lazy.module("koalagan.training.summaries")

# From L, float32 [B, H, W, 1], to ab [B, H, W, 2].
Predictor = Callable[["tf.Tensor"], "tf.Tensor"]

_SSIM_WINDOW = 11
# The parts of a model that start from published weights, or else from nothing.
_NETWORKS = ("embedding", "segmentation", "backbone")
_COLUMNS = {
    "model": "model",
    "psnr": "PSNR (dB)",
    "psnr_pooled": "pooled (dB)",
    "ssim": "SSIM",
    "ssim_ab": "SSIM of ab",
    "colorfulness": "colourfulness",
    "colorfulness_gap": "gap",
    "ciede2000": "CIEDE2000",
    "ab_mae": "ab error",
}


def evaluate_models(
    models: Mapping[str, Predictor],
    pictures: np.ndarray,
    *,
    data: dict[str, Any],
    output_dir: str,
    batch_size: int = 16,
    grid_rows: int = 8,
) -> dict[str, Any]:
    """Measures grey and then every model on every picture, and writes the three files.

    Args:
        models: from the name to show to the predictor.
        pictures: the truth, uint8 [N, H, W, 3]; a memory map is read batch by batch.
        data: what `pictures` are, for `metrics.json`: JSON-able, "dataset" and "split" at least.
        output_dir: made if absent; its older results are replaced.
        batch_size: pictures a predictor gets at once.
        grid_rows: how many pictures, spread evenly over all, the grid shows.

    Returns:
        The content of `metrics.json`.

    Raises:
        UserError: the pictures are too small, a model does not answer with finite ab of the size of
            its input, or `output_dir` cannot be written.
    """
    height, width = pictures.shape[1:3]
    if min(height, width) < _SSIM_WINDOW:
        raise UserError(
            f"pictures of {height}x{width} are too small to measure: --image_size must be at least "
            f"{_SSIM_WINDOW}."
        )
    try:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        shown = np.linspace(0, len(pictures) - 1, min(grid_rows, len(pictures))).astype(int)
        rows, columns = [], {}
        for name, predict in {"grey": _grey, **models}.items():
            measured = _measure(name, predict, pictures, batch_size)
            rows.append({"model": name, **metrics.aggregate(measured)})
            columns[name] = _colorize(name, predict, pictures[shown])
        result = {
            "rows": rows,
            "truth": metrics.aggregate_truth(measured),
            "data": data,
            "versions": versions(),
        }
        text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False)
        grid = summaries.picture_grid({**columns, "true": pictures[shown]}, max_rows=grid_rows)
        folder = Path(output_dir)
        files.publish(folder / "grid.png", Image.fromarray(grid).save)
        files.publish_text(folder / "table.md", format_table(result))
        files.publish_text(folder / "metrics.json", text + "\n")
    except OSError as error:
        raise UserError(
            f"the results cannot be written to {output_dir} ({error.strerror or error}): make it "
            "writable, or name another place with --output_dir."
        ) from error
    return result


def evaluate_saved_models(
    saved_models: Sequence[str],
    *,
    dataset: str,
    split: str,
    output_dir: str,
    data_dir: str | None = None,
    download: bool = False,
    image_size: int | None = None,
    resize: str = "stretch",
    on_bad_picture: str = "fail",
    store_dir: str | None = None,
    batch_size: int = 16,
) -> dict[str, Any]:
    """Measures exported models on a split of a dataset; prepares its pictures where they are not.

    Args:
        saved_models: folders of exported models, or of their runs.
        dataset: a TFDS name, or "folder".
        split: in TFDS's syntax.
        output_dir, batch_size: see `evaluate_models`.
        data_dir, download: see `sources.open_source`.
        image_size: side of the pictures; None for what the models were exported for.
        resize, on_bad_picture: see `store.prepare`.
        store_dir: where prepared pictures are kept; None for koalagan's folder in the user's cache.

    Returns:
        The content of `metrics.json`.

    Raises:
        UserError: a model, the pictures or a place to write to cannot be had.
    """
    paths = names([saved_model.find(os.path.expanduser(path)) for path in saved_models])
    image_size = image_size or _image_size(paths.values())
    models = {name: saved_model.predictor(path) for name, path in paths.items()}
    prepared = store.prepare(
        sources.open_source(dataset, split, data_dir=data_dir, download=download),
        store_dir=store_dir or data_flags.default_store_dir(),
        image_size=(image_size, image_size),
        resize=resize,
        on_bad_picture=on_bad_picture,
    )
    return evaluate_models(
        models,
        prepared.pictures,
        data=describe(prepared.manifest, paths),
        output_dir=output_dir,
        batch_size=batch_size,
    )


def format_table(result: Mapping[str, Any]) -> str:
    """The result of `evaluate_models` as text: a Markdown table, aligned so as to read as it is."""
    cells = [list(_COLUMNS.values())]
    cells += [[_cell(name, row[name]) for name in _COLUMNS] for row in result["rows"]]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = [_line(row, widths) for row in cells]
    rule = [":" + "-" * (widths[0] - 1)] + ["-" * (width - 1) + ":" for width in widths[1:]]
    lines.insert(1, _line(rule, widths))
    pictures, truth, data = result["rows"][0]["pictures"], result["truth"], result["data"]
    lines += [
        "",
        f"{pictures} pictures of {data['dataset']} {data['split']}, {truth['pictures_with_color']} "
        "of them with colour (PSNR is the mean of those); the true colourfulness is "
        f"{truth['colorfulness']:.2f}.",
    ]
    return "\n".join(lines) + "\n"


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of the command line."""
    data_flags.define_data_flags(flag_values)
    flags.DEFINE_multi_string(
        "saved_model",
        None,
        "Folder of an exported model; repeat the flag to compare several.",
        required=True,
        flag_values=flag_values,
    )
    flags.DEFINE_string(
        "split", "validation", "The pictures to measure on.", flag_values=flag_values
    )
    flags.DEFINE_string(
        "output_dir",
        None,
        "Where metrics.json, table.md and grid.png go.",
        required=True,
        flag_values=flag_values,
    )
    flags.DEFINE_integer(
        "batch_size", 16, "Pictures at a time.", lower_bound=1, flag_values=flag_values
    )


def main(argv: Sequence[str]) -> None:
    """Runs the command line."""
    settings = flags.FLAGS
    if len(argv) > 1:
        raise UserError(f"evaluate takes only flags, and {argv[1]!r} is none: see --help.")
    settings.output_dir = os.path.expanduser(settings.output_dir)
    result = evaluate_saved_models(
        settings.saved_model,
        dataset=settings.dataset,
        split=settings.split,
        output_dir=settings.output_dir,
        data_dir=settings.data_dir,
        download=settings.download,
        image_size=settings.image_size if settings["image_size"].present else None,
        resize=settings.resize,
        on_bad_picture=settings.on_bad_picture,
        store_dir=settings.store_dir,
        batch_size=settings.batch_size,
    )
    print(format_table(result))
    for name in ("metrics.json", "table.md", "grid.png"):
        print(os.path.join(settings.output_dir, name))


def _grey(L: tf.Tensor) -> tf.Tensor:
    return tf.repeat(tf.zeros_like(L), 2, axis=-1)


@functools.cache
def _measure_batch() -> Callable[..., dict[str, tf.Tensor]]:
    """`metrics.measure` as a graph, one for all models."""
    return tf.function(metrics.measure, reduce_retracing=True)


def _measure(
    name: str, predict: Predictor, pictures: np.ndarray, batch_size: int
) -> list[dict[str, np.ndarray]]:
    measured = []
    with progress.bar(f"evaluate {name}", len(pictures)) as bar:
        for start in range(0, len(pictures), batch_size):
            truth = tf.constant(pictures[start : start + batch_size])
            L, ab = lab.rgb_to_lab(truth)
            batch = _measure_batch()(truth, L, ab, _predict(name, predict, L))
            measured.append({metric: values.numpy() for metric, values in batch.items()})
            bar.update(len(truth))
    return measured


def _colorize(name: str, predict: Predictor, pictures: np.ndarray) -> np.ndarray:
    L, _ = lab.rgb_to_lab(pictures)
    return lab.lab_to_rgb(L, _predict(name, predict, L)).numpy()


def _predict(name: str, predict: Predictor, L: tf.Tensor) -> tf.Tensor:
    ab = tf.cast(predict(L), tf.float32)
    expected = (*L.shape[:3], 2)
    if tuple(ab.shape) != expected:
        raise UserError(
            f"{name} answered a lightness of {tuple(L.shape)} with {tuple(ab.shape)} and not "
            f"{expected}: pass an --image_size that it takes."
        )
    if not tf.reduce_all(tf.math.is_finite(ab)):
        raise UserError(
            f"{name} predicts colours that are not numbers: its training diverged, train it again."
        )
    return ab


def names(paths: Sequence[str]) -> dict[str, str]:
    """What tables call SavedModels: name -> path.

    A name is the folder's, or its run's where that is `export`; the whole path where names clash.
    Networks that were never trained on anything are part of the name: no figure is shown without
    that word.
    """
    short = []
    for path in paths:
        folder = Path(os.path.abspath(path))
        name = folder.parent.name if folder.name == "export" else folder.name
        facts = saved_model.facts(path)
        untrained = [part for part in _NETWORKS if facts.get(f"{part}_weights") == "random"]
        short.append(f"{name} (random {' and '.join(untrained)})" if untrained else name)
    taken = {name for name in short if short.count(name) > 1} | {"grey", "true"}
    return {
        os.path.abspath(path) if name in taken else name: path
        for name, path in zip(short, paths, strict=True)
    }


def describe(manifest: Mapping[str, Any], paths: Mapping[str, str]) -> dict[str, Any]:
    """The "data" of `metrics.json`: a store's manifest, and what is known of each model."""
    known = {name: {"saved_model": path, **saved_model.facts(path)} for name, path in paths.items()}
    return {**manifest, "models": known}


def _image_size(paths: Iterable[str]) -> int:
    """The size that the models were exported for."""
    known = {tuple(saved_model.facts(path).get("image_size", (256, 256))) for path in paths}
    if len(known) > 1:
        raise UserError(
            "the models were exported for different sizes: name the one to measure at with "
            "--image_size."
        )
    return known.pop()[0]


def versions() -> dict[str, str]:
    """What made a measurement."""
    return {
        "koalagan": koalagan.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "tensorflow-io": importlib.metadata.version("tensorflow-io"),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _cell(name: str, value: str | float | None) -> str:
    if value is None:
        return "-"
    if name == "model":
        return value.replace("|", "\\|")
    return f"{value:.4f}" if name.startswith("ssim") else f"{value:.2f}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cells[0].ljust(widths[0])]
    padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return "| " + " | ".join(padded) + " |"


if __name__ == "__main__":
    define_flags()
    flags.adopt_module_key_flags(data_flags)  # so that --help lists them too
    errors.run(main)
