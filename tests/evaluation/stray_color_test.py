# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Changes of color beside the edges of lightness, on drawn pictures and a photograph."""

import numpy as np
import pytest
import scipy.ndimage
import skimage.data

from koalagan.color import lab
from koalagan.evaluation.stray_color import stray_color

SIZE = 64


def _two_halves(column):
    """Left of a column one value, right of it another, [SIZE, SIZE]."""
    return np.where(np.arange(SIZE) < column, -0.2, 0.2) * np.ones((SIZE, 1))


def _stray(lightness, a):
    L = np.asarray(lightness, np.float32)[None, ..., None]
    ab = np.stack([a, np.zeros_like(a)], axis=-1)[None].astype(np.float32)
    return float(stray_color(L, ab)[0])


def test_color_that_ends_with_the_thing_is_not_stray():
    assert _stray(_two_halves(32), _two_halves(32)) == 0.0


def test_color_that_runs_over_the_edge_is():
    """All of the change is 16 pixels beside the edge."""
    assert _stray(_two_halves(32), _two_halves(48)) == pytest.approx(1.0)


def test_a_blot_on_a_smooth_thing_is():
    rows, columns = np.mgrid[:SIZE, :SIZE]
    blot = 0.3 * np.exp(-((rows - 32) ** 2 + (columns - 48) ** 2) / 50)
    assert _stray(np.zeros((SIZE, SIZE)), blot) == pytest.approx(1.0)
    assert 0.2 < _stray(_two_halves(32), blot + _two_halves(32)) < 0.8


def test_paleness_does_not_matter_and_gray_has_none():
    rows, columns = np.mgrid[:SIZE, :SIZE]
    color = _two_halves(32) + 0.2 * np.sin(columns / 5)
    full, pale = (_stray(_two_halves(32), factor * color) for factor in (1.0, 0.2))
    assert 0.1 < full < 0.9 and pale == pytest.approx(full, rel=1e-4)
    assert _stray(_two_halves(32), 0.0 * color) == 0.0
    assert _stray(_two_halves(32), np.full((SIZE, SIZE), 0.5)) == 0.0


def test_a_photograph_by_scipy():
    L, ab = lab.rgb_to_lab(skimage.data.coffee()[None, 100:228, 100:292])
    units = np.concatenate([(L[0] + 1) * 50, 110 * ab[0]], axis=-1)
    smooth = scipy.ndimage.gaussian_filter(units, (1.5, 1.5, 0), radius=(5, 5, 0))
    padded = np.pad(smooth, [(1, 1), (1, 1), (0, 0)], "symmetric")
    down = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    right = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
    gradient = np.hypot(down, right)
    near = scipy.ndimage.maximum_filter(gradient[..., 0], 9, mode="nearest") >= 2
    color = np.linalg.norm(gradient[..., 1:], axis=-1)
    expected = color[~near].sum() / color.sum()
    assert 0.01 < expected < 0.9
    assert float(stray_color(L, ab)[0]) == pytest.approx(expected, abs=1e-3)
