# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Scans: results of 16 bits."""

import base64
import io
import re

import numpy as np
import pytest
import pyvips
from helpers import tiff_files
from helpers.photos import colorize, lightness, photograph, tree
from helpers.pictures import gray_profile
from helpers.scans import deep_lightness, ramp, read, write
from PIL import Image
from skimage.color import rgb2lab

from koalagan.data.picture_file import Page
from koalagan.photos import scan_writing, scans
from koalagan.photos.metadata import Metadata


@pytest.mark.parametrize("format", ["png", "tiff"])
@pytest.mark.parametrize(
    "name, options",
    [
        ("gray.png", {}),
        ("gray.tif", {"compression": "lzw", "predictor": "horizontal"}),
        ("gray.tif", {"compression": "deflate", "tile": True}),
        ("rgb.png", {}),
        ("rgb.tif", {"compression": "lzw"}),
        ("rgba.png", {}),
        ("rgba.tif", {}),
    ],
)
def test_lightness_keeps_16_bits(model, tmp_path, name, options, format):
    gray = ramp()
    alpha = np.full_like(gray, 65535)
    alpha[:20] = 12345
    layers = {"gray": [gray], "rgb": [gray] * 3, "rgba": [gray] * 3 + [alpha]}[name.split(".")[0]]
    write(tmp_path / name, np.dstack(layers), "grey16" if len(layers) == 1 else "rgb16", **options)
    assert colorize(model, tmp_path / "out", tmp_path / name, format=format) == {}
    (path,) = (tmp_path / "out").iterdir()
    result = read(path)
    assert result.dtype == np.uint16
    # A step of 16 bits is 0.001 L* here; one of 8 bits, 0.4.
    np.testing.assert_allclose(deep_lightness(result), deep_lightness(gray), atol=0.002)
    assert len(np.unique(result[..., 1])) > 2000
    ab = rgb2lab(result[..., :3] / 65535)[..., 1:]
    np.testing.assert_allclose(ab, 16.5, atol=0.05)
    if len(layers) == 4:
        np.testing.assert_array_equal(result[..., 3], alpha)
    else:
        assert result.shape[2] == 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["tif", "png"])
def test_scans_are_upright(model, tmp_path, orientation, kind):
    gray = ramp()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(gray).save(tmp_path / f"a.{kind}", exif=exif)
    assert colorize(model, tmp_path / "out", tmp_path / f"a.{kind}", format="tiff") == {}
    upright = {
        1: gray,
        2: gray[:, ::-1],
        3: gray[::-1, ::-1],
        4: gray[::-1],
        5: gray.T,
        6: gray.T[:, ::-1],
        7: gray.T[::-1, ::-1],
        8: gray.T[::-1],
    }[orientation]
    result = read(tmp_path / "out" / "a.tif")
    np.testing.assert_allclose(deep_lightness(result), deep_lightness(upright), atol=0.002)
    with Image.open(tmp_path / "out" / "a.tif") as image:
        assert image.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_profiles_are_applied_in_16_bits(model, tmp_path, kind):
    """Linear grays: the curve of sRGB, computed, is what becomes of them."""
    gray = ramp()
    Image.fromarray(gray).save(tmp_path / f"a.{kind}", icc_profile=gray_profile(1.0))
    assert colorize(model, tmp_path / "out", tmp_path / f"a.{kind}") == {}
    result = read(tmp_path / "out" / "a.png")
    linear = gray / 65535
    L = 116 * np.cbrt(linear) - 16
    np.testing.assert_allclose(deep_lightness(result), L, atol=0.03)
    assert len(np.unique(result[..., 1])) > 1000


def test_16_bits_that_only_pillow_reads(model, tmp_path):
    gray = ramp()
    Image.fromarray(gray).save(tmp_path / "a.jp2", irreversible=False)
    twelve = (gray >> 4).astype(np.uint16)
    (tmp_path / "b.tif").write_bytes(_tiff_of_12_bits(twelve))
    Image.fromarray(gray.astype(np.int32)).save(tmp_path / "c.tif")  # 16 bits, stored in 32
    files = [tmp_path / name for name in ("a.jp2", "b.tif", "c.tif")]
    assert colorize(model, tmp_path / "out", *files) == {}
    a, b, c = (read(tmp_path / "out" / f"{name}.png") for name in "abc")
    assert a.dtype == b.dtype == c.dtype == np.uint16
    np.testing.assert_allclose(deep_lightness(c), deep_lightness(gray), atol=0.002)
    np.testing.assert_allclose(deep_lightness(a), deep_lightness(gray), atol=0.002)
    np.testing.assert_allclose(deep_lightness(b), deep_lightness(gray), atol=0.03)


def _tiff_of_12_bits(gray):
    pairs = gray.reshape(-1, 2).astype(np.uint32)
    packed = (pairs[:, 0] << 12) | pairs[:, 1]
    data = np.stack([packed >> 16, packed >> 8, packed], axis=-1).astype(np.uint8).tobytes()
    entries = [
        tiff_files.long(0x0100, gray.shape[1]),
        tiff_files.long(0x0101, gray.shape[0]),
        tiff_files.short(0x0102, 12),
        tiff_files.short(0x0103, 1),
        tiff_files.short(0x0106, 1),
        tiff_files.long(0x0111, 8),
        tiff_files.long(0x0116, gray.shape[0]),
        tiff_files.long(0x0117, len(data)),
    ]
    return tiff_files.structure("<", entries, data=data)


def test_floating_point_scans_are_refused(model, tmp_path):
    Image.fromarray(np.ones((20, 30), np.float32)).save(tmp_path / "a.tif")
    (sentence,) = colorize(model, tmp_path / "out", tmp_path / "a.tif").values()
    assert "floating-point numbers of an unknown range" in sentence


def test_depth_is_a_choice(model, tmp_path, capfd):
    Image.fromarray(ramp()).save(tmp_path / "deep.png")
    levels = photograph(tmp_path / "flat.png")
    deep, flat = tmp_path / "deep.png", tmp_path / "flat.png"
    assert colorize(model, tmp_path / "8", deep, flat, depth="8") == {}
    assert colorize(model, tmp_path / "16", deep, flat, depth="16") == {}
    assert colorize(model, tmp_path / "auto", deep, flat) == {}
    depths = {
        folder: [
            read(tmp_path / folder / f"{name}.png").dtype.itemsize for name in ("deep", "flat")
        ]
        for folder in ("8", "16", "auto")
    }
    assert depths == {"8": [1, 1], "16": [2, 2], "auto": [2, 1]}
    of_8_bits = read(tmp_path / "16" / "flat.png")
    np.testing.assert_allclose(deep_lightness(of_8_bits), lightness(levels), atol=0.002)
    assert "bits a sample" not in capfd.readouterr().err
    assert colorize(model, tmp_path / "jpeg", deep, flat, format="jpeg") == {}
    said = capfd.readouterr().err
    assert f"{deep}: its result has 8 bits a sample, which is all that JPEG" in said
    assert f"{flat}:" not in said


def test_mistakes(model, tmp_path, monkeypatch, capfd):
    Image.fromarray(ramp()).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="--depth=16 does not go with --format=webp"):
        colorize(model, tmp_path / "out", tmp_path / "a.png", depth="16", format="webp")
    monkeypatch.setattr(scans, "supported", lambda: False)
    with pytest.raises(ValueError, match=r"--depth=16 needs pyvips: pip install"):
        colorize(model, tmp_path / "out", tmp_path / "a.png", depth="16")
    assert colorize(model, tmp_path / "out", tmp_path / "a.png") == {}
    assert "8 bits a sample: pip install 'koalagan[scans]' for 16." in capfd.readouterr().err
    assert read(tmp_path / "out" / "a.png").dtype == np.uint8


def test_scans_on_the_contact_sheet(model, tmp_path):
    large = np.repeat(np.repeat(ramp(), 40, axis=0), 40, axis=1)
    Image.fromarray(large).save(tmp_path / "a.png")
    sheet = str(tmp_path / "sheet.html")
    assert colorize(model, tmp_path / "out", tmp_path / "a.png", contact_sheet=sheet) == {}
    shown = re.findall(r"data:image/jpeg;base64,([^\"]+)", (tmp_path / "sheet.html").read_text())
    before, after = (Image.open(io.BytesIO(base64.b64decode(one))) for one in shown)
    assert before.size == after.size == (900, 600)
    assert np.ptp(np.asarray(before).astype(int), axis=-1).max() < 5
    assert np.ptp(np.asarray(after).astype(int), axis=-1).mean() > 20
    assert read(tmp_path / "out" / "a.png").shape == (1600, 2400, 3)


def test_pages_of_16_bits(model, tmp_path):
    pages = [Image.fromarray(ramp()), Image.fromarray(ramp()[:, ::-1].copy())]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert colorize(model, tmp_path / "out", tmp_path / "a.tif") == {}
    assert tree(tmp_path / "out") == ["a-page2.png", "a.png"]
    for name, gray in (("a.png", ramp()), ("a-page2.png", ramp()[:, ::-1])):
        found = deep_lightness(read(tmp_path / "out" / name))
        np.testing.assert_allclose(found, deep_lightness(gray), atol=0.002)


def test_pages_in_color_keep_16_bits(model, tmp_path):
    rng = np.random.default_rng(0)
    color = rng.integers(0, 65536, (10, 14, 3)).astype(np.uint16)
    images = [
        pyvips.Image.new_from_array(page).copy(interpretation="rgb16") for page in [color] * 2
    ]
    joined = pyvips.Image.arrayjoin(images, across=1).copy()
    joined.set_type(pyvips.GValue.gint_type, "page-height", 10)
    joined.tiffsave(str(tmp_path / "a.tif"))
    assert colorize(model, tmp_path / "out", tmp_path / "a.tif") == {}
    np.testing.assert_array_equal(read(tmp_path / "out" / "a-page2.png"), color)


def test_metadata_that_cannot_be_written_is_left_out(tmp_path, monkeypatch):
    Image.fromarray(ramp()).save(tmp_path / "a.png")
    scan = scans.Scan(Page(str(tmp_path / "a.png")), "a.png")
    broken = Metadata(dpi=(float("inf"), 1.0), exif=b"II*\0broken")
    for format, name in (("PNG", "b.png"), ("TIFF", "b.tif")):
        metadata = broken if format == "PNG" else Metadata(exif=b"II*\0broken")
        (sentence,) = scan_writing.write(
            str(tmp_path / name), scan.strips(), scan, format=format, bits=16, metadata=metadata
        )
        assert "without its metadata, which cannot be written" in sentence
        np.testing.assert_array_equal(read(tmp_path / name)[..., 0], ramp())
