# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Models that paint in known colors, photographs to paint, and calls of the colorize command."""

import keras
import numpy as np
from PIL import Image
from skimage.color import rgb2lab

from koalagan import options
from koalagan.exporting import savedmodel
from koalagan.photos import colorizing
from koalagan.photos.settings import (
    ColorizeSettings,
    Folders,
    Rendering,
    ResultSettings,
)


def export_painter(path, size, slope=(0.0, 0.0), offset=(0.0, 0.0)):
    """Exports a model with ab = slope * L + offset at size x size; returns its path."""
    L = keras.Input((None, None, 1), name="L")
    ab = keras.layers.Conv2D(
        2,
        1,
        kernel_initializer=keras.initializers.Constant([[[list(slope)]]]),
        bias_initializer=keras.initializers.Constant(list(offset)),
    )(L)
    savedmodel.export(keras.Model({"L": L}, ab), {}, str(path), (size, size))
    return str(path)


def photograph(path, seed=0, height=10, width=14, **save_options):
    """Writes gray noise as a picture file; returns its levels, uint8 [H, W]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    gray = np.random.default_rng(seed).integers(60, 180, (height, width), np.uint8)
    Image.fromarray(gray).save(path, **save_options)
    return gray


def tree(path):
    """The files below a folder, by their relative paths."""
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


def lab(path):
    """A picture file in Lab units, [H, W, 3]."""
    with Image.open(path) as image:
        return rgb2lab(np.asarray(image.convert("RGB")))


def lightness(gray):
    """L* of gray levels, [H, W]."""
    return rgb2lab(np.repeat(gray[..., None], 3, axis=-1))[..., 0]


def settings(model, output, **flags):
    """Settings of the colorize command; `flags` by their names."""
    folders = Folders(saved_model=str(model), output_dir=str(output))
    return options.replace(ColorizeSettings(folders, ResultSettings(), Rendering()), **flags)


def colorize(model, output, *photographs, **flags):
    """Runs the command's library; returns what failed."""
    return colorizing.colorize_files(
        [str(path) for path in photographs], settings(model, output, **flags)
    )
