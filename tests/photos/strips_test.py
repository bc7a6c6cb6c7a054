# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Large photographs, which are joined with their colors in strips."""

import io
import resource
import subprocess
import sys
import threading

import numpy as np
import pytest
import pyvips
from helpers import tiff_files
from helpers.photos import colorize, lightness, photograph, tree
from helpers.pictures import encode, gray_profile
from helpers.scans import HEIGHT, WIDTH, deep_lightness, ramp, read
from PIL import Image, ImageCms

from koalagan.inference import joining
from koalagan.photos import bulk, scans


@pytest.fixture
def everything_in_strips(monkeypatch):
    """All photographs are large, and a strip has few rows; reduced copies are not smaller."""
    monkeypatch.setattr(scans, "LARGE", 0)
    monkeypatch.setattr(scans, "_REDUCED", 2**30)
    monkeypatch.setattr(scans, "STRIP", 500)


def _large_files(folder):
    rng = np.random.default_rng(0)
    noise = np.repeat(rng.integers(40, 200, (13, 20, 1), np.uint8), 3, axis=0).repeat(3, axis=1)
    gray = Image.fromarray(noise[..., 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = Image.fromarray(rng.integers(0, 256, noise.shape[:2], np.uint8))
    linear = gray_profile(1.0)
    gray.save(folder / "gray.png")
    gray.save(folder / "turned.jpg", exif=exif, quality=95)
    gray.save(folder / "linear.tif", icc_profile=linear)
    gray.convert("RGB").save(folder / "rgb.tif", compression="tiff_lzw")
    gray.convert("P").save(folder / "palette.png")
    gray.convert("1").save(folder / "bilevel.tif", compression="group4")
    Image.merge("LA", [gray, alpha]).save(folder / "la.png")
    gray.convert("RGB").save(folder / "web.webp", lossless=True)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    gray.convert("RGB").save(folder / "srgb.png", icc_profile=srgb)
    return sorted(path.name for path in folder.iterdir())


def test_strips_give_what_whole_pictures_give(model, tmp_path, everything_in_strips, monkeypatch):
    (tmp_path / "photos").mkdir()
    names = _large_files(tmp_path / "photos")
    monkeypatch.setattr(bulk.decoding, "decode_layers", None)  # Nothing is decoded as a whole.
    assert colorize(model, tmp_path / "strips", tmp_path / "photos") == {}
    monkeypatch.undo()
    assert colorize(model, tmp_path / "whole", tmp_path / "photos") == {}
    assert len(tree(tmp_path / "strips")) == len(names) == 9
    for name in tree(tmp_path / "whole"):
        strips, whole = (read(tmp_path / folder / name) for folder in ("strips", "whole"))
        # libvips rounds what passes through a profile differently.
        atol = 1 if name.startswith("linear") else 0
        np.testing.assert_allclose(strips.astype(int), whole, atol=atol, err_msg=name)


def test_a_network_sees_a_smaller_copy_of_a_large_photograph(model, tmp_path, monkeypatch):
    monkeypatch.setattr(scans, "LARGE", 5000)
    monkeypatch.setattr(scans, "_REDUCED", 1000)
    smooth = np.linspace(60, 180, 100 * 120).reshape(100, 120).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.png")
    seen = []
    monkeypatch.setattr(
        bulk.detection, "has_color", lambda rgb: seen.append(rgb) or False, raising=True
    )
    assert colorize(model, tmp_path / "out", tmp_path / "a.png") == {}
    assert seen[0].shape == (33, 40, 3)
    np.testing.assert_allclose(seen[0][..., 0], smooth[1:99:3, 1::3], atol=1)
    np.testing.assert_allclose(
        deep_lightness(read(tmp_path / "out" / "a.png")), lightness(smooth), atol=0.5
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("format", ["png", "tiff", "jpeg"])
def test_metadata_of_scans_keeps_its_bytes(model, tmp_path, everything_in_strips, order, format):
    block = tiff_files.exif(order, orientation=6)
    Image.fromarray(ramp()).save(tmp_path / "a.png", exif=b"Exif\0\0" + block)
    assert colorize(model, tmp_path / "out", tmp_path / "a.png", format=format) == {}
    (path,) = (tmp_path / "out").iterdir()
    with Image.open(path) as image:
        image.load()
        assert image.size == (HEIGHT, WIDTH)
        exif = image.getexif()
        found = image.info.get("exif") or path.read_bytes()
    caption = tiff_files.CAPTIONS["UTF-8"]
    assert caption in found and tiff_files.comment(order) in found
    assert 0x0112 not in exif or exif[0x0112] == 1
    assert (exif[0x011A], exif[0x011B]) == (98, 204)
    assert exif.endian == order
    L = deep_lightness(read(path))
    np.testing.assert_allclose(
        L, deep_lightness(ramp().T[:, ::-1]), atol=1.5 if format == "jpeg" else 0.002
    )


@pytest.mark.parametrize("format, key", [("png", "dpi"), ("tiff", "dpi"), ("jpeg", "jfif_unit")])
def test_no_resolution_is_made_up(model, tmp_path, everything_in_strips, format, key):
    encoded = encode(ramp())
    for name, options in (("none", {}), ("stated", {"dpi": (300, 300)})):
        Image.open(io.BytesIO(encoded)).save(tmp_path / f"{name}.png", **options)
        given = tmp_path / f"{name}.png"
        assert colorize(model, tmp_path / "out", given, format=format) == {}
    paths = {path.stem: path for path in (tmp_path / "out").iterdir()}
    with Image.open(paths["none"]) as none, Image.open(paths["stated"]) as stated:
        if format == "tiff":  # Pillow makes up what a TIFF does not state.
            assert 282 not in none.tag_v2 and 296 not in none.tag_v2
        else:
            assert not none.info.get(key)
        assert stated.info["dpi"] == pytest.approx((300, 300), abs=0.01)


def test_a_scan_that_ends_early_is_refused(model, tmp_path, everything_in_strips):
    for name in ("a.tif", "b.png", "c.jpg"):
        photograph(tmp_path / name, height=300, width=300)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    failed = colorize(model, tmp_path / "out", *sorted(tmp_path.glob("?.*")))
    assert len(failed) == 3 and tree(tmp_path / "out") == []
    for path, sentence in failed.items():
        assert path in sentence and "\n" not in sentence and sentence.endswith(".")


def test_an_interruption_ends_a_scan(model, tmp_path, everything_in_strips, monkeypatch):
    photograph(tmp_path / "a.png", height=300, width=300)
    photograph(tmp_path / "b.png", 1)
    strips = 0
    predict = bulk.Colorizer.predict

    def interrupted(self, rgb, render_size):
        if rgb[0].shape[0] == 10:
            raise KeyboardInterrupt
        return predict(self, rgb, render_size)

    def counted(*given, **options):
        nonlocal strips
        for strip in joining_strips(*given, **options):
            strips += 1
            stopping.wait(0.05)
            yield strip

    stopping = threading.Event()
    joining_strips = joining.join_strips
    monkeypatch.setattr(bulk.Colorizer, "predict", interrupted)
    monkeypatch.setattr(joining, "join_strips", counted)
    with pytest.raises(KeyboardInterrupt):
        colorize(model, tmp_path / "out", tmp_path / "a.png", tmp_path / "b.png", batch_size=1)
    assert strips < 300 and tree(tmp_path / "out") == []


def test_max_megapixels(model, tmp_path):
    photograph(tmp_path / "a.png", height=1001, width=1000)
    (sentence,) = colorize(model, tmp_path / "out", tmp_path / "a.png", max_megapixels=1).values()
    assert "has more than 1 million pixels" in sentence and "--max_megapixels" in sentence
    assert colorize(model, tmp_path / "out", tmp_path / "a.png", max_megapixels=2) == {}


@pytest.mark.nightly
@pytest.mark.parametrize("bits", [8, 16])
def test_400_megapixels_take_less_than_3_gigabytes(model, tmp_path, bits):
    ramp = pyvips.Image.xyz(20000, 20000)[0] * (2**bits / 20000)
    ramp.cast("ushort" if bits == 16 else "uchar").tiffsave(str(tmp_path / "a.tif"))
    subprocess.run(
        [sys.executable, "-m", "koalagan.colorize", f"--saved_model={model}"]
        + [f"--output_dir={tmp_path}/out", f"{tmp_path}/a.tif"],
        check=True,
    )
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 3 * 2**20  # KB
    result = pyvips.Image.new_from_file(f"{tmp_path}/out/a.png")
    assert (result.width, result.height) == (20000, 20000)
