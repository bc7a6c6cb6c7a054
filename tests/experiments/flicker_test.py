# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The flicker of a film, with and without smoothing."""

import flicker
from helpers import photos

from koalagan.inference import colorizer


def test_smoothing_reduces_flicker(tmp_path):
    model = colorizer.load(photos.export_painter(tmp_path / "export", 32, slope=(0.6, -0.4)))
    found = flicker.measure(flicker.made_film(8, (48, 64)), model, [0.0, 0.8], 8)
    assert found[0.0][1] == 0 and found[0.8][1] > 0
    assert found[0.8][0] < 0.7 * found[0.0][0]
