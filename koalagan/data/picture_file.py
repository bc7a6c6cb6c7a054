# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Picture files and the images in them, before their pixels are read."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import mmap
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO

from PIL import Image

from koalagan.data import tiff
from koalagan.errors import UserError

# Without this list, Pillow tries every format it knows, including PostScript through Ghostscript.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "JPEG2000", "AVIF")

# As many as Pillow decodes without being told to.
MAX_PIXELS = 2 * 89478485

_BITS_PER_SAMPLE = 258  # TIFF tag


class BadPicture(UserError):
    """A single picture is damaged or of an unsupported kind; the message names the picture."""


@dataclasses.dataclass(frozen=True)
class Page:
    """One image of a picture file.

    Attributes:
        source: the contents of the file, or its path.
        frame: its number in the file, from 0.
        directory: the offset of the TIFF directory that describes it, where it is not one of the
            chain that frames are counted in; else None.
        max_pixels: larger images are refused, because a small file can claim any size.
    """

    source: bytes | str
    frame: int = 0
    directory: int | None = None
    max_pixels: int = MAX_PIXELS

    @functools.cached_property
    def header(self) -> Header:
        """What the file states of it; nothing where it is unreadable, as `decode` will report."""
        try:
            with self.opened() as image:
                return Header(image.format, image.width, image.height, _bits(image))
        except Exception:
            return Header()

    @property
    def pixels(self) -> int:
        """The number of pixels that its header states."""
        return self.header.width * self.header.height

    @property
    def empty(self) -> bool:
        """Whether its file holds no bytes."""
        if isinstance(self.source, bytes):
            return not self.source
        with mapped(self.source) as contents:
            return not len(contents)

    def contents(self) -> bytes:
        """A file that holds it as its first image."""
        encoded = self.source if isinstance(self.source, bytes) else read(self.source)
        if self.directory is None:
            return encoded
        order = "little" if encoded[:2] == b"II" else "big"
        return encoded[:4] + self.directory.to_bytes(4, order) + encoded[8:]

    @contextlib.contextmanager
    def opened(self) -> Iterator[Image.Image]:
        """Opens it with Pillow, without reading its pixels."""
        if isinstance(self.source, bytes) or self.directory is not None:
            opened_file: Any = io.BytesIO(self.contents())
        else:
            opened_file = _opened_file(self.source)
        with (
            opened_file as file,
            _patient_pillow,
            Image.open(file, formats=formats()) as image,
        ):
            if self.frame:
                image.seek(self.frame)
            if image.width * image.height > self.max_pixels:
                raise Image.DecompressionBombError
            yield image


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file states of an image.

    Attributes:
        format: Pillow's name of the file's format; None if it is unreadable.
        width, height: in pixels, as stored.
        bits: for each sample.
    """

    format: str | None = None
    width: int = 0
    height: int = 0
    bits: int = 8


def _bits(image: Image.Image) -> int:
    if image.format == "TIFF":
        return max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,)))
    # Pillow reduces colors of 16 bits to 8; the names of its raw modes tell.
    raw = [str(argument) for tile in image.tile for argument in (*tile[3:],)]
    return 16 if image.mode.startswith("I;16") or any(";16" in name for name in raw) else 8


@functools.cache
def formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow reads."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def pages(source: bytes | str, max_pixels: int = MAX_PIXELS) -> list[Page]:
    """The images of full size in a picture file: pages of a TIFF, frames of an animation.

    At least one; thumbnails and other reduced copies are left out.

    Args:
        source: the contents of the file, or its path.
        max_pixels: see `Page`.

    Raises:
        BadPicture: it is the path of something that cannot be read.
    """
    try:
        return _tiff_pages(source, max_pixels)
    except BadPicture:
        raise
    except ValueError:  # No TIFF, or one with 64-bit offsets.
        pass
    try:
        with Page(source, max_pixels=max_pixels).opened() as image:
            # The further images of an MPO file, a camera's JPEG, are previews or the other eye's.
            count = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
    except Exception:  # `decode` will report what is wrong.
        count = 1
    return [Page(source, frame, max_pixels=max_pixels) for frame in range(count)]


def _tiff_pages(source: bytes | str, max_pixels: int) -> list[Page]:
    with mapped(source) as contents:
        block = tiff.Block(contents)
        chain, images = block.directories(), block.images()
    return [
        Page(source, chain.index(offset), max_pixels=max_pixels)
        if offset in chain
        else Page(source, directory=offset, max_pixels=max_pixels)
        for offset in images
    ]


def read(path: str) -> bytes:
    """Reads the bytes of a picture file.

    Raises:
        BadPicture: the path is not a regular file, or it cannot be read.
    """
    with _opened_file(path) as file:
        try:
            return file.read()
        except OSError as error:  # The disk fails.
            raise BadPicture(f"The picture {path} cannot be read: {error.strerror}.") from error


@contextlib.contextmanager
def mapped(source: bytes | str) -> Iterator[bytes | mmap.mmap]:
    """The contents of a picture file, from which only those parts are read that are looked at.

    Args:
        source: its contents, or its path.

    Raises:
        BadPicture: it is the path of something that cannot be read.
    """
    if isinstance(source, bytes):
        yield source
        return
    with _opened_file(source) as file:
        if not os.fstat(file.fileno()).st_size:  # which cannot be mapped
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as contents:
            yield contents


@contextlib.contextmanager
def _opened_file(path: str) -> Iterator[BinaryIO]:
    try:
        # Opening a named pipe would block.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BadPicture(f"The picture {path} is not a file.")
        file = open(path, "rb")
    except OSError as error:
        raise BadPicture(f"The picture {path} cannot be read: {error.strerror}.") from error
    with file:  # Not above: decoders raise OSError for broken contents.
        yield file


class _PatientPillow:
    """Silences Pillow's warnings (size, invalid metadata) while at least one thread decodes.

    Its limit on pixels, which is one for the whole process, is lifted: `Page` has its own.

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
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._inside += 1

    def __exit__(self, *_):
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._filters.close()
                Image.MAX_IMAGE_PIXELS = self._limit


_patient_pillow = _PatientPillow()
