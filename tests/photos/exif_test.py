# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""EXIF goes from photographs to results as the bytes that it was, as Pillow reads them back."""

import io
from pathlib import Path

import numpy as np
import pytest
from helpers import tiff_files
from helpers.photos import colorize, photograph
from PIL import Image

from koalagan.photos import exif, metadata

PICTURE = Image.fromarray(np.full((6, 8, 3), 90, np.uint8))
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")


def encoded(format, block, orientation=1):
    if format == "TIFF":
        entries, data = tiff_files.picture(
            "<",
            90,
            6,
            8,
            tiff_files.text(0x010E, tiff_files.CAPTIONS["UTF-8"]),
            tiff_files.short(0x0112, orientation),
            tiff_files.rational(0x011A, 204),
            tiff_files.rational(0x011B, 98),
            tiff_files.short(0x0128, 2),
        )
        return tiff_files.structure("<", entries, data=data)
    file = io.BytesIO()
    PICTURE.save(file, format, exif=b"Exif\0\0" + block)
    return file.getvalue()


def written(path, format, found):
    options, left_out = found.options(format)
    assert not left_out
    PICTURE.save(path, format, **options)
    if format == "TIFF":
        found.complete(path)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("result", FORMATS)
@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("encoding", tiff_files.CAPTIONS)
def test_values_keep_their_bytes_and_their_order(tmp_path, source, result, order, encoding):
    caption = tiff_files.CAPTIONS[encoding]
    block = tiff_files.exif(order, caption=caption)
    found = metadata.read(encoded(source, block))
    assert not found.unread
    path = written(tmp_path / "result", result, found)
    assert caption in path.read_bytes()
    with Image.open(path) as image:
        image.load()
        kept = image.getexif()
        camera = kept.get_ifd(tiff_files.EXIF)
        assert image.format == result and kept.endian == order
        assert camera[0x9003] == "1936:06:01 12:00:00"
        assert camera[0x9286] == tiff_files.comment(order)
        assert kept.get_ifd(tiff_files.GPS) == {1: "N", 2: (59.0, 54.0, 0.0)}
        assert not {0xA001, 0xA002, 0xA003} & set(camera)
        assert 0x0112 not in kept and not kept.get_ifd(1)
        np.testing.assert_allclose(np.asarray(image.convert("RGB")), PICTURE, atol=1)
    assert b"THUMBNAIL" not in path.read_bytes()


def test_a_makers_note_stays_where_its_offsets_hold():
    block = tiff_files.exif(">")
    kept = exif.cleaned(block)
    place = block.index(b"maker's note")
    assert kept.index(b"maker's note") == place


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize(
    "orientation, expected", [(1, (204, 98)), (3, (204, 98)), (6, (98, 204)), (8, (98, 204))]
)
def test_a_turned_picture_has_its_resolutions_exchanged(tmp_path, source, orientation, expected):
    block = tiff_files.exif("<", orientation=orientation)
    found = metadata.read(encoded(source, block, orientation))
    for result in FORMATS:
        with Image.open(written(tmp_path / "result", result, found)) as image:
            kept = image.getexif()
            assert (kept[0x011A], kept[0x011B]) == pytest.approx(expected)
            assert image.info.get("dpi", expected) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("source", FORMATS)
def test_without_a_resolution_the_result_has_none(tmp_path, source):
    block = tiff_files.structure("<", [tiff_files.text(0x010E, b"caption\0")])
    file = io.BytesIO()
    PICTURE.save(file, source, **({} if source == "TIFF" else {"exif": b"Exif\0\0" + block}))
    found = metadata.read(file.getvalue())
    assert found.dpi is None
    for result in FORMATS:
        with Image.open(written(tmp_path / "result", result, found)) as image:
            kept = image.getexif()
            assert 0x011A not in kept and not image.info.get("jfif_unit")


@pytest.mark.parametrize("cut", [3, 9, 40, 100, 200])
def test_a_broken_block_is_named_and_the_rest_is_kept(cut):
    file = io.BytesIO()
    block = tiff_files.exif("<")[:cut]
    PICTURE.save(file, "JPEG", exif=b"Exif\0\0" + block, xmp=b"<x/>")
    found = metadata.read(file.getvalue())
    assert found.xmp == "<x/>"
    assert found.unread or b"caption" not in found.exif


def test_the_command_carries_it_and_says_what_it_leaves_out(model, tmp_path, capfd):
    photograph(
        tmp_path / "a.jpg",
        exif=b"Exif\0\0" + tiff_files.exif(">"),
        comment=b"von Hand",
        xmp=b"<x/>",
    )
    assert colorize(model, tmp_path / "out", tmp_path / "a.jpg", format="bmp") == {}
    err = capfd.readouterr().err
    for what in ("EXIF", "XMP", "comment"):
        assert f"its result is without its {what}, which BMP has no place for" in err
    assert colorize(model, tmp_path / "out", tmp_path / "a.jpg", format="tiff") == {}
    assert tiff_files.CAPTIONS["UTF-8"] in Path(tmp_path / "out" / "a.tif").read_bytes()
