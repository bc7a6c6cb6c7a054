# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Pictures of 16 bits a sample, written and read."""

import numpy as np
import pyvips
from skimage.color import rgb2lab

HEIGHT, WIDTH = 40, 60


def ramp():
    """Grays that 8 bits cannot tell apart, uint16 [H, W]: 10 levels of 8 bits in 2400 steps."""
    return (30000 + np.arange(HEIGHT * WIDTH)).reshape(HEIGHT, WIDTH).astype(np.uint16)


def write(path, array, interpretation="rgb16", **options):
    """Writes an array as a picture file of 16 bits by libvips."""
    image = pyvips.Image.new_from_array(array).copy(interpretation=interpretation)
    image.write_to_file(str(path), **options)


def read(path):
    """A result as an array, of as many bits as it has."""
    return pyvips.Image.new_from_file(str(path)).numpy()


def deep_lightness(array):
    """L* of uint16 or uint8 pixels [H, W] or [H, W, 3]."""
    array = array / np.float64(np.iinfo(array.dtype).max)
    return rgb2lab(np.dstack([array] * 3) if array.ndim == 2 else array[..., :3])[..., 0]
