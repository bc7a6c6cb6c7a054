# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Whether a picture has color."""

import io

import numpy as np
import pytest
import skimage.data
from helpers.pictures import encode
from PIL import Image

from koalagan.color.detection import has_color


def toned(gray):
    """A brown print, as decoded from a JPEG."""
    light = gray / 255
    rgb = 255 * np.stack([light**0.8, 0.93 * light, 0.8 * light**1.3], axis=-1)
    jpeg = encode(rgb.astype(np.uint8), "JPEG", quality=85)
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_color_photographs_have_color(name):
    assert has_color(getattr(skimage.data, name)())


@pytest.mark.parametrize("name", ["camera", "moon", "coins"])
def test_grayscale_and_toned_photographs_have_no_color(name):
    gray = getattr(skimage.data, name)()
    assert not has_color(np.repeat(gray[..., None], 3, axis=-1))
    assert not has_color(toned(gray))


def test_a_picture_of_a_single_color_has_no_color():
    assert not has_color(np.full((1, 1, 3), [200, 30, 30], np.uint8))
