# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Small random pictures, their files, and color profiles."""

import io
import struct

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


def gray_profile(gamma):
    """An ICC profile of grays with a power law (ICC.1:2001-04), which Pillow cannot create."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"gray\0" + bytes(79)
    table, body = struct.pack(">I", 3), b""
    for tag, data in ((b"desc", name), (b"wtpt", white), (b"kTRC", curve)):
        table += tag + struct.pack(">II", 128 + 40 + len(body), len(data))
        body += data
    header = struct.pack(">I4sI", 168 + len(body), b"lcms", 0x02400000) + b"mntrGRAYXYZ "
    header += bytes(12) + b"acsp" + bytes(28) + white[8:]
    return header.ljust(128, b"\0") + table + body
