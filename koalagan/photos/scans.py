# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Scans: photographs of more than 8 bits a sample, and those too large to be held in memory.

libvips (extra `[scans]`: pyvips) decodes their files strip by strip.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import ImageCms

from koalagan.data import decoding
from koalagan.data.picture_file import Page
from koalagan.inference.joining import STRIP

if TYPE_CHECKING:
    import pyvips

# Photographs with more pixels are joined with their colors strip by strip.
LARGE = 2**25
# The pixels of the reduced copy that the network's input is made from.
_REDUCED = 2**22

# libvips does it by these steps for each EXIF orientation.
_TURNS = {
    2: ("fliphor",),
    3: ("rot180",),
    4: ("flipver",),
    5: ("rot90", "fliphor"),
    6: ("rot90",),
    7: ("rot270", "fliphor"),
    8: ("rot270",),
}
_LOADERS = {"JPEG": "jpegload", "PNG": "pngload", "TIFF": "tiffload", "WEBP": "webpload"}


def supported() -> bool:
    """Whether pyvips is installed."""
    return importlib.util.find_spec("pyvips") is not None


class Scan:
    """A page of a picture file that is read strip by strip: upright, in sRGB.

    Args:
        page: the page.
        name: what error messages call it.

    Raises:
        BadPicture: it cannot be read.

    Attributes:
        name: as given.
        size: (height, width).
        bits: of each sample, 8 or 16.
        has_alpha: whether something is transparent.
    """

    def __init__(self, page: Page, name: str):
        self._page = page
        self.name = name
        self._upright: pyvips.Image | None = None
        with decoding.refusing(page, name):
            with page.opened() as image:
                self._orientation = decoding.orientation(image)
            image = self._opened()
            self.has_alpha = image.hasalpha() and self.alpha().min() < _white(image)
        self.size = (image.height, image.width)
        self.bits = 16 if image.format == "ushort" else 8

    def reduced(self) -> np.ndarray:
        """A smaller copy as shown on white, uint8 [h, w, 3]."""
        image = self._opened()
        if image.hasalpha():
            image = image.flatten(background=_white(image))
        factor = max(1, round(math.sqrt(image.width * image.height / _REDUCED)))
        with decoding.refusing(self._page, self.name):
            array = _eight_bits(image.shrink(factor, factor)).numpy()
        return np.repeat(array.reshape(*array.shape[:2], -1), 3 if image.bands == 1 else 1, axis=-1)

    def strips(self) -> Iterator[np.ndarray]:
        """Its colors from top to bottom, uint8 or uint16 [R, W, 3]."""
        import pyvips

        image = self._opened()
        if image.hasalpha():
            image = image.extract_band(0, n=image.bands - 1)
        rows = max(1, STRIP // image.width)
        dtype = np.uint16 if self.bits == 16 else np.uint8
        region = pyvips.Region.new(image)
        for top in range(0, image.height, rows):
            height = min(rows, image.height - top)
            with decoding.refusing(self._page, self.name):
                fetched = region.fetch(0, top, image.width, height)
            strip = np.frombuffer(fetched, dtype).reshape(height, image.width, image.bands)
            yield np.repeat(strip, 3 // image.bands, axis=-1)

    def alpha(self) -> pyvips.Image:
        """Its transparency, of one band; only where it `has_alpha`."""
        image = self._opened()
        return image.extract_band(image.bands - 1)

    def _opened(self) -> pyvips.Image:
        """The page with one band or three, and perhaps transparency."""
        with decoding.refusing(self._page, self.name):
            image = self._upright or self._loaded()
            if not image.hasalpha():
                return _srgb(image)
            color = image.extract_band(0, n=image.bands - 1)
            return _srgb(color).bandjoin(image.extract_band(image.bands - 1))

    def _loaded(self) -> pyvips.Image:
        """The page, upright. Kept where it cannot be read from the file again and again."""
        import pyvips

        page = self._page
        if loader := _LOADERS.get(page.header.format or ""):
            options = {"access": "sequential", "fail_on": "error"}
            if self._orientation != 1:
                # It is read in another order than it is stored in: libvips keeps what it has
                # decoded, in a temporary file if it is large.
                options["access"] = "random"
            if page.header.format == "TIFF":
                options["page"] = page.frame
            try:
                if page.directory is None and isinstance(page.source, str):
                    image = getattr(pyvips.Image, loader)(page.source, **options)
                else:
                    image = getattr(pyvips.Image, f"{loader}_buffer")(page.contents(), **options)
            except pyvips.Error:
                image = None
            # Else of a kind that only Pillow reads, such as 12 bits, or 16 stored in 32.
            if image and image.format in ("uchar", "ushort"):
                if self._orientation == 1:
                    return image
                for turn in _TURNS.get(self._orientation, ()):
                    image = getattr(image, turn)()
                self._upright = image.copy()
                self._upright.remove("orientation")
                return self._upright
        array, profile = decoding.decode_deep(page, self.name)
        self._upright = pyvips.Image.new_from_array(array).copy()
        if profile:
            self._upright.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
        return self._upright


def _white(image: pyvips.Image) -> float:
    return 65535.0 if image.format == "ushort" else 255.0


def _eight_bits(image: pyvips.Image) -> pyvips.Image:
    return (image / 257.0).rint().cast("uchar") if image.format == "ushort" else image


def _srgb(image: pyvips.Image) -> pyvips.Image:
    """Applies the ICC profile of an image without transparency; gives one band or three."""
    import pyvips

    try:
        profile = image.get_typeof("icc-profile-data") and image.get("icc-profile-data")
        if profile and decoding.to_apply(bytes(profile)):
            depth = 16 if image.format == "ushort" else 8
            image = image.icc_transform("srgb", embedded=True, intent="perceptual", depth=depth)
    except (pyvips.Error, ImageCms.PyCMSError, OSError):
        pass  # A broken profile, or one for other colors than the picture's, as in `decoding`.
    if image.interpretation == "cmyk":
        image = image.colourspace("srgb")
    return image.extract_band(0, n=3) if image.bands > 3 else image.extract_band(0, n=image.bands)
