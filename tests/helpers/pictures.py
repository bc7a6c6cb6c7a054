# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Small random pictures and their files."""

import io

import numpy as np
from PIL import Image


def picture(seed=0, height=6, width=9, channels=3):
    """Random uint8 pixels [height, width, channels], or [height, width] without channels."""
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encode(image, kind="PNG", **options):
    """The bytes of an array or Pillow image as a file."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
