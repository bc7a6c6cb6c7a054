# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Classes of color: the cells of a grid in the plane of a* and b* that hold colors of sRGB.

Zhang, Isola and Efros, "Colorful Image Colorization", 2016, section 2: color is classified at a
grid of 10 Lab units, and the targets are soft.

A cell belongs to a class if any of the 256^3 colors of sRGB lies in it, at whatever lightness:
there are 261. The paper counts 313 and does not say how; 229 of these cells have their center in
sRGB, and 233 in its convex hull, so that its count cannot be one of sRGB alone.

All functions take and return normalized ab in [-1, 1] (see `koalagan.color.lab`); the grid and the
Gaussians are in Lab units.
"""

import functools

import numpy as np
import tensorflow as tf

from koalagan.color import lab

GRID = 10.0
# Of the soft encoding: "the 5 nearest neighbors", a Gaussian "with sigma = 5".
NEIGHBORS = 5
SIGMA = 5.0
# Classes are those of colors at 1/4 of a picture's size, as in the paper.
STRIDE = 4


@functools.cache
def centers() -> np.ndarray:
    """The centers of the classes in Lab units, float32 [261, 2], ordered by a*, then b*."""
    # The colors on the six faces of the cube fill all the cells that those inside it do: seen along
    # L*, a solid covers what its surface covers. No cell is decided by rounding: the color deepest
    # inside each lies at least 0.3 units from its border.
    levels = np.arange(256, dtype=np.uint8)
    face = np.stack(np.meshgrid(levels, levels, indexing="ij"), axis=-1)
    faces = [np.insert(face, axis, side, axis=-1) for axis in range(3) for side in (0, 255)]
    # Also where the first model is built inside of a graph.
    with tf.init_scope():
        _, ab = lab.rgb_to_lab(tf.constant(np.stack(faces)))
        units = lab.ab_units(ab).numpy()
    return GRID * np.unique(np.round(units.reshape(-1, 2) / GRID), axis=0)


def at_quarter_size(ab: tf.Tensor) -> tf.Tensor:
    """The mean color of each 4x4 pixels: [B,H,W,2] -> float32 [B,H/4,W/4,2], rounded down."""
    return tf.nn.avg_pool2d(tf.cast(ab, tf.float32), STRIDE, STRIDE, "VALID")


def encode(ab: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The soft classes of colors, float32 [..., 2].

    Returns:
        The nearest classes, int32 [..., 5], the nearest one first, and their weights, float32
        [..., 5], with a sum of 1: a Gaussian of the distance.
    """
    classes = tf.constant(centers())
    ab = lab.ab_units(ab)
    # |x - c|^2 without |x|^2, which is the same for all classes and cancels in the weights.
    distances = tf.reduce_sum(classes**2, axis=-1) - 2.0 * tf.tensordot(ab, classes, [[-1], [1]])
    negative, nearest = tf.math.top_k(-distances, NEIGHBORS)
    return nearest, tf.nn.softmax(negative / (2.0 * SIGMA**2))


def annealed_mean(logits: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
    """The colors that class logits [..., 261] stand for, float32 [..., 2] (section 2.3, eq. 5).

    Args:
        logits: of each class, before any softmax.
        temperature: 1 for the mean of the distribution; toward 0 it becomes the most likely class,
            which is more vivid. The paper takes 0.38.
    """
    probabilities = tf.nn.softmax(tf.cast(logits, tf.float32) / temperature)
    return lab.normalized_ab(tf.tensordot(probabilities, tf.constant(centers()), [[-1], [0]]))


def smoothed_prior(counts: np.ndarray) -> np.ndarray:
    """The distribution of colors from how often each class is the nearest, float64 [261].

    Smoothed by a Gaussian of 5 units (section 2.2), of which nothing leaves the classes.
    """
    classes = centers().astype(np.float64)
    distances = np.sum((classes[:, None] - classes[None]) ** 2, axis=-1)
    kernel = np.exp(-distances / (2.0 * SIGMA**2))
    smoothed = (kernel / kernel.sum(axis=0)) @ counts
    return smoothed / smoothed.sum()


def rebalancing(prior: np.ndarray, share: float) -> np.ndarray:
    """What a pixel counts whose nearest class is this, float64 [261]; 1 in the mean (eq. 4).

    Args:
        prior: the distribution of colors.
        share: the lambda of the paper, above 0: of a uniform distribution mixed into the prior. 1
            lets all pixels count the same, near 0 all classes do; the paper takes 0.5. A pixel
            never counts more than 261 / lambda.
    """
    weights = 1.0 / ((1.0 - share) * prior + share / len(prior))
    return weights / np.sum(prior * weights)
