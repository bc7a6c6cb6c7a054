# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The folder of an export: what is stored, where it loads, what it replaces."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from helpers import exports
from helpers.exports import SIZE, photograph

import koalagan
from koalagan.color import lab
from koalagan.errors import UserError
from koalagan.exporting import savedmodel
from koalagan.exporting.settings import ExportSettings


def stored_bytes(path):
    """The size of the stored weights."""
    return sum(file.stat().st_size for file in (path / "variables").iterdir())


def test_weights_are_stored_once(networks, saved):
    weights = sum(4 * model.count_params() for model in networks)
    assert weights <= stored_bytes(saved) < 1.5 * weights + 10_000
    assert (saved / "saved_model.pb").stat().st_size < 1_600_000
    assert os.listdir(saved.parent) == ["model"]


def test_metadata_lies_beside_the_model(saved):
    metadata = json.loads((saved / "assets.extra" / "koalagan.json").read_text())
    assert metadata == {
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


def test_an_earlier_export_is_replaced(tmp_path):
    target = tmp_path / "deep" / "model"
    target.mkdir(parents=True)
    (target / "stale").write_text("")
    (target / "assets.extra").mkdir()
    (target / "assets.extra" / "koalagan.json").write_text('{"koalagan": "0.0.1"}')
    savedmodel.export(exports.generator(embedding=False), {}, str(target), (8, 8))
    assert tf.saved_model.contains_saved_model(str(target)) and not (target / "stale").exists()
    assert json.loads((target / "assets.extra/koalagan.json").read_text())["image_size"] == [8, 8]
    assert os.listdir(target.parent) == ["model"]


def test_anything_else_is_kept(tmp_path):
    generator = exports.generator(embedding=False)
    diary, file, foreign = (tmp_path / name for name in ("diary", "file", "foreign"))
    diary.mkdir()
    (diary / "today.txt").write_text("keep me")
    file.write_text("keep me")
    tf.saved_model.save(tf.Module(), str(foreign))  # a SavedModel of another program
    for taken in (diary, file, foreign):
        with pytest.raises(UserError, match="is not an export of koalagan"):
            savedmodel.export(generator, {}, str(taken), SIZE)
    assert (diary / "today.txt").read_text() == file.read_text() == "keep me"
    assert tf.saved_model.contains_saved_model(str(foreign))
    with pytest.raises(UserError, match="cannot be written"):
        savedmodel.export(generator, {}, str(file / "model"), SIZE)


def test_a_folder_that_tensorflow_cannot_read_from(tmp_path):
    with pytest.raises(UserError, match=r"contains \[: rename"):
        savedmodel.export(exports.generator(embedding=False), {}, str(tmp_path / "a[1]"), SIZE)
    assert not any(tmp_path.iterdir())


def test_half_precision_hardly_changes_a_color(networks, saved, signatures, tmp_path):
    path = tmp_path / "half"
    generator, embedding = networks
    settings = ExportSettings(export_dtype="float16")
    savedmodel.export(generator, {"embedding": embedding}, str(path), SIZE, settings)
    kernels = sum(
        4 * int(np.prod(variable.shape))
        for model in networks
        for variable in model.variables
        if len(variable.shape) > 1
    )
    assert stored_bytes(saved) - stored_bytes(path) == pytest.approx(kernels / 2, rel=0.1)
    assert json.loads((path / "assets.extra" / "koalagan.json").read_text())["weights"] == "float16"
    loaded = tf.saved_model.load(str(path))
    both = signatures, loaded.signatures
    for seed in range(3):
        rgb = photograph(40, 50, seed)[None]
        ab = [one["predict_ab"](L=lab.rgb_to_lab(rgb)[0])["ab"].numpy() for one in both]
        assert 0 < np.abs(ab[0] - ab[1]).max() < 1e-2
        colors = [one["serving_default"](image=rgb)["colorized"].numpy() for one in both]
        # This generator predicts colors far outside sRGB, where small errors move much.
        assert np.mean(np.abs(colors[0].astype(int) - colors[1]) <= 1) > 0.99


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_dropout_at_inference_colors_one_picture_in_several_ways(tmp_path, dtype):
    path = str(tmp_path / "model")
    settings = ExportSettings(export_dtype=dtype)
    savedmodel.export(exports.noisy_generator(), {}, path, SIZE, settings)
    loaded = tf.saved_model.load(path)
    picture = tf.constant(photograph(*SIZE)[None])
    first, second = (
        loaded.signatures["serving_default"](image=picture)["colorized"] for _ in range(2)
    )
    assert np.any(first != second)


@pytest.mark.parametrize(
    "format, dtype, supported",
    [("savedmodel", "int8", "float32 or float16"), ("onnx", "float16", "pass float32")],
)
def test_a_dtype_that_the_format_does_not_support(tmp_path, format, dtype, supported):
    settings = ExportSettings(format=format, export_dtype=dtype)
    with pytest.raises(
        UserError, match=f"--format={format} .*--export_dtype={dtype}: .*{supported}"
    ):
        savedmodel.export(
            exports.generator(embedding=False), {}, str(tmp_path / "m"), SIZE, settings
        )
    assert not any(tmp_path.iterdir())
