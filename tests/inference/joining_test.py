# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Predicted colors are upsampled along the picture's own edges, whole or in strips."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import oracles
from skimage.color import rgb2lab

from koalagan.color import lab
from koalagan.inference import joining


def picture(height, width, seed=0):
    """Light noise on a few flat grays."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 200, (1 + height // 5, 1 + width // 5))
    gray = np.kron(coarse, np.ones((5, 5)))[:height, :width] + rng.normal(0, 4, (height, width))
    return np.repeat(np.clip(gray, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def prediction(height, width, seed=1):
    rng = np.random.default_rng(seed)
    L = rng.uniform(-0.5, 0.5, (1, height, width, 1)).astype(np.float32)
    return L, rng.uniform(-0.2, 0.2, (1, height, width, 2)).astype(np.float32)


@pytest.mark.parametrize("size, full", [((4, 6), (9, 25)), ((8, 8), (8, 16)), ((1, 3), (5, 4))])
def test_upsampling_agrees_with_the_paper(size, full):
    L, ab = prediction(*size)
    rgb = picture(*full)
    L_full = lab.rgb_to_lab(rgb)[0].numpy()
    upsampled = joining.upsample(
        tf.concat([L[0], ab[0]], axis=-1), L_full, tf.range(full[0]), tf.constant(full)
    )
    expected = oracles.joint_bilateral_upsampling(L[0, ..., 0], ab[0], L_full[..., 0])
    np.testing.assert_allclose(upsampled, expected, atol=1e-5)


def test_a_color_ends_at_the_edge_of_its_object():
    """The left half is dark and red, the right one light and blue; the edge lies within a cell."""
    rgb = np.full((40, 40, 3), 60, np.uint8)
    rgb[:, 23:] = 190
    L = lab.rgb_to_lab(rgb[None, 5::10, 5::10])[0]
    ab = np.zeros((1, 4, 4, 2), np.float32)
    ab[:, :, :2, 0], ab[:, :, 2:, 1] = 0.3, -0.3
    joined = joining.join(rgb[None], L, ab)[0]
    a, b = np.moveaxis(rgb2lab(joined)[..., 1:], -1, 0)
    np.testing.assert_allclose(a[:, :20], 33, atol=1.5)
    np.testing.assert_allclose(b[:, 23:], -33, atol=1.5)


def test_at_its_own_size_a_prediction_is_unchanged():
    L, ab = prediction(12, 10)
    rgb = picture(12, 10)[None]
    joined = joining.join(rgb, lab.rgb_to_lab(rgb)[0], ab)
    np.testing.assert_array_equal(joined, lab.lab_to_rgb(lab.rgb_to_lab(rgb)[0], ab))


def test_a_smaller_picture_gets_the_mean_of_the_predictions():
    L, ab = prediction(64, 64)
    rgb = picture(4, 4)[None]
    joined = joining.join(rgb, L, ab)
    mean = tf.image.resize(ab, (4, 4), antialias=True)
    expected = lab.lab_to_rgb(lab.rgb_to_lab(rgb)[0], mean)
    assert np.abs(joined.numpy().astype(int) - expected.numpy()).max() <= 1
    # Smaller in one direction, larger in the other.
    assert joining.join(picture(3, 90)[None], L, ab).shape == (1, 3, 90, 3)


def test_saturation_scales_the_chroma_and_leaves_the_lightness():
    L, ab = prediction(6, 6)
    rgb = picture(6, 6)[None]
    L = lab.rgb_to_lab(rgb)[0]
    chroma = []
    for saturation in (0.0, 0.5, 1.0):
        colors = rgb2lab(joining.join(rgb, L, 0.5 * ab, saturation).numpy())
        assert np.abs(colors[..., 0] - rgb2lab(rgb)[..., 0]).max() < 1.0
        chroma.append(np.hypot(colors[..., 1], colors[..., 2]).mean())
    np.testing.assert_allclose(chroma[1], chroma[2] / 2, rtol=0.1)
    assert chroma[0] < 0.5


def test_strips_leave_no_trace(monkeypatch):
    L, ab = (np.repeat(part, 2, axis=0) for part in prediction(5, 7))
    rgb = np.stack([picture(23, 19), picture(23, 19, seed=3)])

    def joined(strip):
        monkeypatch.setattr(joining, "STRIP", strip)
        # As a graph: eagerly, a strip of one row takes as long as the whole.
        return tf.function(joining.join)(rgb, L, ab)

    whole = joined(10**6)
    for strip in (1, 40, 100):
        np.testing.assert_array_equal(joined(strip), whole, err_msg=str(strip))
