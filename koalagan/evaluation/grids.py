# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Pictures side by side under titles, drawn with Pillow."""

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

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
        # Names of runs more often differ at the start: cut the end.
        while title and font.getlength(title + "...") > width:
            title = title[:-1]
        return title + "..." if title else ""

    return font, size + 2 * _GUTTER, [fit(title) for title in titles]
