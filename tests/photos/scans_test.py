# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Scans: results of 16 bits, and photographs that are joined with their colors in strips."""

import base64
import io
import re
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
from PIL import Image, ImageCms
from skimage.color import rgb2lab

from koalagan.data.picture_file import Page
from koalagan.inference import joining
from koalagan.photos import bulk, scan_writing, scans
from koalagan.photos.metadata import Metadata

HEIGHT, WIDTH = 40, 60


def ramp():
    """Grays that 8 bits cannot tell apart, uint16 [H, W]: 10 levels of 8 bits in 2400 steps."""
    return (30000 + np.arange(HEIGHT * WIDTH)).reshape(HEIGHT, WIDTH).astype(np.uint16)


def write(path, array, interpretation="rgb16", **options):
    """Writes an array as a picture file of 16 bits by libvips."""
    image = pyvips.Image.new_from_array(array).copy(interpretation=interpretation)
    image.write_to_file(str(path), **options)


def read(path):
    """A result as an array, of as many bits as it has."""
    return pyvips.Image.new_from_file(str(path)).numpy()


def deep_lightness(array):
    """L* of uint16 or uint8 pixels [H, W] or [H, W, 3]."""
    array = array / np.float64(np.iinfo(array.dtype).max)
    return rgb2lab(np.dstack([array] * 3) if array.ndim == 2 else array[..., :3])[..., 0]


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
