# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""How a picture of any size becomes one of the model's size, in training and in exports alike."""

import tensorflow as tf


def resize(pictures: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Stretches uint8 pictures [..., H, W, 3] to `size`, (height, width): bicubic, antialiased."""
    resized = tf.image.resize(pictures, size, method="bicubic", antialias=True)
    # Bicubic overshoots at edges. saturate_cast clips, but truncates: round first.
    return tf.saturate_cast(tf.round(resized), tf.uint8)


def center_crop(picture, size: tuple[int, int]):
    """The largest centered part of a [H, W, 3] array that has the aspect ratio of `size`."""
    height, width = picture.shape[:2]
    scale = min(height / size[0], width / size[1])
    crop_height = max(1, round(size[0] * scale))
    crop_width = max(1, round(size[1] * scale))
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return picture[top : top + crop_height, left : left + crop_width]
