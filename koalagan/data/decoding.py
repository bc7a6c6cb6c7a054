# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""From the bytes of a picture file to pixels: `decode` gives uint8 sRGB [h, w, 3], upright."""

import contextlib
import dataclasses
import functools
import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps

from koalagan.data import tiff
from koalagan.errors import UserError, one_line

# Without this list, Pillow tries every format it knows, including PostScript through Ghostscript.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "JPEG2000", "AVIF")

_BITS_PER_SAMPLE, _PHOTOMETRIC_INTERPRETATION = 258, 262  # TIFF tags


@dataclasses.dataclass(frozen=True)
class Page:
    """One image of a picture file.

    Attributes:
        encoded: the contents of the file.
        frame: its number in the file, from 0.
        directory: in a TIFF file, the offset of the directory that describes it, or None.
    """

    encoded: bytes
    frame: int = 0
    directory: int | None = None

    @property
    def pixels(self) -> int:
        """The number of pixels that its header states, or 0 if the header is unreadable."""
        try:
            with self.opened() as image:
                return image.width * image.height
        except Exception:  # `decode` will report what is wrong.
            return 0

    def format(self) -> str | None:
        """Pillow's name of the file's format; None if it is unreadable."""
        try:
            with self.opened() as image:
                return image.format
        except Exception:
            return None

    @contextlib.contextmanager
    def opened(self) -> Iterator[Image.Image]:
        """Opens it with Pillow, without reading its pixels."""
        encoded = self.encoded
        if self.directory is not None:
            # The same file, whose first directory is this one; not copied where it is already.
            order = "little" if encoded[:2] == b"II" else "big"
            first = self.directory.to_bytes(4, order)
            if encoded[4:8] != first:
                encoded = encoded[:4] + first + encoded[8:]
        with _quiet_pillow, Image.open(io.BytesIO(encoded), formats=_formats()) as image:
            if self.frame:
                image.seek(self.frame)
            yield image


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow reads."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def pages(encoded: bytes) -> list[Page]:
    """The images of full size in a picture file: pages of a TIFF, frames of an animation.

    At least one; thumbnails and other reduced copies are left out.
    """
    try:
        return [Page(encoded, directory=offset) for offset in tiff.Block(encoded).images()]
    except ValueError:  # No TIFF, or one with 64-bit offsets.
        pass
    try:
        with Page(encoded).opened() as image:
            # The further images of an MPO file, a camera's JPEG, are previews or the other eye's.
            count = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
    except Exception:  # `decode` will report what is wrong.
        count = 1
    return [Page(encoded, frame) for frame in range(count)]


@dataclasses.dataclass(frozen=True)
class Layers:
    """The pixels of a picture that may be transparent.

    Attributes:
        rgb: uint8 sRGB [h, w, 3], as shown on white.
        color: uint8 sRGB [h, w, 3], the colors under the transparency; `rgb` where there is none.
        alpha: uint8 [h, w], 0 where it is transparent; None if it is not.
    """

    rgb: np.ndarray
    color: np.ndarray
    alpha: np.ndarray | None = None


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


def decode(encoded: bytes, name: str) -> np.ndarray:
    """Decodes a picture, the first one of a file with several, by `decode_page`."""
    return decode_page(pages(encoded)[0], name)


def decode_page(page: Page, name: str) -> np.ndarray:
    """Decodes a picture to uint8 sRGB [h, w, 3], as `decode_layers` shows it on white."""
    return decode_layers(page, name).rgb


def decode_layers(page: Page, name: str) -> Layers:
    """Decodes a picture with its transparency.

    The EXIF orientation and the ICC profile are applied. Grayscale becomes three equal channels (16
    bits without a profile are scaled by 1/257), and transparent pixels are composited over white.
    Safe to call from several threads.

    Args:
        page: the picture.
        name: what error messages call it.

    Raises:
        BadPicture: the picture is empty, damaged, far too large, or not a picture.
    """
    if not page.encoded:
        raise BadPicture(f"The picture {name} is empty or cannot be read.")
    try:
        with page.opened() as image:
            image.load()
            return _layers(_scale_deep_gray(_upright(image), getattr(image, "tag_v2", {})))
    except Image.DecompressionBombError:
        raise BadPicture(
            f"The picture {name} has more than {2 * Image.MAX_IMAGE_PIXELS // 10**6} million "
            "pixels: make it smaller."
        ) from None
    except Image.UnidentifiedImageError:
        raise BadPicture(
            f"The picture {name} is damaged or in a format other than {', '.join(_formats())}."
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
    scaled = Image.fromarray(gray)
    scaled.info = image.info
    return scaled


def to_rgb(image: Image.Image) -> np.ndarray:
    """Converts a Pillow image to uint8 sRGB [h, w, 3], as `decode` does.

    Raises:
        ValueError: the range of its values is unknown.
    """
    return _layers(image).rgb


def _layers(image: Image.Image) -> Layers:
    if image.mode.startswith("I"):  # 16-bit grayscale; `convert` would clip it to 255.
        gray = np.asarray(image).astype(np.int32)
        if gray.min() < 0 or gray.max() > 65535:
            raise ValueError("its gray values have more than 16 bits")
        transparent = image.info.get("transparency")
        white = gray == transparent if isinstance(transparent, int) else None
        deep = Image.fromarray(gray.astype(np.uint16)) if "icc_profile" in image.info else image
        deep.info = image.info
        if (converted := _to_srgb(deep)) is not deep:
            rgb = np.array(converted)
        else:
            gray += 128  # In place, because scans are large.
            gray //= 257
            rgb = np.repeat(gray.astype(np.uint8)[..., None], 3, axis=-1)
        if white is None or not white.any():
            return Layers(rgb, rgb)
        shown = rgb.copy()
        shown[white] = 255
        return Layers(shown, rgb, np.where(white, 0, 255).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its gray values are floating-point numbers of an unknown range")
    if image.has_transparency_data:
        image = _to_srgb(image.convert("RGBA"))
        shown = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        rgb, rgba = np.array(shown.convert("RGB")), np.array(image)
        if (rgba[..., 3] == 255).all():
            return Layers(rgb, rgb)
        return Layers(rgb, np.ascontiguousarray(rgba[..., :3]), rgba[..., 3])
    if image.mode == "P":
        image = image.convert("RGB")
    rgb = np.array(_to_srgb(image).convert("RGB"))
    return Layers(rgb, rgb)


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
