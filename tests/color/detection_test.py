# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Whether a picture has color."""

import io

import numpy as np
import pytest
import skimage.data
from helpers.pictures import encode
from PIL import Image

from koalagan.color.detection import has_any_color, has_color


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


def stamped(gray, share):
    """Gray, with the orange date of a camera of the nineties."""
    rgb = np.repeat(gray[..., None], 3, axis=-1)
    height, width = (int(side * share**0.5) for side in gray.shape)
    rgb[-2 * height : -height, -2 * width : -width] = 255, 140, 20
    return rgb


def yellowed(gray):
    """Gray, with edges of a fifth of the side that have turned yellow: 64 % of the area."""
    height, width = gray.shape
    rows, columns = np.mgrid[:height, :width]
    edge = np.minimum.reduce([rows, columns, height - 1 - rows, width - 1 - columns])
    age = np.clip(1 - edge / (0.2 * min(gray.shape)), 0, 1)[..., None]
    return (gray[..., None] * (1 - age * [0.0, 0.12, 0.38])).astype(np.uint8)


@pytest.mark.parametrize("name", ["camera", "moon", "coins"])
def test_stamps_and_yellowed_edges_are_not_the_picture(name):
    gray = getattr(skimage.data, name)()
    for rgb in (stamped(gray, 0.04), yellowed(gray), np.where(gray[..., None] < 1, 0, toned(gray))):
        assert not has_color(rgb) and has_any_color(rgb)


def test_a_small_color_photograph_on_a_gray_page_is_not_most_of_it():
    page = np.full((400, 400, 3), 128, np.uint8)
    page[:100, :100] = skimage.data.astronaut()[:400:4, :400:4]
    assert not has_color(page) and has_any_color(page)


def test_gray_has_no_color_at_all():
    assert not has_any_color(np.repeat(skimage.data.camera()[..., None], 3, axis=-1))
