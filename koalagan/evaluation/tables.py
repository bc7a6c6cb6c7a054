# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Results of an evaluation as text."""

from collections.abc import Mapping, Sequence
from typing import Any

# What the row without color is called.
GRAY = "gray"

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


def format_table(result: Mapping[str, Any]) -> str:
    """The result of `protocol.evaluate_models` as an aligned Markdown table."""
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
        "of them with color (PSNR is the mean over those); the true colorfulness is "
        f"{truth['colorfulness']:.2f}.",
    ]
    return "\n".join(lines) + "\n"


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
