# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The signatures: any size and file format, the lightness unchanged."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import oracles
from helpers.exports import SIZE, assert_same_colors, photograph
from helpers.pictures import encode
from PIL import Image
from skimage.color import rgb2lab

from koalagan.color import lab
from koalagan.color.resizing import resize
from koalagan.data import decoding
from koalagan.exporting import savedmodel


def expected(networks, rgb):
    """The chain step by step, eagerly."""
    generator, embedding = networks
    L_small, _ = lab.rgb_to_lab(resize(rgb[None], SIZE))
    ab = generator({"L": L_small, "embedding": embedding(L_small)}, training=False)
    smaller = np.minimum(rgb.shape[:2], SIZE)
    L_small, ab = (tf.image.resize(part, smaller, antialias=True) for part in (L_small, ab))
    L, _ = lab.rgb_to_lab(rgb)
    ab = oracles.joint_bilateral_upsampling(L_small.numpy()[0, ..., 0], ab[0], L.numpy()[..., 0])
    return lab.lab_to_rgb(L, ab).numpy()


def test_there_are_exactly_three_signatures_with_the_documented_names(signatures):
    assert set(signatures) == {"serving_default", "colorize_bytes", "predict_ab"}
    contract = {
        "serving_default": ("image", [None] * 4, tf.uint8, "colorized", tf.uint8),
        "colorize_bytes": ("image_bytes", [None], tf.string, "colorized_bytes", tf.string),
        "predict_ab": ("L", [None, None, None, 1], tf.float32, "ab", tf.float32),
    }
    for name, (key, shape, dtype, output, output_dtype) in contract.items():
        signature = signatures[name]
        (spec,) = signature.structured_input_signature[1].items()
        assert spec[0] == key and spec[1].shape.as_list() == shape and spec[1].dtype == dtype
        assert list(signature.structured_outputs) == [output]
        assert signature.structured_outputs[output].dtype == output_dtype


@pytest.mark.parametrize("height, width", [(16, 24), (7, 5), (50, 41), (1, 1), (40, 16)])
def test_pictures_of_any_size_go_through_the_chain(networks, signatures, height, width):
    rgb = photograph(height, width)
    colorized = signatures["serving_default"](image=rgb[None])["colorized"].numpy()
    assert colorized.dtype == np.uint8 and colorized.shape == (1, height, width, 3)
    assert_same_colors(colorized[0], expected(networks, rgb))
    assert height < 16 or np.abs(colorized[0].astype(int) - rgb).max() > 20


def test_lightness_is_unchanged_even_under_impossible_colors(tmp_path):
    """The generator predicts the strongest colors that there are, everywhere."""
    L = keras.Input((None, None, 1), name="L")
    strongest = keras.layers.Lambda(
        lambda L: (
            tf.where(tf.random.stateless_uniform(tf.shape(L), [1, 2]) < 0.5, -1.0, 1.0)
            * tf.constant([1.0, -1.0])
        ),
        output_shape=lambda shape: (*shape[:-1], 2),
    )
    savedmodel.export(keras.Model({"L": L}, strongest(L)), {}, str(tmp_path / "model"), SIZE)
    signatures = tf.saved_model.load(str(tmp_path / "model")).signatures
    rgb = np.stack([photograph(60, 80, seed) for seed in range(3)])
    colorized = signatures["serving_default"](image=rgb)["colorized"].numpy()
    before, after = rgb2lab(rgb), rgb2lab(colorized)
    assert np.abs(after[..., 0] - before[..., 0]).max() < 1.0
    assert np.hypot(*np.moveaxis(after[..., 1:], -1, 0)).max() > 60


def test_a_gray_picture_may_have_one_channel_or_three(signatures):
    gray = photograph(30, 20)[None, ..., :1]
    one = signatures["serving_default"](image=gray)["colorized"]
    three = signatures["serving_default"](image=np.repeat(gray, 3, axis=-1))["colorized"]
    np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize("channels", [2, 4])
def test_other_numbers_of_channels_are_refused(signatures, channels):
    with pytest.raises(tf.errors.InvalidArgumentError, match="1 or 3 channels"):
        signatures["serving_default"](image=np.zeros((1, 8, 8, channels), np.uint8))


def test_a_batch_gives_the_results_of_its_pictures_alone(signatures):
    rgb = np.stack([photograph(20, 30, seed) for seed in range(3)])
    together = signatures["serving_default"](image=rgb)["colorized"].numpy()
    for picture, colorized in zip(rgb, together, strict=True):
        alone = signatures["serving_default"](image=picture[None])["colorized"][0]
        assert_same_colors(colorized, alone)


def test_bytes_of_different_sizes_and_formats_in_one_batch(signatures):
    rgb = [photograph(20 + 3 * seed, 31 - seed, seed) for seed in range(4)]
    gray = rgb[1][..., 0]
    encoded = [
        encode(rgb[0]),
        encode(rgb[0], "BMP"),
        encode(rgb[1], "JPEG"),
        encode(gray, "JPEG"),
        encode(gray),
        encode(gray, "BMP"),
        encode(gray.astype(np.uint16) * 257),
        encode(np.dstack([rgb[2], photograph(26, 29, 9)[..., 0]])),
        encode(photograph(9, 8)[..., :2]),
        encode(Image.fromarray(rgb[3]).quantize(8)),
        encode(Image.fromarray(rgb[3]).quantize(8), transparency=0),
        encode(Image.fromarray(gray).convert("1")),
        encode(Image.fromarray(rgb[3]).convert("CMYK"), "JPEG"),
    ]
    outputs = signatures["colorize_bytes"](image_bytes=tf.constant(encoded))["colorized_bytes"]
    assert outputs.shape == [len(encoded)]
    for number, (source, output) in enumerate(zip(encoded, outputs.numpy(), strict=True)):
        assert output.startswith(b"\x89PNG")
        picture = decoding.decode(source, "x")
        whole = signatures["serving_default"](image=picture[None])["colorized"][0]
        colorized = np.asarray(Image.open(io.BytesIO(output)))
        assert colorized.shape == picture.shape
        # Decoders differ by a level or two; a wrong channel or alpha would show far more.
        lightness = np.abs(rgb2lab(colorized)[..., 0] - rgb2lab(picture)[..., 0])
        assert lightness.max() < 2.0, number
        assert np.abs(colorized.astype(int) - whole).mean() < 2.0, number


def test_bmp_ignores_the_unused_fourth_byte(signatures):
    rgb = photograph(8, 9)
    encoded = encode(np.dstack([rgb, np.zeros((8, 9), np.uint8)]), "BMP")
    output = signatures["colorize_bytes"](image_bytes=[encoded])["colorized_bytes"][0]
    colorized = np.asarray(Image.open(io.BytesIO(output.numpy())))
    assert np.abs(rgb2lab(colorized)[..., 0] - rgb2lab(rgb)[..., 0]).max() < 1.0


def test_predict_ab_takes_other_sizes(networks, signatures):
    generator, embedding = networks
    for height, width in ((16, 24), (32, 8)):
        L = tf.random.stateless_uniform((2, height, width, 1), [0, 1], -1, 1)
        ab = signatures["predict_ab"](L=L)["ab"].numpy()
        wanted = generator({"L": L, "embedding": embedding(L)}, training=False)
        assert ab.shape == (2, height, width, 2) and ab.dtype == np.float32
        np.testing.assert_allclose(ab, wanted, atol=1e-5)


def colorized_bytes(signatures, *files):
    given = tf.constant(files, tf.string, shape=[len(files)])
    results = signatures["colorize_bytes"](image_bytes=given)["colorized_bytes"].numpy()
    return [np.asarray(Image.open(io.BytesIO(result))) for result in results]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_bytes_are_turned_upright(signatures, kind, orientation):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Kodak", orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    encoded = encode(photograph(20, 30), kind, exif=exif, **options)
    upright = decoding.decode(encoded, "x")
    (got,) = colorized_bytes(signatures, encoded)
    expected = signatures["serving_default"](image=upright[None])["colorized"].numpy()[0]
    assert got.shape == upright.shape
    assert_same_colors(got, expected)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
@pytest.mark.parametrize("kind", ["BMP", "PNG", "GIF"])
def test_bytes_are_decoded_as_koalagan_does_or_refused(signatures, kind, mode):
    encoded = encode(Image.fromarray(photograph(20, 30)).convert(mode), kind)
    if (kind, mode) == ("BMP", "1"):
        with pytest.raises(tf.errors.InvalidArgumentError, match="BMP pictures must have 8, 24"):
            colorized_bytes(signatures, encoded)
        return
    rgb = decoding.decode(encoded, "x")
    expected = signatures["serving_default"](image=rgb[None])["colorized"].numpy()[0]
    assert_same_colors(colorized_bytes(signatures, encoded)[0], expected)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_transparent_color_of_a_png_is_white(signatures, mode):
    image = Image.fromarray(photograph(20, 30)).convert(mode)
    encoded = encode(image, "PNG", transparency=image.getpixel((3, 3)))
    rgb = decoding.decode(encoded, "x")
    assert (rgb[3, 3] == 255).all()
    expected = signatures["serving_default"](image=rgb[None])["colorized"].numpy()[0]
    assert_same_colors(colorized_bytes(signatures, encoded)[0], expected)


@pytest.mark.parametrize("height, width", [(20, 30), (7, 9)])
def test_predict_ab_answers_in_the_size_of_its_input(signatures, height, width):
    L, _ = lab.rgb_to_lab(photograph(height, width)[None])
    assert signatures["predict_ab"](L=L)["ab"].shape == (1, height, width, 2)


def test_an_empty_batch_gives_an_empty_batch(signatures):
    image = tf.zeros([0, 20, 30, 3], tf.uint8)
    assert signatures["serving_default"](image=image)["colorized"].shape == (0, 20, 30, 3)
    assert colorized_bytes(signatures) == []
    assert signatures["predict_ab"](L=tf.zeros([0, 16, 24, 1]))["ab"].shape == (0, 16, 24, 2)
