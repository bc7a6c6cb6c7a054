# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Image sizes that a generator can be built for."""

from koalagan.errors import UserError

# An int for a square, or (height, width); None is a side of any length.
ImageSize = int | tuple[int | None, int | None]


def image_shape(image_size: ImageSize, stride: int) -> tuple[int | None, int | None]:
    """Returns (height, width).

    Raises:
        UserError: a side is not a positive multiple of `stride`.
    """
    pair = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    for side in pair:
        if side is not None and (side <= 0 or side % stride):
            nearest = max(stride, round(side / stride) * stride)
            raise UserError(
                f"this generator needs an image size that is a multiple of {stride}, not {side}: "
                f"use {nearest}."
            )
    return pair
