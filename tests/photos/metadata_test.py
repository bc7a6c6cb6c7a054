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


def photograph(path, format, **kept):
    """The bytes of a file that is written with metadata, and what was left out."""
    given = metadata.Metadata(**kept)
    options, left_out = given.options(format)
    PICTURE.save(path, format, **options)
    if format == "TIFF":
        given.complete(path)
    return path.read_bytes(), left_out


def jpeg(**options):
    file = io.BytesIO()
    PICTURE.save(file, "jpeg", **options)
    return file.getvalue()


def test_xmp_about_the_file_is_dropped():
    read = metadata.read(jpeg(xmp=XMP.encode())).xmp
    assert all(part in read for part in KEPT)
    assert not any(part in read for part in DROPPED)
    assert ElementTree.fromstring(read.encode()).tag == "{adobe:ns:meta/}xmpmeta"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_xmp_is_written_to_every_format_that_supports_it(tmp_path, format):
    given = metadata.read(jpeg(xmp=XMP.encode()))
    written, _ = photograph(tmp_path / "a", format, xmp=given.xmp)
    assert metadata.read(written).xmp == given.xmp
    again = Image.open(io.BytesIO(written))
    np.testing.assert_allclose(np.asarray(again.convert("RGB")), np.asarray(PICTURE), atol=2)


def test_a_tiff_holds_all_of_them(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Kodak"
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    written, _ = photograph(
        tmp_path / "a", "TIFF", exif=block, xmp="<x/>", iptc=IPTC, dpi=(300.0, 300.0)
    )
    with Image.open(io.BytesIO(written)) as image:
        assert image.getexif()[0x010F] == "Kodak" and image.info["xmp"] == b"<x/>"
        assert image.info["dpi"] == (300, 300)
    assert metadata.read(written).iptc == IPTC


def test_exif_about_the_file_is_dropped():
    exif = Image.Exif()
    camera = exif.get_ifd(0x8769)
    camera.update({0x9003: "1936:06:01 12:00:00", 0xA001: 65535, 0xA002: 640, 0xA003: 480})
    camera[0x927C] = b"maker's note"
    kept = Image.Exif()
    kept.load(metadata.read(jpeg(exif=exif.tobytes())).exif)
    assert dict(kept.get_ifd(0x8769)) == {0x9003: "1936:06:01 12:00:00", 0x927C: b"maker's note"}


def test_iptc_is_copied_from_jpeg_to_jpeg(tmp_path):
    written, _ = photograph(tmp_path / "a", "JPEG", iptc=IPTC)
    read = metadata.read(written)
    assert read.iptc == IPTC
    # As read by another implementation.
    info = IptcImagePlugin.getiptcinfo(Image.open(io.BytesIO(written)))
    assert info == {(2, 120): b"Harbour", (2, 80): b"Ann"}
    assert photograph(tmp_path / "b", "PNG", iptc=IPTC)[1] == ["IPTC, which PNG has no place for"]


def test_texts_of_a_png_and_the_comment_of_a_jpeg(tmp_path):
    texts = {"Title": "Tromsø", "Comment": "Hafen, 漢字"}
    written, left_out = photograph(tmp_path / "a", "PNG", texts=texts, comment=b"by hand")
    assert metadata.read(written).texts == texts
    assert left_out == ["comment, which PNG has no place for"]
    written, left_out = photograph(tmp_path / "b", "JPEG", texts=texts, comment=b"by hand")
    assert metadata.read(written).comment == b"by hand"
    assert left_out == ["texts, which JPEG has no place for"]


def test_metadata_too_long_for_a_jpeg_segment_is_left_out_and_named(tmp_path):
    long = {"exif": b"II" + bytes(65536), "xmp": "x" * 65536, "iptc": bytes(65536)}
    written, left_out = photograph(tmp_path / "a", "JPEG", **long)
    assert left_out == [f"{name} of more than 64 KB" for name in ("EXIF", "XMP", "IPTC")]
    assert metadata.read(written) == metadata.Metadata()
    written, _ = photograph(tmp_path / "b", "PNG", xmp=long["xmp"])
    assert len(metadata.read(written).xmp) == 65536


@pytest.mark.parametrize("encoded", [b"not a picture", b"", jpeg()])
def test_files_without_metadata(encoded):
    assert metadata.read(encoded) == metadata.Metadata()


def test_xmp_that_cannot_be_read_is_named():
    found = metadata.read(jpeg(xmp=b"\xff\xfe<x/>"))
    assert found.xmp == "" and found.unread == ("XMP that is not UTF-8",)
