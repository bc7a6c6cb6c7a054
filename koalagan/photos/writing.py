# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Writing results: every file appears complete or not at all."""

import errno
import filecmp
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from koalagan import files
from koalagan.data.decoding import BadPicture
from koalagan.errors import UserError, one_line
from koalagan.photos.metadata import Metadata

# Errors that concern one result; all others concern the place where all results go.
_OF_ONE_FILE = (None, errno.ENAMETOOLONG)


def write(
    target: str, rgb: np.ndarray, *, quality: int = 95, metadata: Metadata | None = None
) -> None:
    """Writes a picture.

    Args:
        target: its path; the extension determines the format.
        rgb: uint8 [H, W, 3].
        quality: of JPEG and WebP, 1 to 100.
        metadata: of the photograph; written as far as the format supports it.

    Raises:
        BadPicture: the format cannot store it.
        UserError: it cannot be written.
    """
    extension = os.path.splitext(target)[1].lower()
    options = metadata.options(extension) if metadata else {}
    if extension in (".jpg", ".jpeg", ".webp"):
        options["quality"] = quality
    elif extension == ".png":
        # Level 6, the default, takes twice as long and makes photographs less than 1 % smaller.
        options["compress_level"] = 4
    try:
        publish(target, lambda path: Image.fromarray(rgb).save(path, **options))
    except UserError:
        raise
    except Exception as error:
        if metadata:  # Pillow cannot write all that it reads, and fails in many ways.
            return write(target, rgb, quality=quality)
        # A limit of the format, such as WebP's 16383 pixels.
        raise BadPicture(f"{target} cannot be written: {one_line(error)}.") from error


def copy(photograph: str, target: str) -> None:
    """Copies a photograph.

    Raises:
        BadPicture: a different file exists at `target`, which must not be replaced.
        UserError: it cannot be written.
    """
    if os.path.exists(target):
        if filecmp.cmp(photograph, target, shallow=False):
            return
        raise BadPicture(
            f"The picture {photograph} has color, and its copy would replace {target}: name "
            "another --output_dir."
        )
    publish(target, lambda path: shutil.copyfile(photograph, path))


def publish(target: str, write: Callable[[Path], Any]) -> None:
    """Writes a file by `files.publish`, and creates its folder if there is none.

    Raises:
        BadPicture: this file cannot be written, but others may.
        UserError: nothing can be written there.
    """
    try:
        os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
        files.publish(target, write)
    except OSError as error:
        kind = BadPicture if error.errno in _OF_ONE_FILE else UserError
        raise kind(f"{target} cannot be written: {error.strerror or error}.") from error
