# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import scipy.spatial
import scipy.special
import scipy.stats
import tensorflow as tf
from skimage import color

from koalagan.color import bins


def _units(ab):
    return np.asarray(ab) * 110.0


def _colors(count=2000, seed=0):
    """a* and b* of random colors of sRGB by scikit-image, float64 [count, 2]."""
    rgb = np.random.default_rng(seed).integers(0, 256, (1, count, 3), dtype=np.uint8)
    return color.rgb2lab(rgb)[0, :, 1:]


def test_the_classes_are_the_cells_that_colors_of_srgb_lie_in():
    levels = np.arange(0, 256, 3, dtype=np.uint8)
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(1, -1, 3)
    cells = {tuple(cell) for cell in 10.0 * np.round(color.rgb2lab(rgb)[0, :, 1:] / 10.0)}
    classes = {tuple(center) for center in bins.centers().tolist()}
    assert len(classes) == len(bins.centers()) == 261
    # Two cells hold a tip of the gamut alone, which every third level misses.
    assert cells <= classes and len(classes - cells) <= 2
    np.testing.assert_array_equal(bins.centers(), sorted(classes))


def test_encode_is_a_gaussian_over_the_five_nearest():
    colors = _colors()
    nearest, weights = bins.encode(tf.constant(colors / 110.0, tf.float32))
    distances, _ = scipy.spatial.KDTree(bins.centers()).query(colors, k=5)
    chosen = np.linalg.norm(bins.centers()[nearest] - colors[:, None], axis=-1)
    np.testing.assert_allclose(chosen, distances, atol=1e-3)
    expected = scipy.stats.norm(scale=5.0).pdf(distances)
    expected /= expected.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(weights, expected, atol=1e-3)


def test_encoded_colors_decode_to_nearly_themselves():
    """The mean of the soft classes; the paper's encoding is not exact between the centers."""
    colors = _colors()
    nearest, weights = bins.encode(tf.constant(colors / 110.0, tf.float32))
    probabilities = np.zeros((len(colors), 261))
    np.put_along_axis(probabilities, nearest.numpy(), weights.numpy(), axis=1)
    with np.errstate(divide="ignore"):
        decoded = _units(bins.annealed_mean(np.log(probabilities).clip(-1e4)))
    errors = np.linalg.norm(decoded - colors, axis=-1)
    assert errors.mean() < 1.5 and errors.max() < 6.0
    centers = tf.constant(bins.centers() / 110.0)
    assert np.array_equal(bins.encode(centers)[0][:, 0], range(261))


def test_annealed_mean_is_the_mean_at_1_and_the_mode_near_0():
    logits = np.random.default_rng(0).normal(0, 3, (4, 5, 261)).astype(np.float32)
    mean = scipy.special.softmax(logits, axis=-1) @ bins.centers()
    np.testing.assert_allclose(_units(bins.annealed_mean(logits)), mean, atol=1e-3)
    mode = bins.centers()[logits.argmax(axis=-1)]
    np.testing.assert_allclose(_units(bins.annealed_mean(logits, 1e-4)), mode, atol=0.1)
    between = scipy.special.softmax(logits / 0.38, axis=-1) @ bins.centers()
    np.testing.assert_allclose(_units(bins.annealed_mean(logits, 0.38)), between, atol=1e-3)
    assert bins.annealed_mean(tf.constant(logits, tf.bfloat16)).dtype == tf.float32


def test_a_smoothed_prior_sums_to_1_and_spreads_to_neighbors():
    counts = np.zeros(261, np.int64)
    here = int(np.argmin(np.abs(bins.centers()).sum(axis=-1)))  # gray
    counts[here] = 7
    prior = bins.smoothed_prior(counts)
    assert prior.sum() == pytest.approx(1.0) and prior.argmax() == here
    beside = np.flatnonzero(np.isclose(np.linalg.norm(bins.centers(), axis=-1), 10.0))
    # A Gaussian of 5 at a distance of 10.
    np.testing.assert_allclose(prior[beside] / prior[here], np.exp(-2.0), rtol=1e-9)
    rng = np.random.default_rng(0)
    assert bins.smoothed_prior(rng.integers(0, 99, 261)).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
def test_rebalancing_has_a_mean_of_1_and_favors_rare_colors(share):
    prior = np.random.default_rng(0).dirichlet(np.ones(261))
    weights = bins.rebalancing(prior, share)
    assert np.sum(prior * weights) == pytest.approx(1.0)
    # Equation 4, as a ratio of two classes.
    rare, common = prior.argmin(), prior.argmax()
    mixed = (1 - share) * prior + share / 261
    assert weights[rare] / weights[common] == pytest.approx(mixed[common] / mixed[rare])
    assert (weights[rare] > weights[common]) == (share < 1.0)


def test_classes_that_never_occur_have_a_finite_weight():
    """Their smoothed prior is as good as 0."""
    counts = np.zeros(261, np.int64)
    counts[0] = 5
    weights = bins.rebalancing(bins.smoothed_prior(counts), 0.01)
    assert np.all(np.isfinite(weights)) and weights.max() < 261 / 0.01
