# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Pictures side by side under titles."""

import numpy as np
import pytest

from koalagan.evaluation import grids


def plain(level, count=3, height=20, width=48):
    pictures = np.zeros((count, height, width, 3), np.uint8)
    pictures[:] = np.arange(count).reshape(-1, 1, 1, 1) * 10 + level
    return pictures


def test_every_picture_is_in_its_row_and_column():
    columns = {"gray": plain(0), "model": plain(100), "true": plain(200)}
    grid = grids.picture_grid(columns)
    assert grid.dtype == np.uint8 and grid.shape[1:] == (4 + 3 * (48 + 4), 3)
    header = grid.shape[0] - 3 * (20 + 4)
    for column, pictures in enumerate(columns.values()):
        for row, picture in enumerate(pictures):
            top, left = header + row * 24, 4 + column * 52
            np.testing.assert_array_equal(grid[top : top + 20, left : left + 48], picture)
    # The gutters are white.
    assert (grid[header:, 52:56] == 255).all() and (grid[header + 20 : header + 24] == 255).all()


def test_each_title_is_over_its_column():
    grid = grids.picture_grid({"": plain(0), "gray": plain(0)})
    header = grid[: grid.shape[0] - 3 * 24]
    assert (header[:, :56] == 255).all()
    assert header[:, 56:].min() < 64  # Legible: some of it is nearly black.


def test_max_rows_shows_the_first_rows_only():
    grid = grids.picture_grid({"true": plain(0, count=5)}, max_rows=2)
    assert grid.shape[0] == grids.picture_grid({"true": plain(0, count=2)}).shape[0]


@pytest.mark.parametrize("title", ["a_very_long_name_of_a_model_that_cannot_fit", "w" * 500])
def test_titles_that_are_too_wide_are_cut(title):
    short = grids.picture_grid({"short": plain(0), "": plain(0)})
    grid = grids.picture_grid({title: plain(0), "": plain(0)})
    assert grid.shape == short.shape
    assert (grid[:10, 52:] == 255).all()  # Nothing runs into the next column.


def test_columns_must_have_one_shape():
    with pytest.raises(ValueError):
        grids.picture_grid({"one": plain(0), "two": plain(0, width=40)})
