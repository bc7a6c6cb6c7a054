# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Pictures of every kind become uint8 sRGB, upright; bad ones give clear errors."""

import concurrent.futures
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from helpers import tiff_files
from helpers.pictures import encode, gray_profile, picture
from PIL import Image

from koalagan.data import decoding, picture_file
from koalagan.errors import UserError


def test_decode_color_is_exact():
    rgb = picture()
    for kind in ("PNG", "BMP", "TIFF"):
        decoded = decoding.decode(encode(rgb, kind), "x")
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, rgb)


@pytest.mark.parametrize(
    "orientation, stored",
    [
        (1, lambda upright: upright),
        (2, np.fliplr),
        (3, lambda upright: np.rot90(upright, 2)),
        (4, np.flipud),
        (5, lambda upright: upright.transpose(1, 0, 2)),
        (6, lambda upright: np.rot90(upright, 1)),
        (7, lambda upright: np.rot90(upright, 2).transpose(1, 0, 2)),
        (8, lambda upright: np.rot90(upright, -1)),
    ],
)
def test_decode_turns_pictures_upright(orientation, stored):
    upright = picture()
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(np.ascontiguousarray(stored(upright)), exif=exif)
    np.testing.assert_array_equal(decoding.decode(encoded, "x"), upright)


def tiff(values, *, bits, white_is_zero=False):
    """A TIFF of one row of gray values, of a kind that Pillow reads and does not write."""
    if bits == 16:
        data = np.asarray(values, "<u2").tobytes()
    else:
        packed = "".join(f"{value:012b}" for value in values)
        data = int(packed.ljust(-(-len(packed) // 8) * 8, "0"), 2).to_bytes(
            -(-len(packed) // 8), "big"
        )
    tags = {256: len(values), 257: 1, 258: bits, 259: 1, 262: 0 if white_is_zero else 1}
    tags |= {273: 8, 277: 1, 278: 1, 279: len(data)}
    header = b"II*\0" + struct.pack("<I", 8 + len(data) + len(data) % 2)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    body = data + b"\0" * (len(data) % 2)
    return header + body + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)


def test_decode_scales_tiffs_of_12_and_16_bits():
    deep = [0, 1000, 30000, 65535]
    as_8_bits = np.round(np.array(deep) / 257)
    for white_is_zero, expected in ((False, as_8_bits), (True, 255 - as_8_bits)):
        decoded = decoding.decode(tiff(deep, bits=16, white_is_zero=white_is_zero), "a")
        np.testing.assert_array_equal(decoded[0, :, 0], expected)
    twelve = decoding.decode(tiff([0, 1024, 2048, 4095], bits=12), "a")
    np.testing.assert_allclose(twelve[0, :, 0], [0, 63.8, 127.5, 255], atol=0.6)


def test_decode_grayscale_of_1_8_and_16_bits():
    gray = picture(channels=0)
    expected = np.repeat(gray[..., None], 3, axis=-1)
    np.testing.assert_array_equal(decoding.decode(encode(gray), "x"), expected)
    deep = gray.astype(np.uint16) * 257
    for kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(decoding.decode(encode(deep, kind), "x"), expected)
    between = np.array([[0, 128, 129, 65535 - 128, 65535 - 129, 65535]], np.uint16)
    np.testing.assert_array_equal(
        decoding.decode(encode(between), "x")[0, :, 0], np.rint(between[0] / 257)
    )
    one_bit = Image.fromarray(gray).convert("1", dither=Image.Dither.NONE)
    np.testing.assert_array_equal(
        decoding.decode(encode(one_bit), "x")[..., 1], np.where(gray > 127, 255, 0)
    )


def test_decode_palette():
    image = Image.fromarray(picture()).quantize(8)
    expected = np.array(image.getpalette(), np.uint8).reshape(-1, 3)[np.asarray(image)]
    for kind in ("PNG", "GIF", "BMP"):
        np.testing.assert_array_equal(decoding.decode(encode(image, kind), "x"), expected)


def test_decode_cmyk():
    cmyk = np.zeros((16, 16, 4), np.uint8)
    cmyk[..., 1:3] = 255  # Full magenta and full yellow give red.
    for kind in ("JPEG", "TIFF"):
        decoded = decoding.decode(encode(Image.fromarray(cmyk, "CMYK"), kind), "x")
        np.testing.assert_allclose(decoded, np.broadcast_to([255, 0, 0], (16, 16, 3)), atol=3)


@pytest.mark.parametrize("channels", [2, 4])
def test_decode_composites_transparency_over_white(channels):
    image = picture(channels=channels)
    color, alpha = image[..., :-1] / 255, image[..., -1:] / 255
    expected = np.broadcast_to(255 * (color * alpha + 1 - alpha), (6, 9, 3))
    np.testing.assert_allclose(decoding.decode(encode(image), "x"), expected, atol=1)


def test_decode_transparent_palette_entry():
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([0, 0, 0, 10, 20, 30])
    decoded = decoding.decode(encode(image, transparency=0), "x")
    np.testing.assert_array_equal(decoded, [[[255, 255, 255], [10, 20, 30]]])


def icc_profile(space: bytes, colorants: dict[bytes, tuple], gamma: float) -> bytes:
    """A version 2 profile of a display: its primaries under D50, and one gamma."""

    def s15(*values):
        return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))

    white = (0.9642, 1.0, 0.8249)
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    desc = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {b"desc": desc, b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": None}
    tags |= {name: None for name in colorants}
    xyz = {b"wtpt": white, **colorants}
    tags |= {name: b"XYZ " + bytes(4) + s15(*values) for name, values in xyz.items()}
    curves = (b"kTRC",) if space == b"GRAY" else (b"rTRC", b"gTRC", b"bTRC")
    tags |= dict.fromkeys(curves, curve)
    table, data, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content
    header = struct.pack(">I4sI4s4s4s", start + len(data), b"", 0x02100000, b"mntr", space, b"XYZ ")
    header = header.ljust(36, b"\0") + b"acsp"
    header = header.ljust(68, b"\0") + s15(*white)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


# The primaries of sRGB under D50, as in every sRGB profile.
SRGB_COLORANTS = {
    b"rXYZ": (0.43607, 0.22249, 0.01392),
    b"gXYZ": (0.38515, 0.71687, 0.09708),
    b"bXYZ": (0.14307, 0.06061, 0.71410),
}


def srgb_of_linear(values):
    linear = values / 255
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * curve


def test_decode_converts_colors_by_their_profile():
    rgb = picture(height=32, width=32)
    red, green, blue = SRGB_COLORANTS.values()
    linear = icc_profile(b"RGB ", SRGB_COLORANTS, 1.0)
    mixed = icc_profile(b"RGB ", {b"rXYZ": blue, b"gXYZ": red, b"bXYZ": green}, 1.0)
    for kind in ("PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        decoded = decoding.decode(encode(rgb, kind, icc_profile=linear, **options), "x")
        np.testing.assert_allclose(decoded, srgb_of_linear(rgb), atol=1.6)
    decoded = decoding.decode(encode(rgb, icc_profile=mixed), "x")
    np.testing.assert_allclose(decoded, srgb_of_linear(rgb[..., [1, 2, 0]]), atol=1.6)


def test_decode_converts_other_kinds_of_pictures_by_their_profile():
    gray = picture(channels=0)
    decoded = decoding.decode(encode(gray, icc_profile=icc_profile(b"GRAY", {}, 1.8)), "x")
    linear = 255 * (gray / 255) ** 1.8
    expected = np.repeat(srgb_of_linear(linear)[..., None], 3, axis=-1)
    np.testing.assert_allclose(decoded, expected, atol=1.6)
    linear = icc_profile(b"RGB ", SRGB_COLORANTS, 1.0)
    rgba = picture(channels=4)
    rgba[..., 3] = 255
    decoded = decoding.decode(encode(rgba, icc_profile=linear), "x")
    np.testing.assert_allclose(decoded, srgb_of_linear(rgba[..., :3]), atol=1.6)
    palette = Image.fromarray(picture()).quantize(8)
    decoded = decoding.decode(encode(palette, icc_profile=linear), "x")
    expected = srgb_of_linear(np.asarray(palette.convert("RGB")))
    np.testing.assert_allclose(decoded, expected, atol=1.6)


def test_decode_ignores_a_profile_that_does_not_fit():
    rgb, gray = picture(), picture(channels=0)
    linear = icc_profile(b"RGB ", SRGB_COLORANTS, 1.0)
    as_srgb = linear.replace(b"test", b"sRGB")
    for profile in (b"broken", linear[:200], icc_profile(b"GRAY", {}, 1.0), as_srgb):
        np.testing.assert_array_equal(decoding.decode(encode(rgb, icc_profile=profile), "x"), rgb)
    decoded = decoding.decode(encode(gray, icc_profile=linear), "x")
    np.testing.assert_array_equal(decoded, np.repeat(gray[..., None], 3, axis=-1))


def test_decode_accepts_a_good_picture_with_broken_exif():
    good = picture()
    encoded = encode(good, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09broken")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(decoding.decode(encoded, "x"), good)


def test_decode_refuses_bad_pictures(tmp_path):
    jpeg, png = (encode(picture(height=64, width=64), kind) for kind in ("JPEG", "PNG"))
    floats = encode(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF")
    bad = [b"", b"text", jpeg[: len(jpeg) // 2], png[: len(png) // 2], jpeg[:30], floats]
    bad.append(png[:200] + bytes(20) + png[220:])
    bad.append(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    for number, encoded in enumerate(bad):
        with pytest.raises(picture_file.BadPicture, match=f"holiday/{number}.jpg") as info:
            decoding.decode(encoded, f"holiday/{number}.jpg")
        assert isinstance(info.value, UserError)
        assert "\n" not in str(info.value) and str(info.value).endswith(".")
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(encoded)
        with pytest.raises(picture_file.BadPicture) as from_a_file:
            decoding.decode(str(path), f"holiday/{number}.jpg")
        assert str(from_a_file.value) == str(info.value)


def test_decode_refuses_decompression_bombs_and_is_quiet_about_large_pictures(monkeypatch):
    encoded = encode(picture(height=10, width=10))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = picture_file.Page(encoded, max_pixels=100)
        assert decoding.decode_page(page, "x").shape == (10, 10, 3)
        with pytest.raises(picture_file.BadPicture, match="The picture x has more than"):
            decoding.decode_page(picture_file.Page(encoded, max_pixels=99), "x")
    assert Image.MAX_IMAGE_PIXELS == 60
    # A PNG of a few bytes that claims 200 megapixels.
    header = struct.pack(">4sII5B", b"IHDR", 20000, 10000, 8, 0, 0, 0, 0)
    bomb = encoded[:12] + header + struct.pack(">I", zlib.crc32(header)) + encoded[33:]
    with pytest.raises(picture_file.BadPicture, match="more than 178 million pixels"):
        decoding.decode(bomb, "x")


def test_decode_in_threads_keeps_pictures_and_warning_filters(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)  # Every picture triggers a warning.
    encoded = [encode(picture(seed, height=10, width=10)) for seed in range(8)]
    before = list(warnings.filters)
    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        decoded = list(executor.map(decoding.decode, encoded * 25, "abcdefgh" * 25))
    assert list(warnings.filters) == before
    for number, rgb in enumerate(decoded):
        np.testing.assert_array_equal(rgb, picture(number % 8, height=10, width=10))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("gamma", [1.0, 1.8])
def test_decode_converts_16_bit_grays_by_their_profile_as_8_bit_ones(kind, gamma):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    profile = gray_profile(gamma)
    expected = decoding.decode(encode(levels, kind, icc_profile=profile), "x")
    assert np.abs(expected[..., 0].astype(int) - levels).max() > 15
    deep = decoding.decode(encode(levels.astype(np.uint16) * 257, kind, icc_profile=profile), "x")
    np.testing.assert_allclose(deep, expected, atol=1)


def test_decode_lays_the_transparent_value_of_16_bit_grays_over_white():
    levels = (np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8)
    decoded = decoding.decode(encode(levels, "PNG", transparency=5000), "x")
    assert (decoded[0, 5] == 255).all()
    decoded[0, 5] = 19
    np.testing.assert_array_equal(decoded[..., 0], np.round(levels / 257))


@pytest.mark.parametrize("kind", ["JPEG2000", "AVIF"])
def test_decode_reads_newer_formats(kind):
    rgb = picture()
    decoded = decoding.decode(encode(rgb, kind), "x")
    assert decoded.shape == rgb.shape
    if kind == "JPEG2000":  # without loss
        np.testing.assert_array_equal(decoded, rgb)


def gray_levels(encoded):
    return [int(decoding.decode_page(page, "x")[0, 0, 0]) for page in picture_file.pages(encoded)]


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_full_size_image_and_not_its_thumbnail_is_the_picture(order):
    kind = {"reduced": tiff_files.long(0x00FE, 1), "old": tiff_files.short(0x00FF, 2)}
    data = bytes([200]) * 12 + bytes([50]) * 600
    full = tiff_files.picture(order, 50, 20, 30)[0]
    full[5] = tiff_files.long(0x0111, 20)
    for flag in kind.values():
        small = tiff_files.picture(order, 200, 3, 4, flag)[0]
        # The full-size image in the next directory, and, as in raw files, in one below.
        chained = tiff_files.structure(order, small, full, data=data)
        below = tiff_files.structure(order, [*small, tiff_files.inner(0x014A, full)], data=data)
        for encoded in (chained, below):
            assert decoding.decode(encoded, "x").shape == (20, 30, 3)
            assert gray_levels(encoded) == [50]
    # A file of nothing but a reduced copy shows it.
    assert gray_levels(tiff_files.structure(order, small, data=data)) == [200]


def test_pages_and_frames():
    pages = [
        Image.fromarray(np.full((6, 8 + number), 90 * number, np.uint8)) for number in range(3)
    ]
    assert gray_levels(encode_all(pages, "TIFF")) == [0, 90, 180]
    frames = [page.resize((8, 6)) for page in pages]
    for kind in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        assert gray_levels(encode_all(frames, kind, **options)) == [0, 90, 180]
    assert len(picture_file.pages(encode_all(frames, "MPO"))) == 1  # the others are previews
    assert len(picture_file.pages(b"no picture")) == 1


def encode_all(images, kind, **options):
    file = io.BytesIO()
    images[0].save(file, kind, save_all=True, append_images=images[1:], **options)
    return file.getvalue()


def test_a_chain_of_directories_that_ends_in_itself():
    entries, data = tiff_files.picture("<", 50, 3, 4)
    encoded = bytearray(tiff_files.structure("<", entries, entries, data=data))
    encoded[-4:] = encoded[4:8]  # the last directory is followed by the first
    assert gray_levels(bytes(encoded)) == [50, 50]
