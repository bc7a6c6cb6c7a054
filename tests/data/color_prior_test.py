# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
from skimage import color

from koalagan.color import bins
from koalagan.data import color_prior
from koalagan.data.store import Store


def test_counts_are_those_of_mean_colors_of_4x4_pixels():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (19, 8, 12, 3), dtype=np.uint8)
    ab = color.rgb2lab(pictures)[..., 1:].reshape(19, 2, 4, 3, 4, 2).mean(axis=(2, 4))
    distances = np.linalg.norm(ab.reshape(-1, 1, 2) - bins.centers(), axis=-1)
    expected = np.bincount(distances.argmin(axis=-1), minlength=261)
    counts = color_prior.counts(Store(Path("unused"), {"pictures": 19}, pictures))
    # A color on the border of two classes may be rounded to either.
    assert counts.sum() == expected.sum() == 19 * 2 * 3
    assert np.abs(counts - expected).sum() <= 2


def test_of_many_pictures_some_are_counted_evenly(monkeypatch):
    monkeypatch.setattr(color_prior, "_PICTURES", 3)
    gray, red = (np.full((10, 4, 4, 3), rgb, np.uint8) for rgb in ((90, 90, 90), (255, 0, 0)))
    pictures = np.concatenate([gray, red])
    counts = color_prior.counts(Store(Path("unused"), {"pictures": 20}, pictures))
    assert sorted(counts[counts > 0]) == [1, 2]
