# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Predicted colors, joined with a picture of any size.

The picture keeps its own lightness. The predicted chroma is brought to its size by joint bilateral
upsampling (Kopf, Cohen, Lischinski, Uyttendaele, 2007): each pixel averages the four predictions
around it, weighted by distance (bilinear) and by similarity of lightness, so that colors end at the
edges of objects. On COCO photographs this loses least (`experiments/studies/upsampling.py`): from
64x64, where colors change, 5.9 Lab units against 6.5 bilinear and 6.1 bicubic; from 256x256, which
is half their size, as much as bicubic, 2.8 against 3.0.
"""

import functools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from koalagan.color import lab

# Pixels processed at a time: full-size pictures in Lab take 50 times their own memory.
STRIP = 2**20

# Difference in normalized L at which a prediction's weight falls to exp(-1/2): 5 units of L*.
_SIGMA = 0.1
# Where all four predictions differ in lightness, distance alone decides.
_FLOOR = 1e-4


def join(
    rgb: tf.Tensor, L: tf.Tensor, ab: tf.Tensor, saturation: tf.Tensor | float = 1.0
) -> tf.Tensor:
    """Pictures in the predicted colors, with their own lightness.

    Args:
        rgb: uint8 [B,H,W,3], any H and W.
        L: float32 [B,h,w,1], the lightness that the prediction was made from.
        ab: float32 [B,h,w,2], the prediction.
        saturation: factor on the predicted chroma.

    Returns:
        uint8 [B,H,W,3].
    """
    size = tf.shape(rgb)[1:3]
    predicted = prediction_for(size, L, ab, saturation)
    rows = tf.clip_by_value(STRIP // tf.maximum(size[1], 1), 1, tf.maximum(size[0], 1))
    strips = -(-size[0] // rows)

    def join_one(picture_and_prediction):
        picture, prediction = picture_and_prediction

        def join_strip(number):
            # The last strip repeats the last row.
            here = tf.minimum(number * rows + tf.range(rows), size[0] - 1)
            return join_rows(tf.gather(picture, here), here, size, prediction)

        joined = tf.map_fn(
            join_strip,
            tf.range(strips),
            fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8),
            parallel_iterations=1,  # Each uses all cores; several would multiply the memory.
        )
        return tf.reshape(joined, [-1, size[1], 3])[: size[0]]

    def join_all():
        return tf.map_fn(
            join_one,
            (rgb, predicted),
            fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8),
            parallel_iterations=1,
        )

    # The size of the results of an empty batch would be unknown.
    return tf.cond(tf.shape(rgb)[0] > 0, join_all, lambda: rgb)


def prediction_for(
    size: tf.Tensor, L: tf.Tensor, ab: tf.Tensor, saturation: tf.Tensor | float
) -> tf.Tensor:
    """What `join_rows` needs of predictions for pictures of one size.

    Args:
        size: int32 [2], (height, width) of the pictures.
        L, ab, saturation: see `join`.

    Returns:
        float32 [B,h,w,3].
    """
    predicted = tf.concat([L, saturation * ab], axis=-1)
    # Upsampling only: where the picture is smaller, predictions are averaged first.
    smaller = tf.minimum(size, tf.shape(predicted)[1:3])
    return tf.image.resize(predicted, smaller, method="bilinear", antialias=True)


def resize_ab(full_L: tf.Tensor, L: tf.Tensor, ab: tf.Tensor) -> tf.Tensor:
    """Predicted colors in the size of pictures, float32 [B,H,W,2].

    Args:
        full_L: float32 [B,H,W,1], the lightness of the pictures.
        L, ab: see `join`.
    """
    size = tf.shape(full_L)[1:3]
    rows = tf.range(size[0])
    return tf.map_fn(
        lambda pair: upsample(pair[0], pair[1], rows, size),
        (prediction_for(size, L, ab, 1.0), full_L),
        fn_output_signature=tf.TensorSpec([*full_L.shape[1:3], 2], tf.float32),
        parallel_iterations=1,
    )


def join_rows(
    strip: tf.Tensor,
    rows: tf.Tensor,
    size: tf.Tensor,
    prediction: tf.Tensor,
    dtype: tf.DType = tf.uint8,
) -> tf.Tensor:
    """Some rows of a picture in the predicted colors.

    Args:
        strip: uint8 or uint16 [R,W,3].
        rows: int32 [R], their indices.
        size: int32 [2], (height, width) of the picture.
        prediction: float32 [h,w,3], one of `prediction_for`.
        dtype: of the result, uint8 or uint16.

    Returns:
        `dtype` [R,W,3].
    """
    L = lab.lightness(strip)
    return lab.lab_to_rgb(L, upsample(prediction, L, rows, size), dtype)


def join_strips(
    strips: Iterable[np.ndarray],
    size: tuple[int, int],
    L: np.ndarray,
    ab: np.ndarray,
    saturation: float = 1.0,
    bits: int = 8,
) -> Iterator[np.ndarray]:
    """One picture in the predicted colors, strip by strip: as `join` gives it.

    Args:
        strips: the picture from top to bottom, uint8 or uint16 [R,W,3].
        size: its (height, width).
        L, ab: see `join`, [h,w,1] and [h,w,2].
        saturation: factor on the predicted chroma.
        bits: of each sample of the result, 8 or 16.

    Yields:
        For each strip, uint8 or uint16 [R,W,3].
    """
    prediction = prediction_for(size, L[None], ab[None], saturation)[0]
    first = 0
    for strip in strips:
        rows = np.arange(first, first + len(strip), dtype=np.int32)
        yield _join_rows(strip.dtype.type, bits)(strip, rows, size, prediction).numpy()
        first += len(strip)


@functools.cache
def _join_rows(dtype: type, bits: int) -> Callable[..., tf.Tensor]:
    """`join_rows` as one graph for all sizes, for strips of one type."""

    def join(strip, rows, size, prediction):
        return join_rows(strip, rows, size, prediction, {8: tf.uint8, 16: tf.uint16}[bits])

    return tf.function(
        join,
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, None, 3], dtype),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([2], tf.int32),
            tf.TensorSpec([None, None, 3], tf.float32),
        ],
    )


def upsample(prediction: tf.Tensor, L: tf.Tensor, rows: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Joint bilateral upsampling of some rows.

    Args:
        prediction: float32 [h,w,3], normalized L, a, b.
        L: float32 [R,W,1], the lightness of these rows at full size.
        rows: int32 [R], their indices, ascending.
        size: int32 [2], the full (height, width), neither smaller than the prediction's.

    Returns:
        ab, float32 [R,W,2].
    """
    L = tf.squeeze(L, axis=-1)
    above_and_below = _neighbors(rows, tf.shape(prediction)[0], size[0])
    (above, _), (below, _) = above_and_below
    # Columns first, of the lines that these rows need, and channel by channel: gathering whole rows
    # is copying, and the whole takes 0.4 of the time of gathering [R,W,3].
    lines = prediction[above[0] : below[-1] + 1]
    total_a, total_b, weights = 0.0, 0.0, 0.0
    columns = tf.range(size[1])
    for corner_columns, near_columns in _neighbors(columns, tf.shape(prediction)[1], size[1]):
        wide = tf.unstack(tf.gather(lines, corner_columns, axis=1), axis=-1)
        for corner_rows, near_rows in above_and_below:
            corner_L, a, b = (tf.gather(channel, corner_rows - above[0]) for channel in wide)
            similarity = tf.exp(-tf.square((L - corner_L) / _SIGMA) / 2.0) + _FLOOR
            weight = near_rows[:, None] * near_columns[None, :] * similarity
            total_a += weight * a
            total_b += weight * b
            weights += weight
    return tf.stack([total_a / weights, total_b / weights], axis=-1)


def _neighbors(
    positions: tf.Tensor, count: tf.Tensor, full: tf.Tensor
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """The two predictions around each full-size position along one axis, and their weights."""
    scale = tf.cast(count, tf.float32) / tf.cast(full, tf.float32)
    place = (tf.cast(positions, tf.float32) + 0.5) * scale - 0.5  # centers of pixels
    before = tf.floor(place)
    fraction = place - before
    index = tf.cast(before, tf.int32)
    return [
        (tf.clip_by_value(index, 0, count - 1), 1.0 - fraction),
        (tf.clip_by_value(index + 1, 0, count - 1), fraction),
    ]
