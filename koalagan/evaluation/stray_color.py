# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Bleeding and blots: color that changes where lightness does not.

In a photograph, most colors end where things end, and there lightness changes too. Where a model's
colors run over the edge of a thing (bleeding), or vary within it (blots), they change beside the
edges of lightness.

Both the picture's L* and its colors are smoothed by a Gaussian of 1.5 pixels, which removes the
noise of chroma that JPEG leaves. A pixel is near an edge of lightness if the gradient of L* is at
least 2 units a pixel somewhere in the 9x9 pixels around it. What counts is the length of the
gradient of (a*, b*) at the other pixels, relative to all of it: the share of the changes of color
that lightness does not explain. Being pale does not help: a factor on all colors leaves it as it
is. A picture whose color hardly changes (less than 0.05 units a pixel in the mean) has none.

This is koalagan's own measure. It is not 0 for true pictures, which is why it is given for them
too: flowers in a meadow differ from it in color alone.
"""

import tensorflow as tf

from koalagan.color import lab

_SIGMA = 1.5
_RADIUS = 5
_EDGE = 2.0
_NEIGHBORHOOD = 9
_LEAST_CHANGE = 0.05


def stray_color(L: tf.Tensor, ab: tf.Tensor) -> tf.Tensor:
    """The share of the changes of color that are not near an edge of lightness, [B], from 0 to 1.

    Args:
        L, ab: normalized, [B, H, W, 1] and [B, H, W, 2].
    """
    change = _gradient(_smooth(lab.lab_units(L, ab)))
    edges = tf.cast(change[..., :1] ** 2 >= _EDGE**2, tf.float32)
    near = tf.nn.max_pool2d(edges, _NEIGHBORHOOD, 1, "SAME")[..., 0]
    color = tf.norm(change[..., 1:], axis=-1)
    total = tf.reduce_mean(color, axis=(-2, -1))
    stray = tf.reduce_mean(color * (1.0 - near), axis=(-2, -1))
    return tf.where(total >= _LEAST_CHANGE, stray / tf.maximum(total, _LEAST_CHANGE), 0.0)


def _smooth(channels: tf.Tensor) -> tf.Tensor:
    offsets = tf.range(-_RADIUS, _RADIUS + 1, dtype=tf.float32)
    kernel = tf.nn.softmax(-(offsets**2) / (2.0 * _SIGMA**2))
    count = channels.shape[-1]
    padding = [[0, 0], [_RADIUS, _RADIUS], [_RADIUS, _RADIUS], [0, 0]]
    padded = tf.pad(channels, padding, "SYMMETRIC")
    for shape in ((-1, 1, 1, 1), (1, -1, 1, 1)):
        separable = tf.tile(tf.reshape(kernel, shape), [1, 1, count, 1])
        padded = tf.nn.depthwise_conv2d(padded, separable, [1, 1, 1, 1], "VALID")
    return padded


def _gradient(channels: tf.Tensor) -> tf.Tensor:
    """The length of each channel's gradient, by central differences, in units a pixel."""
    padded = tf.pad(channels, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    down = 0.5 * (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1])
    right = 0.5 * (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2])
    return tf.sqrt(down**2 + right**2)
