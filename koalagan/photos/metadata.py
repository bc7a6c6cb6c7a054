# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What a photograph says of itself (EXIF, XMP, IPTC, resolution), and how its result says it too.

What speaks of the photograph is kept: who took it, when, where, of what. What speaks of its file is
not: the result stands upright, is sRGB, and may be another format.
"""

from __future__ import annotations

import dataclasses
import io
import re
from typing import Any

from PIL import Image, PngImagePlugin

# Description, make, model, software, date, artist, copyright, rating, Windows's title, comment,
# author, keywords and subject.
_EXIF_TAGS = (
    0x010E,
    0x010F,
    0x0110,
    0x0131,
    0x0132,
    0x013B,
    0x8298,
    0x4746,
    *range(0x9C9B, 0x9CA0),
)
_EXIF_PARTS = (0x8769, 0x8825)  # the camera's and GPS
# Of the camera's part what speaks of its file: colour space, width, height, and two that point to
# places in it, interoperability and the maker's note.
_EXIF_OF_THE_FILE = (0xA001, 0xA002, 0xA003, 0xA005, 0x927C)
_XMP_OF_THE_FILE = (
    r"(?:tiff:(?:Orientation|ImageWidth|ImageLength|Compression|PhotometricInterpretation"
    r"|SamplesPerPixel)|exif:(?:ColorSpace|PixelXDimension|PixelYDimension)"
    r"|photoshop:(?:ICCProfile|ColorMode)|dc:format)"
)
_XMP_DROPPED = re.compile(
    rf"""\s{_XMP_OF_THE_FILE}\s*=\s*(?:"[^"<]*"|'[^'<]*')"""  # an attribute
    rf"|<({_XMP_OF_THE_FILE})>[^<]*</\1>"  # an element
)
_TIFF_XMP = 0x02BC
_PHOTOSHOP_IPTC = 0x0404
_JPEG_SEGMENT = 65533  # bytes that one holds
_XMP_NAMESPACE = b"http://ns.adobe.com/xap/1.0/\0"


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What goes with the result.

    Attributes:
        exif: as bytes; empty where there is none.
        xmp: a packet; empty where there is none.
        iptc: IPTC-IIM, of JPEG files alone; empty where there is none.
        dpi: across and down, or None.
    """

    exif: bytes = b""
    xmp: str = ""
    iptc: bytes = b""
    dpi: tuple[float, float] | None = None

    def options(self, ending: str) -> dict[str, Any]:
        """What `PIL.Image.Image.save` takes for a file with this ending, as far as it holds it."""
        options: dict[str, Any] = {}
        if self.exif:
            options["exif"] = self.exif
        if self.dpi:
            options["dpi"] = self.dpi
        xmp = self.xmp.encode()
        if ending in (".jpg", ".jpeg"):
            if xmp and len(_XMP_NAMESPACE) + len(xmp) <= _JPEG_SEGMENT:
                options["xmp"] = xmp
            if self.iptc:
                # Whole segments, which Pillow puts into the file as they are.
                options["extra"] = _app13(self.iptc)
        elif xmp and ending == ".webp":
            options["xmp"] = xmp
        elif xmp and ending == ".png":
            options["pnginfo"] = PngImagePlugin.PngInfo()
            options["pnginfo"].add_itxt("XML:com.adobe.xmp", self.xmp)
        elif xmp and ending in (".tif", ".tiff"):
            exif = Image.Exif()
            if self.exif:
                exif.load(self.exif)
            exif[_TIFF_XMP] = xmp
            options["exif"] = exif
        return options


def _app13(iptc: bytes) -> bytes:
    """The JPEG segment that holds IPTC; empty where it is too long for one."""
    even = iptc + b"\0" * (len(iptc) % 2)
    resource = b"8BIM" + _PHOTOSHOP_IPTC.to_bytes(2, "big") + b"\0\0" + len(iptc).to_bytes(4, "big")
    segment = b"Photoshop 3.0\0" + resource + even
    if len(segment) > _JPEG_SEGMENT:
        return b""
    return b"\xff\xed" + (2 + len(segment)).to_bytes(2, "big") + segment


def read(encoded: bytes) -> Metadata:
    """A photograph's metadata, as far as it can be read and speaks of the photograph.

    Args:
        encoded: its file.
    """
    found: dict[str, Any] = {}
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            if all(value > 0 for value in image.info.get("dpi", (0,))):
                found["dpi"] = tuple(map(float, image.info["dpi"]))
            found["xmp"] = _xmp(image.info.get("xmp", b""))
            found["iptc"] = _iptc(image.info.get("photoshop"))
            found["exif"] = _exif(image.getexif())
    except Exception:  # Broken metadata of a good picture, which Pillow meets in many ways.
        pass
    return Metadata(**found)


def _exif(given: Image.Exif) -> bytes:
    exif = Image.Exif()
    for tag in _EXIF_TAGS:
        if tag in given:
            exif[tag] = given[tag]
    for tag in _EXIF_PARTS:
        part = given.get_ifd(tag)
        if part := {key: part[key] for key in part if key not in _EXIF_OF_THE_FILE}:
            exif.get_ifd(tag).update(part)
    encoded = exif.tobytes()
    return encoded if len(encoded) > len(Image.Exif().tobytes()) else b""


def _xmp(packet: bytes | str) -> str:
    if isinstance(packet, bytes):
        try:
            packet = packet.decode()
        except UnicodeDecodeError:
            return ""
    return _XMP_DROPPED.sub("", packet.strip("\0 \r\n"))


def _iptc(photoshop: Any) -> bytes:
    found = photoshop.get(_PHOTOSHOP_IPTC) if isinstance(photoshop, dict) else None
    return found if isinstance(found, bytes) else b""
