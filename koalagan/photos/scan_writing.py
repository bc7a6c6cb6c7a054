# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Writing the results of scans strip by strip, in 8 or 16 bits, by libvips.

libvips would write metadata anew, and make up a resolution where there is none: what describes a
photograph is put in afterwards, as `writing` puts it into other results.
"""

from __future__ import annotations

import io
import shutil
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

from koalagan.data.picture_file import BadPicture
from koalagan.data.tiff import RESOLUTION_UNIT, X_RESOLUTION, Y_RESOLUTION
from koalagan.errors import one_line
from koalagan.photos import writing
from koalagan.photos.metadata import Metadata
from koalagan.photos.scans import Scan

if TYPE_CHECKING:
    import pyvips

# The formats of results, and those of them that hold 16 bits a sample.
FORMATS = ("PNG", "TIFF", "JPEG")
DEEP = ("PNG", "TIFF")

_CLASSIC_TIFF = 4 * 10**9  # bytes, which 32-bit offsets reach
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def write(
    target: str,
    strips: Iterable[np.ndarray],
    scan: Scan,
    *,
    format: str,
    bits: int = 8,
    quality: int = 95,
    metadata: Metadata | None = None,
) -> list[str]:
    """Writes a result.

    Args:
        target: its path.
        strips: the result from top to bottom, uint8 or uint16 [R, W, 3] as `bits` says.
        scan: the photograph, which gives the size and the transparency.
        format: Pillow's name of one of `FORMATS`.
        bits: of each sample, 8 or 16.
        quality: of JPEG, 1 to 100.
        metadata: of the photograph.

    Returns:
        What was left out of it, a sentence each.

    Raises:
        BadPicture: the photograph cannot be read to its end, or the format cannot store the result.
        UserError: it cannot be written.
    """
    metadata = metadata or Metadata()
    head, left_out = _head(format, metadata)
    if scan.has_alpha and format == "JPEG":
        left_out.append("transparency, which JPEG has no place for")
    source = _Source(strips, scan.size, bits)

    def save(path: Path) -> None:
        import pyvips

        try:
            image = source.image()
            if scan.has_alpha:
                image = image.bandjoin(_alpha(scan, bits))
            if format == "JPEG":
                image = image.flatten(background=255) if scan.has_alpha else image
                image.jpegsave(str(path), Q=quality, keep="none")
                _put_in(path, _jpeg_parts, head)
            elif format == "PNG":
                image.pngsave(str(path), compression=4, keep="none")
                _put_in(path, _png_parts, head)
            else:
                _save_tiff(image, path, metadata, left_out)
        except pyvips.Error as error:
            if source.error:
                raise source.error from error
            raise BadPicture(f"{target} cannot be written: {one_line(error)}.") from error

    writing.publish(target, save)
    return [f"its result is without its {what}." for what in left_out]


class _Source:
    """Strips as an image that libvips reads from top to bottom, without a file: as a PNG.

    Args:
        strips: uint8 or uint16 [R, W, 3].
        size: (height, width).
        bits: 8 or 16.

    Attributes:
        error: what ended the strips early.
    """

    def __init__(self, strips: Iterable[np.ndarray], size: tuple[int, int], bits: int):
        self._bytes = _stored_png(strips, size, bits)
        self._rest = memoryview(b"")
        self.error: Exception | None = None

    def _read(self, size: int) -> bytes:
        try:
            while not self._rest:
                self._rest = memoryview(next(self._bytes))
        except StopIteration:
            return b""
        except Exception as error:  # It cannot pass through libvips.
            self.error = error
            return b""
        given, self._rest = self._rest[:size], self._rest[size:]
        return bytes(given)

    def image(self) -> pyvips.Image:
        """The image, which can be read once."""
        import pyvips

        # pyvips does not keep it for the image, which calls `_read` until it is written.
        self._source = pyvips.SourceCustom()
        self._source.on_read(self._read)
        return pyvips.Image.pngload_source(self._source, access="sequential", fail_on="error")


def _stored_png(strips: Iterable[np.ndarray], size: tuple[int, int], bits: int) -> Iterator[bytes]:
    """A PNG (ISO/IEC 15948) of strips, without compression."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(data, zlib.crc32(name))
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    height, width = size
    true_color = 2
    yield _PNG_SIGNATURE
    yield chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, true_color, 0, 0, 0))
    stored = zlib.compressobj(0)
    for strip in strips:
        rows = strip.astype(f">u{bits // 8}", copy=False).view(np.uint8).reshape(len(strip), -1)
        # Each row begins with the number of its filter; 0 is none.
        yield chunk(b"IDAT", stored.compress(np.pad(rows, [(0, 0), (1, 0)]).tobytes()))
    yield chunk(b"IDAT", stored.flush())
    yield chunk(b"IEND", b"")


def _alpha(scan: Scan, bits: int) -> pyvips.Image:
    alpha = scan.alpha()
    if alpha.format == "uchar" and bits == 16:
        return (alpha * 257).cast("ushort")
    if alpha.format == "ushort" and bits == 8:
        return (alpha / 257).rint().cast("uchar")
    return alpha


def _save_tiff(image: pyvips.Image, path: Path, metadata: Metadata, left_out: list[str]) -> None:
    size = image.width * image.height * image.bands * (2 if image.format == "ushort" else 1)
    if size > _CLASSIC_TIFF:
        image.tiffsave(str(path), keep="none", bigtiff=True)
        if metadata.exif or metadata.xmp or metadata.iptc or metadata.dpi:
            left_out.append("metadata, which TIFF files of more than 4 GB are written without")
        return
    if image.format == "ushort" and metadata.exif.startswith(b"MM"):
        # Its file takes on the byte order of EXIF, whose texts and notes cannot be turned.
        image = image.byteswap()
    if metadata.dpi:
        per_millimeter = [dots / 25.4 for dots in metadata.dpi]
        image = image.copy(xres=per_millimeter[0], yres=per_millimeter[1])
    image.tiffsave(str(path), keep="none", resunit="inch")
    made_up = () if metadata.dpi else (X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT)
    try:
        metadata.complete(path, made_up)
    except (ValueError, struct.error) as error:
        left_out.append(f"metadata, which cannot be written ({one_line(error)})")


def _head(format: str, metadata: Metadata) -> tuple[bytes, list[str]]:
    """A file of one pixel with metadata, and what is left out of it."""
    options, left_out = metadata.options(format)
    buffer = io.BytesIO()
    try:
        Image.new("RGB", (1, 1)).save(buffer, format, **options)
    except Exception as error:  # Pillow cannot write all that it reads, and fails in many ways.
        buffer = io.BytesIO()
        Image.new("RGB", (1, 1)).save(buffer, format)
        left_out = [f"metadata, which cannot be written ({one_line(error)})"]
    return buffer.getvalue(), left_out


def _put_in(path: Path, parts, head: bytes) -> None:
    """Replaces the metadata of a file by that of another one.

    Args:
        path: the file.
        parts: reads a file: yields for each of its parts whether it is metadata, and its bytes.
        head: the contents of the other file.
    """
    metadata = b"".join(part for is_metadata, part in parts(io.BytesIO(head)) if is_metadata)
    aside = path.with_name(f"{path.name}.pixels")
    path.rename(aside)
    try:
        with aside.open("rb") as source, path.open("wb") as target:
            put = False
            for is_metadata, part in parts(source):
                if not is_metadata:
                    target.write(part)
                    if not put:  # behind what a file begins with
                        target.write(metadata)
                        put = True
            shutil.copyfileobj(source, target, 2**20)
    finally:
        aside.unlink()


def _png_parts(file: BinaryIO) -> Iterator[tuple[bool, bytes]]:
    """The chunks of a PNG; the signature and IHDR are the first part."""
    first = file.read(len(_PNG_SIGNATURE))
    while head := file.read(8):
        chunk = head + file.read(int.from_bytes(head[:4], "big") + 4)
        # A small first letter marks the chunks that pictures can be shown without.
        yield bool(head[4] & 0x20), first + chunk
        first = b""


def _jpeg_parts(file: BinaryIO) -> Iterator[tuple[bool, bytes]]:
    """The segments of a JPEG before its pixels; the rest of the file is left to be read."""
    yield False, file.read(2)
    while True:
        marker = file.read(2)
        length = file.read(2)
        segment = marker + length + file.read(int.from_bytes(length, "big") - 2)
        application_or_comment = 0xE0 <= marker[1] <= 0xEF or marker[1] == 0xFE
        yield application_or_comment, segment
        if marker[1] == 0xDA:  # start of scan
            return
