# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
from skimage import color

from koalagan.color import bins
from koalagan.data import color_prior
from koalagan.data.store import Store


def test_counts_are_those_of_every_fourth_pixel():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (19, 8, 12, 3), dtype=np.uint8)
    store = Store(Path("unused"), {"pictures": 19}, pictures)
    ab = color.rgb2lab(pictures[:, ::4, ::4])[..., 1:].reshape(-1, 2)
    distances = np.linalg.norm(ab[:, None] - bins.centers(), axis=-1)
    expected = np.bincount(distances.argmin(axis=-1), minlength=261)
    counts = color_prior.counts(store)
    # A color on the border of two classes may be rounded to either.
    assert counts.sum() == expected.sum() == 19 * 2 * 3
    assert np.abs(counts - expected).sum() <= 2
