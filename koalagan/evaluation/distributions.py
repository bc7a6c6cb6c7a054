# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Distances of two sets of pictures by the features of a classifier (float64 [pictures, D]).

They ask whether the pictures of a model look like photographs as a whole, and not whether each has
the right colors: a model that gives each picture the colors of another could be perfect. Neither
has an interval: a bootstrap repeats pictures, which both take for a difference.

Sources: the Frechet inception distance (FID), Heusel et al., "GANs trained by a two time-scale
update rule converge to a local Nash equilibrium", 2017, equation 6; the kernel inception distance
(KID), Binkowski et al., "Demystifying MMD GANs", 2018, section 4.
"""

import numpy as np


def frechet_distance(features: np.ndarray, others: np.ndarray) -> float:
    """The squared Frechet distance of Gaussians with the means and covariances of two sets.

    It is biased: with few pictures it is too large, also for two halves of the same photographs.
    Compare only values that were taken with the same number of pictures, and in the same way: two
    sets that show the same photographs are nearer to each other than independent ones.

    Raises:
        ValueError: a set has less than two pictures.
    """
    if min(len(features), len(others)) < 2:
        raise ValueError("the Frechet distance needs two pictures or more in each set.")
    means = features.mean(axis=0) - others.mean(axis=0)
    covariances = [np.atleast_2d(np.cov(one, rowvar=False)) for one in (features, others)]
    # The trace of sqrt(C1 C2) is that of sqrt(sqrt(C1) C2 sqrt(C1)), which is symmetric.
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(values.clip(0.0))) @ vectors.T
    shared = np.linalg.eigvalsh(root @ covariances[1] @ root).clip(0.0)
    spread = sum(np.trace(covariance) for covariance in covariances)
    return float(means @ means + spread - 2.0 * np.sqrt(shared).sum())


def kernel_distance(features: np.ndarray, others: np.ndarray) -> float:
    """The squared maximum mean discrepancy with the kernel (x.y / D + 1)^3.

    Its estimate is unbiased: around 0, and as often below, for two sets of the same kind. This also
    holds where a row of both is the same photograph, colored in two ways: what such a row has in
    common with itself is left out of all three means (the U-statistic of Gretton et al., "A Kernel
    Two-Sample Test", 2012, lemma 6 and equation 4).

    Args:
        features, others: of as many pictures.

    Raises:
        ValueError: a set has less than two pictures, or they have different numbers of them.
    """
    if min(len(features), len(others)) < 2:
        raise ValueError("the kernel distance needs two pictures or more in each set.")
    if len(features) != len(others):
        raise ValueError("the kernel distance needs as many pictures in both sets.")

    def mean(some: np.ndarray, more: np.ndarray) -> float:
        values = (some @ more.T / features.shape[1] + 1.0) ** 3
        return (values.sum() - np.trace(values)) / (len(some) * (len(some) - 1))

    return float(mean(features, features) + mean(others, others) - 2.0 * mean(features, others))
