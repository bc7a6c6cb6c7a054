# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Results are written complete or not at all, in every format and with the metadata it supports."""

import numpy as np
import pytest
from helpers.photos import colorize, lab, lightness, photograph, tree
from PIL import Image
from skimage.color import rgb2lab

from koalagan.data.picture_file import BadPicture
from koalagan.errors import UserError
from koalagan.photos import writing
from koalagan.photos.metadata import Metadata

RGB = np.full((5, 6, 3), 90, np.uint8)


@pytest.mark.parametrize(
    "format, extension, kind",
    [
        ("png", "png", "PNG"),
        ("jpeg", "jpg", "JPEG"),
        ("tiff", "tif", "TIFF"),
        ("webp", "webp", "WEBP"),
        ("bmp", "bmp", "BMP"),
    ],
)
def test_formats(model, tmp_path, format, extension, kind):
    gray = photograph(tmp_path / "a.png", height=32, width=40)
    assert colorize(model, tmp_path / "out", tmp_path / "a.png", format=format, suffix="_new") == {}
    result = tmp_path / "out" / f"a_new.{extension}"
    assert tree(tmp_path / "out") == [result.name]
    with Image.open(result) as image:
        assert image.format == kind and image.size == (40, 32)
    tolerance = 3.0 if kind in ("JPEG", "WEBP") else 0.5
    assert np.abs(lab(result)[..., 0] - lightness(gray)).mean() < tolerance


def test_the_same_format(model, tmp_path):
    for name in ("a.jpg", "a.png", "b.TIFF", "c.gif"):
        photograph(tmp_path / "photos" / name)
    assert colorize(model, tmp_path / "out", tmp_path / "photos", format="same") == {}
    assert tree(tmp_path / "out") == ["a.jpg", "a.png", "b.TIFF", "c.png"]
    for name in tree(tmp_path / "out"):
        assert lab(tmp_path / "out" / name).shape == (10, 14, 3)


def test_quality(model, tmp_path):
    photograph(tmp_path / "a.png", height=200, width=200)
    sizes = []
    for quality in (20, 95):
        colorize(model, tmp_path / "out", tmp_path / "a.png", format="jpeg", quality=quality)
        sizes.append((tmp_path / "out" / "a.jpg").stat().st_size)
    assert sizes[1] > 2 * sizes[0]


def test_metadata_is_copied_to_the_result(model, tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Kodak"
    exif.get_ifd(0x8769)[0x9003] = "1936:06:01 12:00:00"
    photograph(tmp_path / "a.jpg", exif=exif, dpi=(300, 300), xmp=b"<x/>")
    for format, extension in (("jpeg", "jpg"), ("png", "png"), ("tiff", "tif"), ("webp", "webp")):
        assert colorize(model, tmp_path / "out", tmp_path / "a.jpg", format=format) == {}
        with Image.open(tmp_path / "out" / f"a.{extension}") as result:
            kept = result.getexif()
            assert result.size == (10, 14) and kept[0x010F] == "Kodak" and 0x0112 not in kept
            assert kept.get_ifd(0x8769)[0x9003] == "1936:06:01 12:00:00"
            assert result.info["xmp"] == b"<x/>"
            if extension != "webp":
                assert result.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_scans_stay_readable_as_tiff(model, tmp_path):
    gray = photograph(tmp_path / "in" / "gray.tif")
    deep = Image.fromarray(gray.astype(np.uint16) * 257)
    deep.save(tmp_path / "in" / "deep.tif", description="a dog")
    Image.fromarray(gray).convert("1").save(tmp_path / "in" / "bits.tif")
    Image.fromarray(gray).quantize(9).save(tmp_path / "in" / "palette.tif")
    assert colorize(model, tmp_path / "out", tmp_path / "in", format="same") == {}
    for name in ("gray", "deep", "bits", "palette"):
        with Image.open(tmp_path / "out" / f"{name}.tif") as result:
            assert result.mode == "RGB" and result.size == (14, 10)
    with Image.open(tmp_path / "out" / "deep.tif") as result:
        assert result.getexif()[0x010E] == "a dog"


def test_one_result_that_cannot_be_written_does_not_stop_the_others(model, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photograph(photos / "a.png", height=1, width=70000)  # too wide for JPEG
    photograph(photos / "b.png")
    name = "\u5199" * 82  # 246 bytes; names have up to 255
    photograph(photos / f"{name}.png")
    failed = colorize(model, out, photos, format="jpeg")
    assert list(failed) == [str(photos / "a.png")]
    assert tree(out) == ["b.jpg", f"{name}.jpg"]


def test_metadata_that_cannot_be_written_is_left_out(tmp_path):
    broken = Metadata(dpi=("wide", "high"), exif=b"broken")
    writing.write(str(tmp_path / "a.png"), RGB, metadata=broken)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), RGB)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_picture_that_the_format_cannot_store(tmp_path):
    wide = np.zeros((1, 16384, 3), np.uint8)
    with pytest.raises(BadPicture, match=r"a.webp cannot be written: \S"):
        writing.write(str(tmp_path / "a.webp"), wide, metadata=Metadata(xmp="<x/>"))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "write",
    [
        lambda source, target: writing.write(target, RGB),
        lambda source, target: writing.copy(source, target),
    ],
)
def test_a_place_that_cannot_be_written_to(tmp_path, write):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/a.png cannot be written: File exists"):
        write(str(tmp_path / "file"), str(tmp_path / "file" / "a.png"))


@pytest.mark.parametrize("name, kind", [("a.jfif", "JPEG"), ("a.jpe", "JPEG"), ("a", "PNG")])
def test_the_same_format_under_unusual_names(model, tmp_path, name, kind):
    photograph(tmp_path / name, height=200, width=200, format=kind, xmp=b"<x/>")
    sizes = []
    for quality in (20, 100):
        given = {"format": "same", "quality": quality}
        assert colorize(model, tmp_path / "out", tmp_path / name, **given) == {}
        with Image.open(tmp_path / "out" / name) as image:
            assert image.format == kind
            assert kind == "PNG" or image.info["xmp"] == b"<x/>"
        sizes.append((tmp_path / "out" / name).stat().st_size)
    assert kind == "PNG" or sizes[1] > 3 * sizes[0]


def test_the_same_format_is_that_of_the_contents(model, tmp_path):
    photograph(tmp_path / "a.jpg", format="PNG")
    assert colorize(model, tmp_path / "out", tmp_path / "a.jpg", format="same") == {}
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        assert image.format == "PNG"


@pytest.mark.parametrize("kind", ["RGBA", "LA", "palette", "16-bit gray"])
@pytest.mark.parametrize("format", ["png", "tiff", "webp", "jpeg", "bmp"])
def test_transparency_is_kept_where_the_format_has_it(model, tmp_path, capfd, kind, format):
    rng = np.random.default_rng(0)
    gray = rng.integers(60, 180, (20, 30), np.uint8)
    alpha = np.where(rng.random((20, 30)) < 0.5, 0, 255).astype(np.uint8)
    if kind == "16-bit gray":
        deep = np.where(alpha == 0, 1234, gray.astype(np.uint16) * 257)
        Image.fromarray(deep.astype(np.uint16)).save(tmp_path / "a.png", transparency=1234)
    elif kind == "palette":
        image = Image.fromarray(np.where(alpha == 0, 0, gray))
        image.convert("P").save(tmp_path / "a.png", transparency=0)
    else:
        alpha = rng.integers(0, 256, (20, 30), np.uint8)
        layers = [gray] * (len(kind) - 1) + [alpha]
        Image.fromarray(np.dstack(layers), kind).save(tmp_path / "a.png")
    assert colorize(model, tmp_path / "out", tmp_path / "a.png", format=format) == {}
    (result,) = (tmp_path / "out").iterdir()
    said = f"without its transparency, which {format.upper()} has no place for"
    with Image.open(result) as image:
        if format in ("jpeg", "bmp"):
            assert image.mode == "RGB" and said in capfd.readouterr().err
            shown = np.asarray(image)
            assert shown[alpha == 0].min() > (200 if format == "jpeg" else 254)
            return
        assert said not in capfd.readouterr().err
        pixels = np.asarray(image.convert("RGBA"))
    np.testing.assert_array_equal(pixels[..., 3], alpha)
    # The lightness under half-transparent pixels is that of the photograph, not of white paper.
    opaque = alpha > 0
    L = lightness(gray)[opaque]
    found = rgb2lab(pixels[..., :3])[..., 0][opaque]
    assert np.abs(found - L).mean() < (8 if format == "webp" else 0.5)
