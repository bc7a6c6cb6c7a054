# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The picture sizes that a generator can be built for."""

from koalagan.errors import UserError


def image_shape(image_size, stride: int) -> tuple[int | None, int | None]:
    """(height, width) from an int or a pair; None stands for any size.

    Raises:
        UserError: a side is not a positive multiple of `stride`.
    """
    pair = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    for side in pair:
        if side is not None and (side <= 0 or side % stride):
            raise UserError(
                f"the generator needs an image size that divides by {stride}, and {side} does not: "
                f"use {max(stride, round(side / stride) * stride)}."
            )
    return pair
