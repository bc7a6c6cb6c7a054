# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Results of an evaluation as text."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from koalagan.evaluation.intervals import LEAST_PICTURES

# What the row without color is called.
GRAY = "gray"
# Marks a difference whose interval holds 0.
_NOT_TOLD = "~"

_COLUMNS = {
    "model": "model",
    "psnr": "PSNR (dB)",
    "psnr_pooled": "pooled (dB)",
    "ssim": "SSIM",
    "ssim_ab": "SSIM of ab",
    "colorfulness": "colorfulness",
    "colorfulness_gap": "gap",
    "ciede2000": "CIEDE2000",
    "ab_mae": "ab error",
}
# A second table; earlier versions wrote results without them.
_MORE_COLUMNS = {
    "model": "model",
    "within_10": "within 10",
    "within_20": "within 20",
    "accuracy_area": "area",
    "stray_color": "stray color",
}
_FOUR_DIGITS = ("ssim", "ssim_ab", *_MORE_COLUMNS)


# A table, whose first row is its header, or a sentence.
Block = Sequence[Sequence[str]] | str


def format_table(result: Mapping[str, Any]) -> str:
    """The result of `protocol.evaluate_models` as aligned Markdown tables and notes."""
    return _text(blocks(result))


def format_summary(result: Mapping[str, Any]) -> str:
    """The first of these tables, and what was measured: for a terminal."""
    return _text(blocks(result)[:2])


def _text(shown: Sequence[Block]) -> str:
    return "\n\n".join(one if isinstance(one, str) else _aligned(one) for one in shown) + "\n"


def blocks(result: Mapping[str, Any]) -> list[Block]:
    """The tables and notes of a result of `protocol.evaluate_models`, in their order."""
    pictures, truth, data = result["rows"][0]["pictures"], result["truth"], result["data"]
    found: list[Block] = [
        _values(result["rows"], _COLUMNS),
        f"{pictures} pictures of {data['dataset']} {data['split']}, {truth['pictures_with_color']} "
        "of them with color (PSNR is the mean over those); the true colorfulness is "
        f"{truth['colorfulness']:.2f}."
        + (" Each model saw them at its own size." if data.get("own_size") else ""),
    ]
    # Earlier versions wrote results without what follows.
    if "stray_color" in truth:
        found.append(_values(result["rows"], _MORE_COLUMNS))
        found.append(f"The stray color of the truth is {truth['stray_color']:.4f}.")
    if known := result.get("intervals"):
        found += [*_intervals(known), *_differences(known)]
    if known := result.get("distributions"):
        found.append(_distributions(known))
    if (known := result.get("objects")) is not None:
        found += _objects(known) if known else ["No picture has marked objects."]
    return found


def _values(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> Block:
    cells = [list(columns.values())]
    return cells + [[_cell(name, row[name]) for name in columns] for row in rows]


def format_pictures(
    measured: Mapping[str, Mapping[str, np.ndarray]], ids: Sequence[str] | None = None
) -> str:
    """What was measured of each picture as CSV, a line for each picture and model.

    Args:
        measured: metrics of every picture, from `metrics.join`, by the names of models.
        ids: the names of the pictures; None for their numbers.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    first = next(iter(measured.values()))
    writer.writerow(["picture", "model", *first])
    for number, name in enumerate(ids or range(len(first["squared_error"]))):
        for model, values in measured.items():
            writer.writerow([name, model, *(f"{column[number]:.6g}" for column in values.values())])
    return text.getvalue()


def pictures_as_json(
    measured: Mapping[str, Mapping[str, np.ndarray]], ids: Sequence[str] | None = None
) -> str:
    """The same as JSON lines, with all digits."""
    first = next(iter(measured.values()))
    lines = [
        {"picture": name, "model": model}
        | {metric: float(column[number]) for metric, column in values.items()}
        for number, name in enumerate(ids or range(len(first["squared_error"])))
        for model, values in measured.items()
    ]
    return "".join(f"{json.dumps(line, allow_nan=False)}\n" for line in lines)


def _intervals(known: Mapping[str, Any]) -> list[Block]:
    """The limits of every model's means."""
    titles = _COLUMNS | _MORE_COLUMNS
    names = [name for name in titles if name in known["rows"][0] and name != "model"]
    cells = [["from - to", *(titles[name] for name in names)]]
    for row in known["rows"]:
        limits = [
            "-" if row[name] is None else " - ".join(_cell(name, value) for value in row[name])
            for name in names
        ]
        cells.append([_cell("model", row["model"]), *limits])
    return [
        cells,
        f"{known['confidence']:.0%} intervals for the choice of pictures; those of another "
        "training are not in them.",
    ]


def _differences(known: Mapping[str, Any]) -> list[Block]:
    """What models have more than others, with intervals, a table for each."""
    rows = known["differences"]
    found: list[Block] = []
    for first in dict.fromkeys(row["first"] for row in rows):
        mine = [row for row in rows if row["first"] == first]
        titles = _COLUMNS | _MORE_COLUMNS
        names = [name for name in titles if name in mine[0] and name != "model"]
        cells = [[f"{_cell('model', first)} minus", *(titles[name] for name in names)]]
        for row in mine:
            differences = [
                _difference(row[name], 4 if name in _FOUR_DIGITS else 2) for name in names
            ]
            cells.append([_cell("model", row["model"]), *differences])
        found.append(cells)
    if found:
        found.append(
            f"Differences on the same pictures, with their {known['confidence']:.0%} intervals; "
            f"{_NOT_TOLD} marks those that cannot be told from none."
        )
    return found


def _difference(value: Sequence[float | None] | None, digits: int) -> str:
    if value is None:
        return "-"
    if value[1] is None:  # Of too few pictures.
        return f"{_NOT_TOLD} {value[0]:+.{digits}f}"
    difference, low, high = (f"{number:+.{digits}f}" for number in value)
    mark = f"{_NOT_TOLD} " if value[1] <= 0 <= value[2] else ""
    return f"{mark}{difference} ({low} to {high})"


def _distributions(known: Mapping[str, Any]) -> Block:
    """The distances of the distributions of pictures, which are lower for a better model."""
    features = known["features"]
    cells = [["model", f"FID ({features})", f"KID x 1000 ({features})"]]
    return cells + [
        [_cell("model", row["model"]), f"{row['fid']:.2f}", f"{1000 * row['kid']:.2f}"]
        for row in known["rows"]
    ]


def _objects(rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Errors by class and by size: columns of each model's error, of what it is more than that of
    the first one, and of the chroma.
    """
    models = list(dict.fromkeys(row["model"] for row in rows))
    found: list[Block] = []
    for by in ("class", "size"):
        groups: dict[str, dict] = {}
        for row in rows:
            if row["by"] == by:
                groups.setdefault(row["name"], {})[row["model"]] = row
        shown = {
            name: group
            for name, group in groups.items()
            if group[models[0]]["pictures"] >= LEAST_PICTURES or by == "size"
        }
        cells = [[by, "objects", "pictures", "true chroma"]]
        for model in models:
            cells[0].append(f"{_cell('model', model)}: CIEDE2000")
            cells[0] += ["chroma"] if model == models[0] else [f"minus {models[0]}", "chroma"]
        for name, group in shown.items():
            any_row = group[models[0]]
            line = [name, str(any_row["objects"]), str(any_row["pictures"])]
            line.append(f"{any_row['truth_chroma']:.1f}")
            for model in models:
                row = group[model]
                low, high = row["ciede2000_interval"]
                limits = "" if low is None else f" ({low:.1f} - {high:.1f})"
                line.append(f"{row['ciede2000']:.1f}{limits}")
                if model != models[0]:
                    line.append(_difference(row["ciede2000_more"], 1))
                line.append(f"{row['chroma']:.1f}")
            cells.append(line)
        if shown:
            found.append(cells)
        if rest := len(groups) - len(shown):
            found.append(f"Classes in fewer than {LEAST_PICTURES} pictures are left out: {rest}.")
    return found


def _aligned(cells: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its header."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in cells]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = [_line(row, widths) for row in cells]
    rule = [":" + "-" * (widths[0] - 1)] + ["-" * (width - 1) + ":" for width in widths[1:]]
    lines.insert(1, _line(rule, widths))
    return "\n".join(lines)


def _cell(name: str, value: str | float | None) -> str:
    if value is None:
        return "-"
    if name == "model":
        return value
    return f"{value:.4f}" if name in _FOUR_DIGITS else f"{value:.2f}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cells[0].ljust(widths[0])]
    padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return "| " + " | ".join(padded) + " |"
