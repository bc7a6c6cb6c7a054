# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Resizing and cropping of pictures."""

import numpy as np
import pytest
import tensorflow as tf
from helpers.pictures import picture
from PIL import Image

from koalagan.color import resizing


def test_resize_keeps_pictures_of_that_size_and_uniform_ones():
    rgb = picture(height=16, width=24)
    np.testing.assert_array_equal(resizing.resize(rgb, (16, 24)), rgb)
    flat = np.full((50, 70, 3), 137, np.uint8)
    np.testing.assert_array_equal(resizing.resize(flat, (16, 24)), flat[:16, :24])


def test_resize_saturates_instead_of_wrapping():
    edge = np.zeros((8, 8, 3), np.uint8)
    edge[:, 4:] = 255
    enlarged = resizing.resize(edge, (32, 32)).numpy()
    # Bicubic overshoots on both sides of the edge. Wrapped, 0 would become 250 and 255 become 5.
    assert (enlarged[:, :12] < 60).all() and (enlarged[:, 20:] > 195).all()


def test_resize_shrinks_as_pillow_does():
    # Smooth, so that only the filter matters: Pillow's bicubic is antialiased too (with a = -0.5).
    y, x = np.mgrid[:120, :90]
    rgb = np.stack([127 + 100 * np.sin(x / 15), 127 + 100 * np.cos(y / 20), x + y], -1)
    rgb = rgb.astype(np.uint8)
    expected = np.asarray(Image.fromarray(rgb).resize((30, 40), Image.Resampling.BICUBIC))
    resized = resizing.resize(rgb, (40, 30)).numpy().astype(int)
    assert np.abs(resized - expected).max() <= 1


def test_resize_is_the_same_for_a_batch_and_in_a_graph():
    batch = np.stack([picture(seed, 30, 20) for seed in range(3)])
    eager = np.stack([resizing.resize(rgb, (16, 8)) for rgb in batch])
    graph = tf.function(lambda rgb: resizing.resize(rgb, (16, 8)))(tf.constant(batch))
    np.testing.assert_array_equal(graph, eager)


@pytest.mark.parametrize(
    "shape, size, expected", [((40, 100), (8, 8), (40, 40)), ((90, 40), (8, 16), (20, 40))]
)
def test_center_crop_takes_the_largest_part_of_that_shape(shape, size, expected):
    rgb = np.zeros((*shape, 3), np.uint8)
    rgb[shape[0] // 2, shape[1] // 2] = 255
    cropped = resizing.center_crop(rgb, size)
    assert cropped.shape[:2] == expected
    middle = [extent // 2 for extent in expected]
    assert cropped[middle[0], middle[1]].min() == 255
