# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Whether a picture has color, or only lightness and perhaps one tone."""

import numpy as np

from koalagan.color import lab
from koalagan.color.resizing import resize

# Root mean square, in Lab units, of the color that lightness alone does not explain. Of 400 COCO
# photographs, 8 are gray (0) and 5 % of the others lie below the threshold: toned ones, or of a
# single hue. Sepia-toned prints saved as JPEG (quality 85) have at most 2.2.
_COLORED = 2.5
_SAMPLE = 64  # side at which pictures are examined: it averages out the noise of JPEG


def has_color(rgb: np.ndarray) -> bool:
    """Whether a picture, uint8 [H, W, 3], has more than the tones of one color.

    Old prints are brown or blue all over. In a color picture, things of equal lightness differ in
    color.
    """
    if not np.any(rgb != rgb[..., :1]):
        return False
    L, ab = lab.rgb_to_lab(resize(rgb[None], (_SAMPLE, _SAMPLE)))
    lightness, a, b = (part.ravel() for part in np.moveaxis(lab.lab_units(L, ab).numpy(), -1, 0))
    powers = np.vander(lightness / 100, 4)
    colors = np.stack([a, b], axis=-1)
    explained = powers @ np.linalg.lstsq(powers, colors, rcond=None)[0]
    return float(np.sqrt(np.square(colors - explained).sum(axis=-1).mean())) > _COLORED
