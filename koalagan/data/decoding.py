# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""From a picture's bytes to uint8 sRGB of the model's size.

`decode` gives uint8 [h,w,3], upright. `resize` is how a picture of any size becomes one of the
model's size, in the store and in the export alike: bicubic, antialiased, stretched as in the
papers, rounded to uint8.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import threading
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps

from koalagan import lazy
from koalagan.errors import UserError, one_line

tf = lazy.module("tensorflow")

# Pillow would otherwise try every format it knows, PostScript through Ghostscript among them.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")

_BITS_PER_SAMPLE, _PHOTOMETRIC_INTERPRETATION = 258, 262  # of TIFF


class BadPicture(UserError):
    """One picture that is damaged or of a kind that cannot be read; its text names the picture."""


def read(path: str) -> bytes:
    """A picture file's bytes.

    Raises:
        BadPicture: it is no file, or cannot be read.
    """
    try:
        # A pipe would be waited for.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BadPicture(f"The picture {path} is no file.")
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise BadPicture(f"The picture {path} cannot be read: {error.strerror}.") from error


def pixels(encoded: bytes) -> int:
    """How many a picture has, by its header; 0 where that says nothing."""
    try:
        with _quiet_pillow, Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
            return image.width * image.height
    except Exception:  # `decode` will say what is wrong.
        return 0


def decode(encoded: bytes, name: str) -> np.ndarray:
    """Decodes one picture to uint8 sRGB [h, w, 3]: turned upright by its EXIF orientation, its
    colours converted by its ICC profile.

    Greyscale becomes three equal channels (16 bits are scaled by 1/257, whatever the profile says),
    transparent pixels are laid over white, and an animation gives its first frame. Safe to call
    from several threads.

    Raises:
        BadPicture: the picture is empty, damaged, not a picture, or far too large.
    """
    if not encoded:
        raise BadPicture(f"The picture {name} is empty or cannot be read.")
    try:
        with _quiet_pillow, Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
            image.load()
            return to_rgb(_as_meant(_upright(image), getattr(image, "tag_v2", {})))
    except Image.DecompressionBombError:
        raise BadPicture(
            f"The picture {name} has more than {2 * Image.MAX_IMAGE_PIXELS // 10**6} million "
            "pixels: make it smaller."
        ) from None
    except Image.UnidentifiedImageError:
        raise BadPicture(
            f"The picture {name} is damaged or in a format other than {', '.join(_FORMATS)}."
        ) from None
    except Exception as error:  # Pillow's parsers let through whatever a broken file provokes.
        raise BadPicture(f"The picture {name} cannot be decoded: {one_line(error)}.") from error


class _QuietPillow:
    """Silences Pillow's warnings (size, odd metadata) while at least one thread decodes.

    `warnings.catch_warnings` alone is not safe here: threads that leave in another order than they
    entered would restore each other's filters.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self):
        with self._lock:
            if self._inside == 0:
                self._filters = contextlib.ExitStack()
                self._filters.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, *_):
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._filters.close()


_quiet_pillow = _QuietPillow()


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Broken metadata round a good picture: it is taken as it lies.
        return image


def _as_meant(image: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """A TIFF whose grey values of 12 or 16 bits Pillow gives as they are stored."""
    if not image.mode.startswith("I;16"):
        return image
    grey = np.asarray(image).astype(np.uint16)
    if tags.get(_BITS_PER_SAMPLE) == (12,):
        grey = (grey.astype(np.uint32) * 65535 // 4095).astype(np.uint16)
    if tags.get(_PHOTOMETRIC_INTERPRETATION) == 0:  # white is zero
        grey = 65535 - grey
    return Image.fromarray(grey)


def to_rgb(image: Image.Image) -> np.ndarray:
    """A Pillow image as `decode` gives it.

    Raises:
        ValueError: its values have no known range.
    """
    if image.mode.startswith("I"):  # 16-bit greyscale; `convert` would clip it to 255.
        grey = np.asarray(image).astype(np.int32)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError("its grey values have more than 16 bits")
        grey += 128  # in place: scans are large
        grey //= 257
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)
    if image.mode == "F":
        raise ValueError("its grey values are floating-point numbers of an unknown range")
    if image.has_transparency_data:
        image = _to_srgb(image.convert("RGBA"))
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    elif image.mode == "P":
        image = image.convert("RGB")
    return np.array(_to_srgb(image).convert("RGB"))


def _to_srgb(image: Image.Image) -> Image.Image:
    """By the picture's ICC profile; as it lies where there is none that fits, as browsers do."""
    encoded = image.info.get("icc_profile")
    if not encoded:
        return image
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(encoded))
        # Most that have one: numbers that need no conversion are not to be rounded by it either.
        name = ImageCms.getProfileDescription(profile)
        if "sRGB" in name and "linear" not in name.lower():
            return image
        converted = ImageCms.profileToProfile(
            image,
            profile,
            ImageCms.createProfile("sRGB"),
            outputMode="RGBA" if image.mode == "RGBA" else "RGB",
            flags=ImageCms.Flags.HIGHRESPRECALC,  # as fast, and closer in the shadows of greys
        )
    # Broken, or of another colour space than the pixels.
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    del converted.info["icc_profile"]
    return converted


def resize(pictures: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Stretches uint8 pictures to `size`, (height, width)."""
    resized = tf.image.resize(pictures, size, method="bicubic", antialias=True)
    # Bicubic overshoots at edges; saturate_cast clips, and truncates, so round first.
    return tf.saturate_cast(tf.round(resized), tf.uint8)


def centre_crop(picture, size: tuple[int, int]):
    """The largest centred part of a [H,W,3] array with the aspect ratio of `size`."""
    height, width = picture.shape[:2]
    scale = min(height / size[0], width / size[1])
    crop_height = max(1, round(size[0] * scale))
    crop_width = max(1, round(size[1] * scale))
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return picture[top : top + crop_height, left : left + crop_width]
