# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Metadata of photographs (EXIF, XMP, IPTC, texts, resolution), carried to their results.

Metadata about the photograph is carried as the bytes that were there: who took it, when, where, and
of what. Metadata about its file is dropped: the result is upright, in sRGB, and possibly in another
format.
"""

import dataclasses
import mmap
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from koalagan.data import picture_file
from koalagan.data.tiff import Block
from koalagan.photos import exif

_XMP_OF_THE_FILE = (
    r"(?:tiff:(?:Orientation|ImageWidth|ImageLength|Compression|PhotometricInterpretation"
    r"|SamplesPerPixel)|exif:(?:ColorSpace|PixelXDimension|PixelYDimension)"
    r"|photoshop:(?:ICCProfile|ColorMode)|dc:format)"
)
_XMP_DROPPED = re.compile(
    rf"""\s{_XMP_OF_THE_FILE}\s*=\s*(?:"[^"<]*"|'[^'<]*')"""  # an attribute
    rf"|<({_XMP_OF_THE_FILE})>[^<]*</\1>"  # an element
)
_XMP_RESOLUTION = re.compile(r"tiff:([XY])Resolution")
_PHOTOSHOP_IPTC = 0x0404
_JPEG_SEGMENT = 65533  # bytes that one segment holds
_EXIF_NAMESPACE = b"Exif\0\0"
_XMP_NAMESPACE = b"http://ns.adobe.com/xap/1.0/\0"
# PNG texts that hold other metadata.
_PNG_PROFILES = ("Raw profile type", "XML:com.adobe.xmp")


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Metadata that a result is written with.

    Attributes:
        exif: the EXIF block, from its TIFF header on; empty if there is none.
        xmp: the XMP packet; empty if there is none.
        iptc: IPTC-IIM records; empty if there are none.
        texts: keyword -> text of a PNG file.
        comment: of a JPEG file; empty if there is none.
        dpi: horizontal and vertical resolution, or None.
        unread: what the photograph has and cannot be read.
    """

    exif: bytes = b""
    xmp: str = ""
    iptc: bytes = b""
    texts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    comment: bytes = b""
    dpi: tuple[float, float] | None = None
    unread: tuple[str, ...] = ()

    def options(self, format: str) -> tuple[dict[str, Any], list[str]]:
        """Arguments of `PIL.Image.Image.save`, as far as the format supports them.

        The format TIFF gets its EXIF, XMP and IPTC by `complete`.

        Args:
            format: Pillow's name of it.

        Returns:
            The arguments, and what is left out.
        """
        options: dict[str, Any] = {"dpi": self.dpi} if self.dpi else {}
        left_out = list(self.unread)
        block, xmp = _EXIF_NAMESPACE + self.exif, self.xmp.encode()
        if self.exif and format in ("JPEG", "PNG", "WEBP", "AVIF"):
            if format == "JPEG" and len(block) > _JPEG_SEGMENT:
                left_out.append("EXIF of more than 64 KB")
            else:
                options["exif"] = block
        if self.xmp and format in ("JPEG", "WEBP", "AVIF"):
            if format == "JPEG" and len(_XMP_NAMESPACE) + len(xmp) > _JPEG_SEGMENT:
                left_out.append("XMP of more than 64 KB")
            else:
                options["xmp"] = xmp
        if self.iptc and format == "JPEG":
            # Pillow copies complete segments into the file.
            if not (segment := _app13(self.iptc)):
                left_out.append("IPTC of more than 64 KB")
            options["extra"] = segment
        if self.comment and format == "JPEG":
            options["comment"] = self.comment
        if format == "PNG" and (self.xmp or self.texts):
            options["pnginfo"] = chunks = PngImagePlugin.PngInfo()
            for keyword, text in self.texts.items():
                chunks.add_text(keyword, text)
            if self.xmp:
                chunks.add_itxt("XML:com.adobe.xmp", self.xmp)
        supported = {
            "EXIF": ("JPEG", "PNG", "WEBP", "AVIF", "TIFF"),
            "XMP": ("JPEG", "PNG", "WEBP", "AVIF", "TIFF"),
            "IPTC": ("JPEG", "TIFF"),
            "texts": ("PNG",),
            "comment": ("JPEG",),
        }
        for name, formats in supported.items():
            if getattr(self, name.lower()) and format not in formats:
                left_out.append(f"{name}, which {format} has no place for")
        return options, left_out

    def complete(self, path: Path, without: Collection[int] = ()) -> None:
        """Adds EXIF, XMP and IPTC to a TIFF file that was written without.

        Args:
            path: the file.
            without: tags that it has and must not have.
        """
        others = [(exif.XMP, self.xmp.encode()), (exif.IPTC, self.iptc)]
        others = [(tag, value) for tag, value in others if value]
        if self.exif or others or without:
            exif.into_tiff(path, self.exif, others, without)


def _app13(iptc: bytes) -> bytes:
    """The JPEG segment APP13 with IPTC records; empty if they do not fit into one."""
    even = iptc + b"\0" * (len(iptc) % 2)
    resource = b"8BIM" + _PHOTOSHOP_IPTC.to_bytes(2, "big") + b"\0\0" + len(iptc).to_bytes(4, "big")
    segment = b"Photoshop 3.0\0" + resource + even
    if len(segment) > _JPEG_SEGMENT:
        return b""
    return b"\xff\xed" + (2 + len(segment)).to_bytes(2, "big") + segment


def read(source: bytes | str, max_pixels: int = picture_file.MAX_PIXELS) -> Metadata:
    """Reads the metadata of a photograph; what cannot be read is named as `unread`.

    Args:
        source: its file's contents or path.
        max_pixels: metadata of larger pictures is not read.
    """
    try:
        page = picture_file.Page(source, max_pixels=max_pixels)
        with picture_file.mapped(source) as contents, page.opened() as image:
            return _read(image, contents)
    except Exception:  # Not a picture, as its decoding says.
        return Metadata()


def _read(image: Image.Image, encoded: bytes | mmap.mmap) -> Metadata:
    found: dict[str, Any] = {}
    unread = []

    def attempt(name: str, what: str, get) -> None:
        try:
            found[name] = get()
        except Exception:  # Pillow fails in many ways on broken metadata of a good picture.
            unread.append(what)

    turned = False
    try:
        turned = image.getexif().get(exif.ORIENTATION, 1) >= 5
    except Exception:
        unread.append("a broken orientation")
    is_tiff = image.format == "TIFF"
    block = encoded if is_tiff else _exif_block(image)
    if block:
        attempt(
            "exif",
            "broken EXIF",
            lambda: (exif.of_tiff if is_tiff else exif.cleaned)(block, turned=turned),
        )
    attempt("xmp", "XMP that is not UTF-8", lambda: _xmp(image.info.get("xmp", b""), turned))
    attempt("iptc", "broken IPTC", lambda: _iptc(image))
    if image.format == "PNG":
        attempt("texts", "broken texts", lambda: _texts(image))
    comment = image.info.get("comment")
    if isinstance(comment, bytes):
        found["comment"] = comment
    attempt("dpi", "a broken resolution", lambda: _resolution(image, block, turned))
    return Metadata(**found, unread=tuple(unread))


def _exif_block(image: Image.Image) -> bytes:
    block = image.info.get("exif")
    if block is None and (text := image.info.get("Raw profile type exif")):
        # As ImageMagick writes it to PNG: a name and a length, then hexadecimal digits.
        block = bytes.fromhex("".join(text.split("\n")[3:]))
    return (block or b"").removeprefix(_EXIF_NAMESPACE)


def _xmp(packet: bytes | str, turned: bool) -> str:
    if isinstance(packet, bytes):
        packet = packet.decode()
    packet = _XMP_DROPPED.sub("", packet.strip("\0 \r\n"))
    if turned:
        packet = _XMP_RESOLUTION.sub(
            lambda match: f"tiff:{'Y' if match[1] == 'X' else 'X'}Resolution", packet
        )
    return packet


def _iptc(image: Image.Image) -> bytes:
    if image.format == "TIFF":
        found = image.tag_v2.get(exif.IPTC)
        found = found[0] if isinstance(found, tuple) else found
    else:
        photoshop = image.info.get("photoshop")
        found = photoshop.get(_PHOTOSHOP_IPTC) if isinstance(photoshop, dict) else None
    return found if isinstance(found, bytes) else b""


def _texts(image: Image.Image) -> dict[str, str]:
    image.load()  # Texts may follow the pixels.
    return {
        keyword: text
        for keyword, text in image.text.items()
        if not keyword.startswith(_PNG_PROFILES)
    }


def _resolution(image: Image.Image, block: bytes, turned: bool) -> tuple[float, float] | None:
    """Dots per inch as the result shows the picture; None where the file states none.

    Pillow makes one up where there is none: 72 for JPEG, 1 for TIFF.
    """
    found = None
    if image.format in ("JPEG", "MPO"):
        scale = {1: 1.0, 2: 2.54}.get(image.info.get("jfif_unit"))
        density = image.info.get("jfif_density", (0, 0))
        found = tuple(scale * one for one in density) if scale else None
    elif image.format in ("PNG", "BMP"):
        found = image.info.get("dpi")
    if found and min(found) > 0:
        found = (float(found[0]), float(found[1]))
    else:
        found = Block(block).resolution() if block else None
    return found[::-1] if found and turned else found
