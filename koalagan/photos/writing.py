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
from koalagan.data.picture_file import BadPicture
from koalagan.errors import UserError, one_line
from koalagan.photos.metadata import Metadata

# Errors that concern one result; all others concern the place where all results go.
_OF_ONE_FILE = (None, errno.ENAMETOOLONG)

_WITH_ALPHA = ("PNG", "WEBP", "TIFF", "AVIF", "JPEG2000")
# GIF has 256 colors, which would change the lightness; MPO is JPEG with several pictures.
_WRITTEN_AS = {"GIF": "PNG", "MPO": "JPEG"}


def write(
    target: str,
    rgb: np.ndarray,
    *,
    alpha: np.ndarray | None = None,
    format: str | None = None,
    quality: int = 95,
    metadata: Metadata | None = None,
) -> list[str]:
    """Writes a picture.

    Args:
        target: its path.
        rgb: uint8 [H, W, 3].
        alpha: uint8 [H, W]; white shows through it where the format has no transparency.
        format: Pillow's name of the photograph's format, to write the same; None for that of the
            target's extension.
        quality: of JPEG, WebP and AVIF, 1 to 100.
        metadata: of the photograph; written as far as the format supports it.

    Returns:
        What was left out of it, a sentence each.

    Raises:
        BadPicture: the format cannot store it.
        UserError: it cannot be written.
    """
    format = format_of(target, format)
    options, left_out = metadata.options(format) if metadata else ({}, [])
    if alpha is not None and format in _WITH_ALPHA:
        rgb = np.dstack([rgb, alpha])
    elif alpha is not None:
        share = alpha[..., None] / np.float32(255)
        rgb = np.round(rgb * share + 255 * (1 - share)).astype(np.uint8)
        left_out.append(f"transparency, which {format} has no place for")
    if format in ("JPEG", "WEBP", "AVIF"):
        options["quality"] = quality
    elif format == "PNG":
        # Level 6, the default, takes twice as long and makes photographs less than 1 % smaller.
        options["compress_level"] = 4

    def save(path: Path) -> None:
        Image.fromarray(rgb).save(path, format, **options)
        if metadata and format == "TIFF":
            metadata.complete(path)

    try:
        publish(target, save)
        return [f"its result is without its {what}." for what in left_out]
    except UserError:
        raise
    except Exception as error:
        if metadata:  # Pillow cannot write all that it reads, and fails in many ways.
            write(target, rgb[..., :3], alpha=alpha, format=format, quality=quality)
            reason = one_line(error)
            return [f"its result is without its metadata, which cannot be written ({reason})."]
        # A limit of the format, such as WebP's 16383 pixels.
        raise BadPicture(f"{target} cannot be written: {one_line(error)}.") from error


def format_of(target: str, format: str | None = None) -> str:
    """Pillow's name of the format that `write` gives a file.

    Args:
        target: its path.
        format: see `write`.
    """
    extension = os.path.splitext(target)[1].lower()
    format = format or Image.registered_extensions().get(extension, "PNG")
    return _WRITTEN_AS.get(format, format)


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
