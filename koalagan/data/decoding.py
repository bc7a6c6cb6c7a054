# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""From the bytes of a picture file to pixels: `decode` gives uint8 sRGB [h, w, 3], upright."""

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

from koalagan.errors import UserError, one_line

# Without this list, Pillow tries every format it knows, including PostScript through Ghostscript.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")

_BITS_PER_SAMPLE, _PHOTOMETRIC_INTERPRETATION = 258, 262  # TIFF tags


class BadPicture(UserError):
    """A single picture is damaged or of an unsupported kind; the message names the picture."""


def read(path: str) -> bytes:
    """Reads the bytes of a picture file.

    Raises:
        BadPicture: the path is not a regular file, or it cannot be read.
    """
    try:
        # Opening a named pipe would block.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BadPicture(f"The picture {path} is not a file.")
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise BadPicture(f"The picture {path} cannot be read: {error.strerror}.") from error


def pixels(encoded: bytes) -> int:
    """The number of pixels that a picture's header states, or 0 if the header is unreadable."""
    try:
        with _quiet_pillow, Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
            return image.width * image.height
    except Exception:  # `decode` will report what is wrong.
        return 0


def decode(encoded: bytes, name: str) -> np.ndarray:
    """Decodes a picture to uint8 sRGB [h, w, 3].

    The EXIF orientation and the ICC profile are applied. Grayscale becomes three equal channels (16
    bits are scaled by 1/257, whatever the profile), transparent pixels are composited over white,
    and an animation gives its first frame. Safe to call from several threads.

    Args:
        encoded: the contents of the file.
        name: what error messages call the picture.

    Raises:
        BadPicture: the picture is empty, damaged, far too large, or not a picture.
    """
    if not encoded:
        raise BadPicture(f"The picture {name} is empty or cannot be read.")
    try:
        with _quiet_pillow, Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
            image.load()
            return to_rgb(_scale_deep_gray(_upright(image), getattr(image, "tag_v2", {})))
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
    """Silences Pillow's warnings (size, invalid metadata) while at least one thread decodes.

    `warnings.catch_warnings` alone is not safe here: threads that leave in a different order than
    they entered would restore each other's filters.
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
    except Exception:  # Broken metadata around a good picture: leave it as stored.
        return image


def _scale_deep_gray(image: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """Converts a grayscale TIFF of 12 or 16 bits, which Pillow gives as stored, to 0..65535."""
    if not image.mode.startswith("I;16"):
        return image
    gray = np.asarray(image).astype(np.uint16)
    if tags.get(_BITS_PER_SAMPLE) == (12,):
        gray = (gray.astype(np.uint32) * 65535 // 4095).astype(np.uint16)
    if tags.get(_PHOTOMETRIC_INTERPRETATION) == 0:  # WhiteIsZero
        gray = 65535 - gray
    return Image.fromarray(gray)


def to_rgb(image: Image.Image) -> np.ndarray:
    """Converts a Pillow image to uint8 sRGB [h, w, 3], as `decode` does.

    Raises:
        ValueError: the range of its values is unknown.
    """
    if image.mode.startswith("I"):  # 16-bit grayscale; `convert` would clip it to 255.
        gray = np.asarray(image).astype(np.int32)
        if gray.min() < 0 or gray.max() > 65535:
            raise ValueError("its gray values have more than 16 bits")
        gray += 128  # In place, because scans are large.
        gray //= 257
        return np.repeat(gray.astype(np.uint8)[..., None], 3, axis=-1)
    if image.mode == "F":
        raise ValueError("its gray values are floating-point numbers of an unknown range")
    if image.has_transparency_data:
        image = _to_srgb(image.convert("RGBA"))
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    elif image.mode == "P":
        image = image.convert("RGB")
    return np.array(_to_srgb(image).convert("RGB"))


def _to_srgb(image: Image.Image) -> Image.Image:
    """Applies the picture's ICC profile; ignores a profile that does not fit, as browsers do."""
    encoded = image.info.get("icc_profile")
    if not encoded:
        return image
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(encoded))
        # Most profiles are sRGB: converting would only add rounding errors.
        name = ImageCms.getProfileDescription(profile)
        if "sRGB" in name and "linear" not in name.lower():
            return image
        converted = ImageCms.profileToProfile(
            image,
            profile,
            ImageCms.createProfile("sRGB"),
            outputMode="RGBA" if image.mode == "RGBA" else "RGB",
            flags=ImageCms.Flags.HIGHRESPRECALC,  # As fast, and more exact in the shadows of grays.
        )
    # A broken profile, or one for another color space than the picture's.
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    del converted.info["icc_profile"]
    return converted
