# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The SavedModel: loaded without koalagan, any size and file format, the lightness untouched."""

import io
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import oracles
from PIL import Image
from skimage.color import rgb2lab

import koalagan
from koalagan import export
from koalagan.color import lab
from koalagan.data import decoding
from koalagan.data.decoding import resize
from koalagan.errors import UserError
from koalagan.inference import saved_model
from koalagan.models.layers.dropout import Dropout

SIZE = (16, 24)


def tiny_embedding():
    L = keras.Input((None, None, 1), name="L")
    pooled = keras.layers.GlobalAveragePooling2D()(L)
    logits = keras.layers.Dense(1001, kernel_initializer=keras.initializers.RandomNormal(seed=1))
    return keras.Model(L, logits(pooled))


def tiny_segmentation():
    """Scores at half the size, which tell where in the picture they are."""
    L = keras.Input((None, None, 1), name="L")
    start = keras.initializers.RandomNormal(seed=3)
    return keras.Model(L, keras.layers.Conv2D(21, 3, 2, "same", kernel_initializer=start)(L))


def tiny_generator(embedding=True, segmentation=False):
    """Colours that vary over the picture and with the embedding, many of them out of gamut."""
    L = keras.Input((None, None, 1), name="L")
    inputs = {"L": L}
    start = keras.initializers.RandomNormal(stddev=1.5, seed=2)
    x = keras.layers.Conv2D(4, 3, 2, "same", activation="relu", kernel_initializer=start)(L)
    if embedding:
        inputs["embedding"] = keras.Input((1001,), name="embedding")
        x = keras.layers.Add()(
            [x, keras.layers.Reshape((1, 1, 4))(keras.layers.Dense(4)(inputs["embedding"]))]
        )
    if segmentation:
        inputs["segmentation"] = keras.Input((None, None, 21), name="segmentation")
        seen = keras.layers.Conv2D(4, 1, kernel_initializer=start)(inputs["segmentation"])
        x = keras.layers.Add()([x, seen])
    x = keras.layers.Conv2D(2, 3, padding="same", activation="tanh", kernel_initializer=start)(x)
    return keras.Model(inputs, keras.layers.UpSampling2D()(x))


@pytest.fixture(scope="module")
def models():
    keras.utils.set_random_seed(0)
    return tiny_generator(), tiny_embedding()


@pytest.fixture(scope="module")
def saved(models, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model"
    export.export_savedmodel(*models, str(path), SIZE, metadata={"generator": "tiny"})
    return path


@pytest.fixture(scope="module")
def signatures(saved):
    return tf.saved_model.load(str(saved)).signatures


def photograph(height, width, seed=0):
    """Smooth strong colours with noise, black and white corners."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 5, 3)).astype(np.float32)
    smooth = tf.image.resize(coarse, (height, width)).numpy()
    rgb = np.clip(smooth + rng.normal(0, 20, smooth.shape), 0, 255).astype(np.uint8)
    rgb[0, 0], rgb[-1, -1] = 0, 255
    return rgb


def encode(image, kind="PNG", **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def expected(models, rgb):
    """The chain of DESIGN section 8, step by step and eagerly."""
    generator, embedding = models
    L_small, _ = lab.rgb_to_lab(resize(rgb[None], SIZE))
    ab = generator({"L": L_small, "embedding": embedding(L_small)}, training=False)
    smaller = np.minimum(rgb.shape[:2], SIZE)
    L_small, ab = (tf.image.resize(part, smaller, antialias=True) for part in (L_small, ab))
    L, _ = lab.rgb_to_lab(rgb)
    ab = oracles.joint_bilateral_upsampling(L_small.numpy()[0, ..., 0], ab[0], L.numpy()[..., 0])
    return lab.lab_to_rgb(L, ab).numpy()


def assert_same_colours(first, second):
    """Equal but for float32 rounding, which the way back into the gamut may amplify a little."""
    difference = np.abs(np.asarray(first, int) - np.asarray(second, int))
    assert difference.max() <= 6 and difference.mean() < 0.1


def test_there_are_exactly_three_signatures_with_the_promised_names(signatures):
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
def test_pictures_of_any_size_go_through_the_chain(models, signatures, height, width):
    rgb = photograph(height, width)
    colorized = signatures["serving_default"](image=rgb[None])["colorized"].numpy()
    assert colorized.dtype == np.uint8 and colorized.shape == (1, height, width, 3)
    assert_same_colours(colorized[0], expected(models, rgb))
    assert height < 16 or np.abs(colorized[0].astype(int) - rgb).max() > 20


def test_lightness_is_the_pictures_own_even_under_impossible_colours(tmp_path):
    """The generator asks everywhere for the strongest colours there are."""
    L = keras.Input((None, None, 1), name="L")
    strongest = keras.layers.Lambda(
        lambda L: (
            tf.where(tf.random.stateless_uniform(tf.shape(L), [1, 2]) < 0.5, -1.0, 1.0)
            * tf.constant([1.0, -1.0])
        ),
        output_shape=lambda shape: (*shape[:-1], 2),
    )
    generator = keras.Model({"L": L}, strongest(L))
    export.export_savedmodel(generator, None, str(tmp_path / "model"), SIZE)
    signatures = tf.saved_model.load(str(tmp_path / "model")).signatures
    rgb = np.stack([photograph(60, 80, seed) for seed in range(3)])
    colorized = signatures["serving_default"](image=rgb)["colorized"].numpy()
    before, after = rgb2lab(rgb), rgb2lab(colorized)
    assert np.abs(after[..., 0] - before[..., 0]).max() < 1.0
    assert np.hypot(*np.moveaxis(after[..., 1:], -1, 0)).max() > 60


def test_a_grey_picture_may_have_one_channel_or_three(signatures):
    grey = photograph(30, 20)[None, ..., :1]
    one = signatures["serving_default"](image=grey)["colorized"]
    three = signatures["serving_default"](image=np.repeat(grey, 3, axis=-1))["colorized"]
    np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize("channels", [2, 4])
def test_other_numbers_of_channels_are_refused(signatures, channels):
    with pytest.raises(tf.errors.InvalidArgumentError, match="1 or 3 channels"):
        signatures["serving_default"](image=np.zeros((1, 8, 8, channels), np.uint8))


def test_a_batch_gives_what_its_pictures_give_alone(signatures):
    rgb = np.stack([photograph(20, 30, seed) for seed in range(3)])
    together = signatures["serving_default"](image=rgb)["colorized"].numpy()
    for picture, colorized in zip(rgb, together, strict=True):
        alone = signatures["serving_default"](image=picture[None])["colorized"][0]
        assert_same_colours(colorized, alone)


def test_bytes_of_different_sizes_and_formats_in_one_batch(signatures):
    rgb = [photograph(20 + 3 * seed, 31 - seed, seed) for seed in range(4)]
    grey = rgb[1][..., 0]
    encoded = [
        encode(rgb[0]),
        encode(rgb[0], "BMP"),
        encode(rgb[1], "JPEG"),
        encode(grey, "JPEG"),
        encode(grey),
        encode(grey, "BMP"),
        encode(grey.astype(np.uint16) * 257),
        encode(np.dstack([rgb[2], photograph(26, 29, 9)[..., 0]])),
        encode(photograph(9, 8)[..., :2]),
        encode(Image.fromarray(rgb[3]).quantize(8)),
        encode(Image.fromarray(rgb[3]).quantize(8), transparency=0),
        encode(Image.fromarray(grey).convert("1")),
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
    encoded = bytearray(encode(np.dstack([rgb, np.zeros((8, 9), np.uint8)]), "BMP"))
    output = signatures["colorize_bytes"](image_bytes=[bytes(encoded)])["colorized_bytes"][0]
    colorized = np.asarray(Image.open(io.BytesIO(output.numpy())))
    assert np.abs(rgb2lab(colorized)[..., 0] - rgb2lab(rgb)[..., 0]).max() < 1.0


def test_predict_ab_takes_other_sizes(models, signatures):
    generator, embedding = models
    for height, width in ((16, 24), (32, 8)):
        L = tf.random.stateless_uniform((2, height, width, 1), [0, 1], -1, 1)
        ab = signatures["predict_ab"](L=L)["ab"].numpy()
        wanted = generator({"L": L, "embedding": embedding(L)}, training=False)
        assert ab.shape == (2, height, width, 2) and ab.dtype == np.float32
        np.testing.assert_allclose(ab, wanted, atol=1e-5)


def test_weights_are_stored_once(models, saved):
    weights = sum(4 * model.count_params() for model in models)
    stored = sum(path.stat().st_size for path in (saved / "variables").iterdir())
    graph = (saved / "saved_model.pb").stat().st_size
    assert weights <= stored < 1.5 * weights + 10_000
    assert graph < 1_000_000
    assert not list(saved.parent.glob("model.*"))


def test_description_lies_beside_the_model(saved):
    description = json.loads((saved / "assets.extra" / "koalagan.json").read_text())
    assert description == {
        "generator": "tiny",
        "image_size": list(SIZE),
        "koalagan": koalagan.__version__,
        "tensorflow": tf.__version__,
    }


def test_it_loads_where_there_is_no_koalagan(saved, signatures, tmp_path):
    rgb = photograph(20, 30)
    np.save(tmp_path / "rgb.npy", rgb)
    program = """
import sys
for name in ("koalagan", "keras", "keras_hub", "tensorflow_io", "tensorflow_datasets", "PIL"):
    sys.modules[name] = None
import numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
colorized = model.signatures["serving_default"](image=np.load("rgb.npy")[None])["colorized"]
np.save("colorized.npy", colorized[0])
"""
    finished = subprocess.run(
        [sys.executable, "-I", "-c", program, str(saved)],
        cwd=tmp_path,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    here = signatures["serving_default"](image=rgb[None])["colorized"][0]
    np.testing.assert_array_equal(np.load(tmp_path / "colorized.npy"), here)


def test_inputs_that_the_chain_cannot_give_are_an_error(models, tmp_path):
    with pytest.raises(ValueError, match="embedding"):
        export.export_savedmodel(models[0], None, str(tmp_path / "m"), SIZE)


def test_an_earlier_savedmodel_is_replaced_and_anything_else_kept(tmp_path):
    generator = tiny_generator(embedding=False)
    target = tmp_path / "deep" / "model"
    target.mkdir(parents=True)
    (target / "stale").write_text("")
    (target / "assets.extra").mkdir()
    (target / "assets.extra" / "koalagan.json").write_text('{"koalagan": "0.0.1"}')
    export.export_savedmodel(generator, None, str(target), (8, 8))
    assert tf.saved_model.contains_saved_model(str(target)) and not (target / "stale").exists()
    assert json.loads((target / "assets.extra/koalagan.json").read_text())["image_size"] == [8, 8]
    assert os.listdir(target.parent) == ["model"]

    diary = tmp_path / "diary"
    diary.mkdir()
    (diary / "today.txt").write_text("keep me")
    (tmp_path / "file").write_text("keep me")
    foreign = tmp_path / "foreign"  # somebody else's model is not ours to replace
    tf.saved_model.save(tf.Module(), str(foreign))
    for taken in (diary, tmp_path / "file", foreign):
        with pytest.raises(UserError, match="is no export of koalagan"):
            export.export_savedmodel(generator, None, str(taken), SIZE)
    assert (diary / "today.txt").read_text() == "keep me"
    with pytest.raises(UserError, match="cannot be written"):
        export.export_savedmodel(generator, None, str(tmp_path / "file" / "model"), SIZE)


def test_both_frozen_networks_are_inside(tmp_path):
    keras.utils.set_random_seed(0)
    networks = tiny_embedding(), tiny_segmentation()
    generator = tiny_generator(segmentation=True)
    path = str(tmp_path / "model")
    export.export_savedmodel(generator, networks[0], path, SIZE, segmentation=networks[1])
    L = lab.rgb_to_lab(photograph(*SIZE)[None])[0]
    inputs = {"L": L, "embedding": networks[0](L), "segmentation": networks[1](L)}
    loaded = tf.saved_model.load(path)
    np.testing.assert_allclose(
        loaded.signatures["predict_ab"](L=L)["ab"], generator(inputs), atol=1e-5
    )
    changed = {**inputs, "segmentation": -inputs["segmentation"]}
    assert np.abs(generator(inputs) - generator(changed)).max() > 1e-2
    with pytest.raises(ValueError, match="segmentation"):
        export.export_savedmodel(generator, networks[0], str(tmp_path / "other"), SIZE)


def test_dropout_at_inference_colours_one_picture_in_several_ways(tmp_path):
    L = keras.Input((None, None, 1), name="L")
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(L)
    x = Dropout(0.5, at_inference=True)(x)
    generator = keras.Model({"L": L}, keras.layers.Conv2D(2, 1, activation="tanh")(x))
    path = str(tmp_path / "model")
    export.export_savedmodel(generator, None, path, SIZE)
    loaded = tf.saved_model.load(path)
    picture = tf.constant(photograph(*SIZE)[None])
    first, second = (
        loaded.signatures["serving_default"](image=picture)["colorized"] for _ in range(2)
    )
    assert np.any(first != second)


def test_half_precision_hardly_moves_a_colour(models, saved, signatures, tmp_path):
    path = tmp_path / "half"
    export.export_savedmodel(*models, str(path), SIZE, dtype="float16")

    def stored(folder):
        return sum(file.stat().st_size for file in (folder / "variables").iterdir())

    kernels = sum(
        4 * int(np.prod(variable.shape))
        for model in models
        for variable in model.variables
        if len(variable.shape) > 1
    )
    assert stored(saved) - stored(path) == pytest.approx(kernels / 2, rel=0.1)
    assert json.loads((path / "assets.extra" / "koalagan.json").read_text())["weights"] == "float16"
    half = tf.saved_model.load(str(path)).signatures
    for seed in range(3):
        rgb = photograph(40, 50, seed)[None]
        ab = [s["predict_ab"](L=lab.rgb_to_lab(rgb)[0])["ab"].numpy() for s in (signatures, half)]
        assert 0 < np.abs(ab[0] - ab[1]).max() < 1e-2
        colours = [s["serving_default"](image=rgb)["colorized"].numpy() for s in (signatures, half)]
        # This generator asks for colours far outside sRGB, where little moves much.
        assert np.mean(np.abs(colours[0].astype(int) - colours[1]) <= 1) > 0.99


def test_dropout_goes_on_in_half_precision(tmp_path):
    L = keras.Input((None, None, 1), name="L")
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(L)
    x = Dropout(0.5, at_inference=True)(x)
    generator = keras.Model({"L": L}, keras.layers.Conv2D(2, 1, activation="tanh")(x))
    export.export_savedmodel(generator, None, str(tmp_path / "m"), SIZE, dtype="float16")
    loaded = tf.saved_model.load(str(tmp_path / "m"))
    grey = tf.constant(photograph(*SIZE)[None])
    first, second = (loaded.signatures["serving_default"](image=grey)["colorized"] for _ in "ab")
    assert np.any(first != second)


def test_what_the_frozen_networks_say_can_be_an_input(tmp_path):
    keras.utils.set_random_seed(0)
    embedding, segmentation = tiny_embedding(), tiny_segmentation()
    generator = tiny_generator(segmentation=True)
    whole, without = str(tmp_path / "whole"), str(tmp_path / "without")
    export.export_savedmodel(generator, embedding, whole, SIZE, segmentation=segmentation)
    export.export_savedmodel(generator, None, without, SIZE, given=("embedding", "segmentation"))
    rgb = np.stack([photograph(*SIZE, seed) for seed in range(2)])
    L = lab.rgb_to_lab(rgb)[0]
    given = {"embedding": embedding(L), "segmentation": segmentation(L)}
    inside, outside = (tf.saved_model.load(path).signatures for path in (whole, without))
    for name, inputs in (
        ("predict_ab", {"L": L}),
        ("serving_default", {"image": rgb}),
        ("colorize_bytes", {"image_bytes": [encode(picture) for picture in rgb]}),
    ):
        specs = outside[name].structured_input_signature[1]
        assert set(specs) == {*inputs, "embedding", "segmentation"}
        (expected,) = inside[name](**{k: tf.constant(v) for k, v in inputs.items()}).values()
        inputs = {key: tf.constant(value) for key, value in {**inputs, **given}.items()}
        (answer,) = outside[name](**inputs).values()
        if name == "colorize_bytes":
            answer, expected = (
                [tf.io.decode_png(one) for one in many] for many in (answer, expected)
            )
        difference = np.abs(np.asarray(answer, float) - np.asarray(expected, float))
        assert difference.mean() < 0.1 and difference.max() <= 6
    with pytest.raises(UserError, match="--frozen_inputs: .*needs embedding and segmentation"):
        saved_model.predictor(without)


def test_a_dtype_that_the_format_does_not_have(models, tmp_path):
    for format, dtype, has in (
        ("savedmodel", "int8", "float32 or float16"),
        ("onnx", "float16", "pass float32"),
    ):
        with pytest.raises(UserError, match=f"--format={format} .*--export_dtype={dtype}: .*{has}"):
            export.export_savedmodel(*models, str(tmp_path / "m"), SIZE, format=format, dtype=dtype)
    assert not any(tmp_path.iterdir())
