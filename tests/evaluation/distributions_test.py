# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Distances of distributions: closed forms on Gaussians, and SciPy's matrix square root."""

import itertools

import numpy as np
import pytest
import scipy.linalg

from koalagan.evaluation import distributions


def _with_moments(count, mean, covariance, seed=0):
    """A set whose mean and covariance are exactly these."""
    drawn = np.random.default_rng(seed).normal(size=(count, len(mean)))
    drawn -= drawn.mean(axis=0)
    white = np.linalg.inv(np.linalg.cholesky(np.cov(drawn, rowvar=False)))
    return drawn @ white.T @ np.linalg.cholesky(covariance).T + mean


def test_frechet_distance_of_diagonal_gaussians():
    """Of independent coordinates it is the sum of (m1 - m2)^2 + (s1 - s2)^2."""
    means, others = np.array([0.0, 1.0, -2.0]), np.array([3.0, 1.0, -2.5])
    deviations, other_deviations = np.array([1.0, 2.0, 0.5]), np.array([1.0, 0.5, 4.0])
    first = _with_moments(50, means, np.diag(deviations**2))
    second = _with_moments(70, others, np.diag(other_deviations**2), seed=1)
    expected = ((means - others) ** 2).sum() + ((deviations - other_deviations) ** 2).sum()
    assert distributions.frechet_distance(first, second) == pytest.approx(expected)


def test_frechet_distance_of_correlated_gaussians():
    rng = np.random.default_rng(2)
    factors = rng.normal(size=(2, 6, 6))
    covariances = factors @ factors.transpose(0, 2, 1) + 0.1 * np.eye(6)
    means = rng.normal(size=(2, 6))
    sets = [_with_moments(40, m, c, seed=3) for m, c in zip(means, covariances, strict=True)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    expected = ((means[0] - means[1]) ** 2).sum() + np.trace(covariances.sum(0) - 2 * root.real)
    assert distributions.frechet_distance(*sets) == pytest.approx(expected)
    assert distributions.frechet_distance(*reversed(sets)) == pytest.approx(expected)


def test_fewer_pictures_than_features():
    """Covariances are singular then."""
    rng = np.random.default_rng(4)
    features = rng.normal(size=(10, 30))
    assert distributions.frechet_distance(features, features) == pytest.approx(0.0, abs=1e-6)
    moved = distributions.frechet_distance(features, features + 2.0)
    assert moved == pytest.approx(30 * 4.0, rel=1e-6)


def test_kernel_distance_by_hand():
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(5, 3)), rng.normal(1.0, 2.0, size=(5, 3))

    def kernel(x, y):
        return (float(np.dot(x, y)) / 3 + 1) ** 3

    within = [
        np.mean([kernel(x, y) for x, y in itertools.permutations(one, 2)])
        for one in (first, second)
    ]
    between = np.mean([kernel(first[i], second[j]) for i, j in itertools.permutations(range(5), 2)])
    expected = sum(within) - 2 * between
    assert distributions.kernel_distance(first, second) == pytest.approx(expected)


def test_kernel_distance_is_unbiased_and_the_frechet_distance_is_not():
    rng = np.random.default_rng(6)
    kernel, frechet = zip(
        *(
            (distributions.kernel_distance(*pair), distributions.frechet_distance(*pair))
            for pair in rng.normal(size=(300, 2, 12, 4))
        ),
        strict=True,
    )
    assert abs(np.mean(kernel)) < 3 * np.std(kernel) / np.sqrt(300)
    assert np.mean(frechet) > 10 * np.std(frechet) / np.sqrt(300)


def test_kernel_distance_of_the_same_photographs_is_unbiased():
    """The sets are of one distribution, and the pictures of a row nearly the same."""
    rng = np.random.default_rng(7)
    found = []
    for _ in range(300):
        photographs, *noise = rng.normal(size=(3, 12, 4))
        found.append(distributions.kernel_distance(*(photographs + 0.2 * one for one in noise)))
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(300)
    with pytest.raises(ValueError, match="as many pictures in both"):
        distributions.kernel_distance(np.zeros((4, 3)), np.zeros((5, 3)))


@pytest.mark.parametrize("distance", ["frechet_distance", "kernel_distance"])
def test_a_single_picture_has_no_distribution(distance):
    with pytest.raises(ValueError, match="two pictures"):
        getattr(distributions, distance)(np.zeros((1, 3)), np.zeros((5, 3)))
