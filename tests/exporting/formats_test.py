# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""LiteRT's and ONNX's own runtimes give what the SavedModel gives."""

import json

import keras
import numpy as np
import onnxruntime
import pytest
import skimage.data
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from export_test import tiny_embedding, tiny_generator, tiny_segmentation

from koalagan import export
from koalagan.color import lab
from koalagan.errors import UserError
from koalagan.exporting import formats
from koalagan.models import GENERATORS
from koalagan.models.layers.dropout import Dropout

SIZE = (32, 48)


@pytest.fixture(scope="module")
def networks():
    keras.utils.set_random_seed(0)
    return tiny_generator(segmentation=True), tiny_embedding(), tiny_segmentation()


@pytest.fixture(scope="module")
def L():
    rgb = skimage.data.astronaut()[None, 100:228, 160:352]
    small = tf.cast(tf.image.resize(rgb, SIZE), tf.uint8)
    return lab.rgb_to_lab(small)[0].numpy()


def write(networks, folder, **options):
    generator, embedding, segmentation = networks
    if options.get("given"):
        embedding = segmentation = None
    export.export_savedmodel(
        generator, embedding, str(folder), SIZE, segmentation=segmentation, **options
    )
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


@pytest.mark.parametrize("given", [(), ("embedding", "segmentation")], ids=["inside", "inputs"])
@pytest.mark.parametrize(
    "format, dtype, tolerance",
    [
        ("tflite", "float32", 1e-5),
        ("tflite", "float16", 2e-2),
        ("tflite", "int8", 0.1),
        ("onnx", "float32", 1e-5),
    ],
)
def test_its_own_runtime_answers_as_the_networks_do(
    networks, L, tmp_path, format, dtype, tolerance, given
):
    generator, embedding, segmentation = networks
    says = {"embedding": embedding(L).numpy(), "segmentation": segmentation(L).numpy()}
    expected = generator({"L": L, **says}).numpy()
    folder = write(networks, tmp_path / "m", format=format, dtype=dtype, given=given)
    run = {"tflite": litert, "onnx": onnx}[format]
    ab = run(folder, L=L, **(says if given else {}))
    assert ab.shape == expected.shape and np.abs(ab - expected).max() < tolerance
    facts = json.loads((folder / "assets.extra" / "koalagan.json").read_text())
    assert facts["format"] == format and facts.get("weights", "float32") == dtype


def test_onnx_takes_batches(networks, L, tmp_path):
    folder = write(networks, tmp_path / "m", format="onnx")
    two = np.concatenate([L, -L])
    np.testing.assert_allclose(
        onnx(folder, L=two), np.concatenate([onnx(folder, L=one[None]) for one in two]), atol=1e-5
    )


@pytest.mark.parametrize("name", ["inception_fusion", "koalarization", "unet", "resnet18_unet"])
def test_every_generator_can_be_converted(name, tmp_path):
    keras.utils.set_random_seed(0)
    side = 256 if name == "unet" else 64
    takes = {"inception_fusion": ("embedding", "segmentation"), "koalarization": ("embedding",)}
    generator = GENERATORS[name](image_size=(None, None))
    rng = np.random.default_rng(0)
    inputs = {
        "L": rng.uniform(-1, 1, (1, side, side, 1)),
        "embedding": rng.normal(size=(1, 1001)),
        "segmentation": rng.normal(size=(1, side // 4, side // 4, 21)),
    }
    given = takes.get(name, ())
    inputs = {key: inputs[key].astype(np.float32) for key in ("L", *given)}
    expected = generator(inputs, training=False).numpy()
    for format, run in (("tflite", litert), ("onnx", onnx)):
        folder = tmp_path / format
        export.export_savedmodel(
            generator, None, str(folder), (side, side), given=given, format=format
        )
        np.testing.assert_allclose(run(folder, **inputs), expected, atol=1e-4)


@pytest.mark.parametrize("format", formats.FORMATS)
def test_what_cannot_be_converted_says_why(tmp_path, format):
    L = keras.Input((None, None, 1), name="L")
    noisy = Dropout(0.5, at_inference=True)(keras.layers.Conv2D(2, 1)(L))
    with pytest.raises(UserError, match="operators that .* does not know.*dropout_at_inference"):
        export.export_savedmodel(
            keras.Model({"L": L}, noisy), None, str(tmp_path / "m"), SIZE, format=format
        )
    assert not any(tmp_path.iterdir())


def test_a_format_whose_tools_are_not_there(networks, tmp_path, monkeypatch):
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs tf2onnx: pip install 'koalagan\[onnx\]'"):
        write(networks, tmp_path / "m", format="onnx")
