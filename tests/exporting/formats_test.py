# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""LiteRT and ONNX: their own runtimes give the results of the networks."""

import json

import keras
import numpy as np
import onnxruntime
import pytest
import skimage.data
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from helpers import exports

from koalagan.color import lab
from koalagan.errors import UserError
from koalagan.exporting import formats, savedmodel
from koalagan.exporting.settings import ExportSettings
from koalagan.models import GENERATORS

SIZE = (32, 48)


@pytest.fixture(scope="module")
def generator():
    return exports.generator(segmentation=True)


@pytest.fixture(scope="module")
def frozen():
    return {"embedding": exports.embedding(), "segmentation": exports.segmentation()}


@pytest.fixture(scope="module")
def L():
    rgb = skimage.data.astronaut()[None, 100:228, 160:352]
    small = tf.cast(tf.image.resize(rgb, SIZE), tf.uint8)
    return lab.rgb_to_lab(small)[0].numpy()


def write(generator, frozen, folder, format, dtype="float32", size=SIZE, given=()):
    settings = ExportSettings(format=format, export_dtype=dtype)
    savedmodel.export(generator, frozen, str(folder), size, settings, given=given)
    return folder


def litert(folder, **inputs):
    interpreter = Interpreter(model_path=str(folder / "model.tflite"))
    (output,) = interpreter.get_signature_runner()(**inputs).items()
    assert output[0] == "ab"
    return output[1]


def onnx(folder, **inputs):
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    assert {one.name for one in session.get_inputs()} == set(inputs)
    assert [one.name for one in session.get_outputs()] == ["ab"]
    return session.run(None, inputs)[0]


RUNTIMES = {"tflite": litert, "onnx": onnx}


@pytest.mark.parametrize("included", [True, False], ids=["included", "inputs"])
@pytest.mark.parametrize(
    "format, dtype, tolerance",
    [
        ("tflite", "float32", 1e-5),
        ("tflite", "float16", 2e-2),
        ("tflite", "int8", 0.1),
        ("onnx", "float32", 1e-5),
    ],
)
def test_its_own_runtime_gives_the_results_of_the_networks(
    generator, frozen, L, tmp_path, format, dtype, tolerance, included
):
    outputs = {name: network(L).numpy() for name, network in frozen.items()}
    expected = generator({"L": L, **outputs}).numpy()
    networks, given = (frozen, {}) if included else ({}, outputs)
    folder = write(generator, networks, tmp_path / "m", format, dtype, given=tuple(given))
    ab = RUNTIMES[format](folder, L=L, **given)
    assert ab.shape == expected.shape and np.abs(ab - expected).max() < tolerance
    facts = json.loads((folder / "assets.extra" / "koalagan.json").read_text())
    assert facts["format"] == format and facts.get("weights", "float32") == dtype
    if format == "onnx":  # takes batches
        two = np.concatenate([L, -L])
        given = {name: np.concatenate([given[name]] * 2) for name in given}
        alone = [
            onnx(folder, L=one[None], **{name: both[:1] for name, both in given.items()})
            for one in two
        ]
        np.testing.assert_allclose(onnx(folder, L=two, **given), np.concatenate(alone), atol=1e-5)


@pytest.mark.parametrize("name", ["inception_fusion", "koalarization", "unet", "resnet18_unet"])
def test_every_generator_can_be_converted(name, tmp_path):
    keras.utils.set_random_seed(0)
    side = 256 if name == "unet" else 64
    generator = GENERATORS[name](image_size=(None, None))
    rng = np.random.default_rng(0)
    inputs = {
        "L": rng.uniform(-1, 1, (1, side, side, 1)),
        "embedding": rng.normal(size=(1, 1001)),
        "segmentation": rng.normal(size=(1, side // 4, side // 4, 21)),
    }
    inputs = {key: inputs[key].astype(np.float32) for key in generator.input}
    expected = generator(inputs, training=False).numpy()
    given = tuple(set(inputs) - {"L"})
    for format, run in RUNTIMES.items():
        folder = write(generator, {}, tmp_path / format, format, size=(side, side), given=given)
        np.testing.assert_allclose(run(folder, **inputs), expected, atol=1e-4)


@pytest.mark.parametrize("format", formats.FORMATS)
def test_a_model_that_cannot_be_converted(tmp_path, format):
    with pytest.raises(UserError, match="operators that .* does not have.*dropout_at_inference"):
        write(exports.noisy_generator(), {}, tmp_path / "m", format)
    assert not any(tmp_path.iterdir())


def test_a_format_whose_packages_are_missing(generator, frozen, tmp_path, monkeypatch):
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs tf2onnx: pip install 'koalagan\[onnx\]'"):
        write(generator, frozen, tmp_path / "m", "onnx")
