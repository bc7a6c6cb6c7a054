# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Random square parts of square pictures, which show a network more than a few pictures have.

A box is (top, left, side) in pixels of the stored picture, float32: it need not lie on the grid.
"""

import numpy as np
import tensorflow as tf


def boxes(seed: int, epoch: int, rows: np.ndarray, whole: int, smallest: int) -> np.ndarray:
    """The part of each of `rows` that epoch `epoch` trains on.

    Args:
        rows: int [B].
        whole: the side of the stored pictures.
        smallest: the least side of a part; sides are distributed evenly from there to `whole`.

    Returns:
        float32 [B, 3].
    """
    # The first number of each row's generator says whether it is flipped (see `pipeline.flips`).
    drawn = np.array([np.random.default_rng([seed, epoch, row + 1]).random(4)[1:] for row in rows])
    side = smallest + (whole - smallest) * drawn[:, :1]
    return np.concatenate([drawn[:, 1:] * (whole - side), side], axis=1).astype(np.float32)


def take(rgb: tf.Tensor, boxes: tf.Tensor, side: int) -> tf.Tensor:
    """Parts of pictures, resized bilinearly and antialiased.

    Both directions are matrix products, which every device and XLA compute fast;
    `tf.image.crop_and_resize` is neither antialiased nor known to XLA.

    Args:
        rgb: uint8 [B, W, W, 3].
        boxes: float32 [B, 3].
        side: of the results.

    Returns:
        uint8 [B, side, side, 3].
    """
    whole = rgb.shape[1]
    rows = _weights(boxes[:, 0], boxes[:, 2], whole, side)
    columns = _weights(boxes[:, 1], boxes[:, 2], whole, side)
    pictures = tf.reshape(tf.cast(rgb, tf.float32), [-1, whole, whole * 3])
    pictures = tf.reshape(tf.matmul(rows, pictures), [-1, side, whole, 3])
    pictures = tf.matmul(columns[:, None], pictures)
    return tf.cast(tf.round(pictures), tf.uint8)


def _weights(start: tf.Tensor, length: tf.Tensor, whole: int, side: int) -> tf.Tensor:
    """The share of each stored pixel in each one of the results, along one direction.

    Args:
        start, length: float32 [B], the part.
        whole, side: pixels of the stored picture and of the results.

    Returns:
        float32 [B, side, whole], rows that add up to 1.
    """
    scale = (length / side)[:, None, None]
    # Centers of pixels, in pixels of the stored picture.
    wanted = start[:, None, None] + (tf.range(side, dtype=tf.float32)[:, None] + 0.5) * scale
    stored = tf.range(whole, dtype=tf.float32) + 0.5
    # Where the part is enlarged, the nearest two pixels; where it is reduced, as many as it covers.
    distance = tf.abs(wanted - stored) / tf.maximum(scale, 1.0)
    weights = tf.maximum(1.0 - distance, 0.0)
    return weights / tf.reduce_sum(weights, axis=-1, keepdims=True)
