# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""From Python: a model colors arrays, files and lists."""

import json
import shutil
import subprocess
import sys
import textwrap
import types

import keras
import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from PIL import Image

import koalagan
from koalagan.errors import UserError
from koalagan.exporting import savedmodel
from koalagan.inference import measuring


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A SavedModel whose colors follow the lightness and differ from place to place."""
    keras.utils.set_random_seed(0)
    L = keras.Input((None, None, 1), name="L")
    start = keras.initializers.RandomNormal(stddev=0.3, seed=1)
    x = keras.layers.Conv2D(4, 3, 2, "same", activation="relu", kernel_initializer=start)(L)
    ab = keras.layers.Conv2D(2, 3, padding="same", activation="tanh", kernel_initializer=start)(x)
    model = keras.Model({"L": L}, keras.layers.UpSampling2D()(ab))
    path = tmp_path_factory.mktemp("run") / "export"
    savedmodel.export(model, {}, str(path), (32, 32), metadata={"generator": "tiny"})
    return str(path)


@pytest.fixture(scope="module")
def model(path):
    return koalagan.load(path)


def photograph(height=40, width=50):
    return np.ascontiguousarray(skimage.data.camera()[100 : 100 + height, 200 : 200 + width])


def test_it_gives_the_colors_of_the_savedmodel(path, model):
    rgb = np.repeat(photograph()[..., None], 3, axis=-1)
    signature = tf.saved_model.load(path).signatures["serving_default"]
    expected = signature(image=rgb[None])["colorized"][0].numpy().astype(int)
    difference = np.abs(model.colorize(rgb) - expected)
    assert difference.max() <= 6 and difference.mean() < 0.1
    assert np.abs(expected - rgb).max() > 20


def test_all_kinds_of_pictures(model, tmp_path):
    gray = photograph()
    rgb = np.repeat(gray[..., None], 3, axis=-1)
    Image.fromarray(gray).save(tmp_path / "a.png")
    expected = model.colorize(rgb)
    assert expected.dtype == np.uint8 and expected.shape == rgb.shape
    for kind in (gray, gray[..., None], Image.fromarray(gray), tmp_path / "a.png"):
        np.testing.assert_array_equal(model.colorize(kind), expected)
    deep = Image.fromarray(gray.astype(np.uint16) * 257)
    np.testing.assert_array_equal(model.colorize(deep), expected)
    several = model.colorize([gray, str(tmp_path / "a.png"), gray[:20]])
    np.testing.assert_array_equal(several[1], expected)
    assert [one.shape for one in several] == [(40, 50, 3), (40, 50, 3), (20, 50, 3)]


def test_mistakes(model, tmp_path):
    for wrong in (
        photograph() / 255,
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
    ):
        with pytest.raises(UserError, match=r"a picture must be uint8 .*, not"):
            model.colorize(wrong)
    with pytest.raises(koalagan.UserError, match="absent.jpg cannot be read"):
        model.colorize(tmp_path / "absent.jpg")
    with pytest.raises(UserError, match="no SavedModel in"):
        koalagan.load(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="no export yet: .*koalagan.export --workdir"):
        koalagan.load(tmp_path)


def test_render_size_changes_what_the_network_sees(model):
    gray = photograph(64, 64)
    own = model.colorize(gray, render_size=32)
    np.testing.assert_array_equal(own, model.colorize(gray))
    assert np.abs(own.astype(int) - model.colorize(gray, render_size=64)).max() > 5


def test_a_size_that_the_network_does_not_take_is_named(tmp_path):
    L = keras.Input((8, 8, 1), name="L")
    fixed = keras.Model(
        {"L": L},
        keras.layers.Reshape((8, 8, 2))(keras.layers.Dense(128)(keras.layers.Flatten()(L))),
    )
    savedmodel.export(fixed, {}, str(tmp_path / "m"), (8, 8))
    model = koalagan.load(tmp_path / "m")
    assert model.colorize(photograph()).shape == (40, 50, 3)
    with pytest.raises(UserError, match="16x16 .its own size is 8x8.: .*--render_size"):
        model.colorize(photograph(), render_size=16)


def test_a_batch_gives_the_results_of_its_pictures_alone(model):
    pictures = [np.repeat(photograph(20 + 9 * n, 40)[..., None], 3, axis=-1) for n in range(3)]
    for picture, result in zip(pictures, model.colorize_batch(pictures), strict=True):
        assert np.abs(model.colorize(picture).astype(int) - result).max() <= 1


def test_a_run_stands_for_its_export(path, model, tmp_path):
    shutil.copytree(path, tmp_path / "run" / "export")
    loaded = koalagan.load(tmp_path / "run")
    assert loaded.facts["generator"] == "tiny" and loaded.image_size == (32, 32)
    assert not loaded.varies
    np.testing.assert_array_equal(loaded.colorize(photograph()), model.colorize(photograph()))


def test_evaluate(model, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("astronaut", "coffee", "chelsea"):
        Image.fromarray(getattr(skimage.data, name)()).save(folder / f"{name}.png")
    result = model.evaluate(
        "folder",
        "train",
        str(tmp_path / "out"),
        data_dir=str(folder),
        store_dir=str(tmp_path / "store"),
    )
    assert [row["pictures"] for row in result["rows"]] == [3, 3]
    assert result["rows"][0]["model"] == "gray" and result["data"]["image_size"] == [32, 32]
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written["rows"] == result["rows"]


def test_the_package_offers_a_few_names_without_importing_tensorflow():
    program = (
        "import sys, koalagan\n"
        "print(koalagan.UserError, *koalagan.__all__, *dir(koalagan))\n"
        "print({'tensorflow', 'keras', 'matplotlib'} & {*sys.modules})\n"
        "koalagan.nothing\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout.splitlines()[-1] == "set()"
    assert "has no attribute 'nothing'" in ended.stderr
    for name in koalagan.__all__:
        assert name in ended.stdout and callable(getattr(koalagan, name))


def test_the_packages_own_example_runs(path, tmp_path, monkeypatch):
    (tmp_path / "runs" / "quickstart").mkdir(parents=True)
    shutil.copytree(path, tmp_path / "runs" / "quickstart" / "export")
    Image.fromarray(photograph()).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(measuring.sources, "open_source", lambda *_, **__: "scenes")
    prepared = types.SimpleNamespace(
        pictures=np.zeros((1, 32, 32, 3), np.uint8),
        manifest={"dataset": "x", "split": "y"},
        ids=lambda: ["black"],
    )
    monkeypatch.setattr(measuring.store, "prepare", lambda *_, **__: prepared)
    lines = [line for line in koalagan.__doc__.splitlines() if line.startswith("    ")]
    names = {}
    exec(textwrap.dedent("\n".join(lines)), names)
    assert names["colored"].shape == (40, 50, 3)
    assert (tmp_path / "evaluation" / "metrics.json").exists()
