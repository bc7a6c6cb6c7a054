# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Metadata survives being written to the file of a result and read again."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, IptcImagePlugin

from koalagan.photos import metadata

IPTC = b"\x1c\x02\x78\x00\x07Harbour\x1c\x02\x50\x00\x03Ann"  # caption, by-line
XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:exif="http://ns.adobe.com/exif/1.0/"
 tiff:Orientation="6" tiff:Make='Kodak' dc:format="image/jpeg">
<exif:PixelXDimension>640</exif:PixelXDimension>
<dc:title>Tromsø</dc:title></rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
KEPT = ("tiff:Make='Kodak'", "<dc:title>Troms\u00f8</dc:title>")
DROPPED = ("Orientation", "image/jpeg", "PixelXDimension")
PICTURE = Image.fromarray(np.full((6, 8, 3), 90, np.uint8))


def photograph(format, extension, **kept):
    file = io.BytesIO()
    PICTURE.save(file, format, **metadata.Metadata(**kept).options(extension))
    return file.getvalue()


def jpeg(**options):
    file = io.BytesIO()
    PICTURE.save(file, "jpeg", **options)
    return file.getvalue()


def test_xmp_about_the_file_is_dropped():
    read = metadata.read(jpeg(xmp=XMP.encode())).xmp
    assert all(part in read for part in KEPT)
    assert not any(part in read for part in DROPPED)
    assert ElementTree.fromstring(read.encode()).tag == "{adobe:ns:meta/}xmpmeta"


@pytest.mark.parametrize(
    ("format", "extension"),
    [("jpeg", ".jpg"), ("png", ".png"), ("tiff", ".tif"), ("webp", ".webp")],
)
def test_xmp_is_written_to_every_format_that_supports_it(format, extension):
    given = metadata.read(jpeg(xmp=XMP.encode()))
    written = photograph(format, extension, xmp=given.xmp)
    assert metadata.read(written).xmp == given.xmp
    again = Image.open(io.BytesIO(written))
    np.testing.assert_allclose(np.asarray(again.convert("RGB")), np.asarray(PICTURE), atol=1)


def test_a_tiff_holds_xmp_and_exif():
    exif = Image.Exif()
    exif[0x010F] = "Kodak"
    written = photograph("tiff", ".tif", exif=exif.tobytes(), xmp="<x/>", dpi=(300.0, 300.0))
    with Image.open(io.BytesIO(written)) as image:
        assert image.getexif()[0x010F] == "Kodak" and image.info["xmp"] == b"<x/>"
        assert image.info["dpi"] == (300, 300)


def test_exif_about_the_file_is_dropped():
    exif = Image.Exif()
    camera = exif.get_ifd(0x8769)
    camera.update({0x9003: "1936:06:01 12:00:00", 0xA001: 65535, 0xA002: 640, 0xA003: 480})
    camera[0x927C] = b"maker's note"
    kept = Image.Exif()
    kept.load(metadata.read(jpeg(exif=exif.tobytes())).exif)
    assert dict(kept.get_ifd(0x8769)) == {0x9003: "1936:06:01 12:00:00"}


def test_iptc_is_copied_from_jpeg_to_jpeg():
    written = photograph("jpeg", ".jpeg", iptc=IPTC)
    read = metadata.read(written)
    assert read.iptc == IPTC
    # As read by another implementation.
    info = IptcImagePlugin.getiptcinfo(Image.open(io.BytesIO(written)))
    assert info == {(2, 120): b"Harbour", (2, 80): b"Ann"}
    assert metadata.Metadata(iptc=IPTC).options(".png") == {}


def test_metadata_too_long_for_a_jpeg_segment_is_left_out():
    long = metadata.Metadata(xmp="x" * 65536, iptc=bytes(65536))
    jpeg(**long.options(".jpg"))
    assert metadata.read(jpeg(**long.options(".jpg"))) == metadata.Metadata()
    assert len(metadata.read(photograph("png", ".png", xmp=long.xmp)).xmp) == 65536


@pytest.mark.parametrize("encoded", [b"not a picture", b"", jpeg()])
def test_files_without_metadata(encoded):
    assert metadata.read(encoded) == metadata.Metadata()


def test_invalid_xmp_is_ignored():
    assert metadata.read(jpeg(xmp=b"\xff\xfe<x/>")).xmp == ""
