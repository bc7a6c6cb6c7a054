# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Metadata of photographs (EXIF, XMP, IPTC, resolution), copied to their results.

Metadata about the photograph is kept: who took it, when, where, and of what. Metadata about its
file is dropped: the result is upright, in sRGB, and possibly in another format.
"""

import dataclasses
import io
import re
from typing import Any

from PIL import Image, PngImagePlugin

# Description, make, model, software, date, artist, copyright, rating; title, comment, author,
# keywords and subject as written by Windows.
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
_EXIF_DIRECTORIES = (0x8769, 0x8825)  # camera (Exif IFD) and GPS
# Tags of the camera that describe the file: color space, width, height, and two that hold offsets
# into it, the interoperability IFD and the maker note.
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
_JPEG_SEGMENT = 65533  # bytes that one segment holds
_XMP_NAMESPACE = b"http://ns.adobe.com/xap/1.0/\0"


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Metadata that a result is written with.

    Attributes:
        exif: encoded EXIF; empty if there is none.
        xmp: the XMP packet; empty if there is none.
        iptc: IPTC-IIM records, from JPEG files only; empty if there are none.
        dpi: horizontal and vertical resolution, or None.
    """

    exif: bytes = b""
    xmp: str = ""
    iptc: bytes = b""
    dpi: tuple[float, float] | None = None

    def options(self, extension: str) -> dict[str, Any]:
        """Arguments of `PIL.Image.Image.save`, as far as files with this extension support them.

        Args:
            extension: in lower case, with its dot.
        """
        options: dict[str, Any] = {}
        if self.exif:
            options["exif"] = self.exif
        if self.dpi:
            options["dpi"] = self.dpi
        xmp = self.xmp.encode()
        if extension in (".jpg", ".jpeg"):
            if xmp and len(_XMP_NAMESPACE) + len(xmp) <= _JPEG_SEGMENT:
                options["xmp"] = xmp
            if self.iptc:
                # Pillow copies complete segments into the file.
                options["extra"] = _app13(self.iptc)
        elif xmp and extension == ".webp":
            options["xmp"] = xmp
        elif xmp and extension == ".png":
            options["pnginfo"] = PngImagePlugin.PngInfo()
            options["pnginfo"].add_itxt("XML:com.adobe.xmp", self.xmp)
        elif xmp and extension in (".tif", ".tiff"):
            exif = Image.Exif()
            if self.exif:
                exif.load(self.exif)
            exif[_TIFF_XMP] = xmp
            options["exif"] = exif
        return options


def _app13(iptc: bytes) -> bytes:
    """The JPEG segment APP13 with IPTC records; empty if they do not fit into one."""
    even = iptc + b"\0" * (len(iptc) % 2)
    resource = b"8BIM" + _PHOTOSHOP_IPTC.to_bytes(2, "big") + b"\0\0" + len(iptc).to_bytes(4, "big")
    segment = b"Photoshop 3.0\0" + resource + even
    if len(segment) > _JPEG_SEGMENT:
        return b""
    return b"\xff\xed" + (2 + len(segment)).to_bytes(2, "big") + segment


def read(encoded: bytes) -> Metadata:
    """Reads the metadata of an encoded photograph; what cannot be read is left out."""
    found: dict[str, Any] = {}
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            if all(value > 0 for value in image.info.get("dpi", (0,))):
                found["dpi"] = tuple(map(float, image.info["dpi"]))
            found["xmp"] = _xmp(image.info.get("xmp", b""))
            found["iptc"] = _iptc(image.info.get("photoshop"))
            found["exif"] = _exif(image.getexif())
    except Exception:  # Pillow fails in many ways on broken metadata of a good picture.
        pass
    return Metadata(**found)


def _exif(given: Image.Exif) -> bytes:
    exif = Image.Exif()
    for tag in _EXIF_TAGS:
        if tag in given:
            exif[tag] = given[tag]
    for tag in _EXIF_DIRECTORIES:
        directory = given.get_ifd(tag)
        if kept := {key: directory[key] for key in directory if key not in _EXIF_OF_THE_FILE}:
            exif.get_ifd(tag).update(kept)
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
