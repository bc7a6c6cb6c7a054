# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The model that comes along: it loads without executing anything, and colors as it is said to."""

import json
import pickle
import subprocess
import sys
import zipfile

import matplotlib.cbook
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from skimage import color, data, metrics

import koalagan
from koalagan import colorize as command
from koalagan import options
from koalagan.data.koala_scenes import drawing
from koalagan.errors import UserError
from koalagan.exporting import trained
from koalagan.exporting.settings import ExportSettings
from koalagan.inference import pretrained, saved_model
from koalagan.photos.settings import ColorizeSettings


@pytest.fixture(scope="module")
def model():
    return koalagan.load()


def grace_hopper():
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        return np.asarray(Image.open(file).convert("RGB"))


def scenes(count=8):
    """Drawn scenes that are in no split of koala_scenes."""
    drawn = [drawing.draw_scene(np.random.default_rng(seed), 256) for seed in range(count)]
    return np.stack(drawn)


def test_its_size_and_license():
    assert pretrained.WEIGHTS.stat().st_size < 15e6
    card = pretrained.card()
    assert "CC BY-NC 4.0" in card["facts"]["license"]
    page = (pretrained.FOLDER / "MODEL_CARD.md").read_text("utf-8")
    for part in ("CC BY-NC 4.0", "photographs", "| gray", "| koala", "never evidence"):
        assert part in page
    # Nothing of the machine that trained it.
    for text in (page, json.dumps(card)):
        assert "/tmp/" not in text and "/work/" not in text and "/home/" not in text
    assert [row["model"] for row in card["evaluation"]["rows"]] == ["gray", "koala"]


def test_the_file_holds_numbers_only():
    with zipfile.ZipFile(pretrained.WEIGHTS) as archive:
        assert all(name.endswith(".npy") for name in archive.namelist())
    with np.load(pretrained.WEIGHTS, allow_pickle=False) as weights:
        kinds = {weights[name].dtype.name for name in weights}
        assert kinds == {"float16", "float32"}
        assert all(np.isfinite(weights[name]).all() for name in weights)


def test_saving_and_loading_again(model, tmp_path, monkeypatch):
    generator = pretrained.generator()
    pretrained.save(generator, tmp_path / "koala.npz")
    assert (tmp_path / "koala.npz").read_bytes() == pretrained.WEIGHTS.read_bytes()
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path / "koala.npz")
    L = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 1)).astype(np.float32)
    expected = generator({"L": L}, training=False)
    np.testing.assert_array_equal(pretrained.generator()({"L": L}, training=False), expected)


class Evil:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize("damage", ["absent", "cut", "pickle", "another network"])
def test_a_damaged_file(damage, tmp_path, monkeypatch, capsys):
    path = tmp_path / "koala.npz"
    content = pretrained.WEIGHTS.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "pickle":
        path.write_bytes(pickle.dumps(Evil()))
    elif damage == "another network":
        np.savez(path, kernel=np.zeros(3))
    monkeypatch.setattr(pretrained, "WEIGHTS", path)
    with pytest.raises(UserError, match="cannot be read .*install koalagan again") as info:
        koalagan.load()
    assert "\n" not in str(info.value) and "executed" not in capsys.readouterr().out


# What the model that comes along reached where it was made, on these pictures: the PSNR in RGB and
# the mean error of ab, in Lab units. A change of the weights or of the chain shows here.
MEASURED = {
    "scenes": (19.38, 13.26),
    "grace_hopper": (19.80, 11.32),
    "astronaut": (21.10, 10.83),
}


@pytest.mark.parametrize("name", MEASURED)
def test_its_measures(model, name):
    pictures = {
        "scenes": scenes,
        "grace_hopper": lambda: [grace_hopper()],
        "astronaut": lambda: [data.astronaut()],
    }[name]()
    colored = model.colorize(list(pictures))
    psnr, error, gray_error = [], [], []
    for true, result in zip(pictures, colored, strict=True):
        psnr.append(metrics.peak_signal_noise_ratio(true, result, data_range=255))
        difference = color.rgb2lab(true) - color.rgb2lab(result)
        assert np.abs(difference[..., 0]).mean() < 0.5  # lightness is kept
        error.append(np.abs(difference[..., 1:]).mean())
        gray_error.append(np.abs(color.rgb2lab(true)[..., 1:]).mean())
    assert [np.mean(psnr), np.mean(error)] == pytest.approx(MEASURED[name], abs=0.1)
    # Drawings are not what it has learned from.
    assert name == "scenes" or np.mean(error) < 0.9 * np.mean(gray_error)


def test_it_is_found_by_its_name(model, tmp_path, monkeypatch):
    assert koalagan.load("koala").path == model.path == "koala"
    assert model.image_size == (256, 256) and not model.varies
    assert list(saved_model.names(["koala"])) == ["koala"]
    # A folder of that name is named by a path.
    (tmp_path / "koala").mkdir()
    monkeypatch.chdir(tmp_path)
    assert koalagan.load("koala").path == "koala"
    with pytest.raises(UserError, match="there is no SavedModel"):
        koalagan.load("./koala")


def test_other_sizes(model):
    gray = grace_hopper()[:200, :300]
    assert model.colorize(gray, render_size=128).shape == gray.shape
    with pytest.raises(UserError, match="comes with koalagan does not take pictures of 100x100"):
        model.colorize(gray, render_size=100)


def test_the_command_needs_no_model_and_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photograph = Image.fromarray(grace_hopper()).convert("L")
    photograph.save("old.png")
    settings = options.replace(ColorizeSettings(), contact_sheet=None)
    assert command.main(settings, ["old.png"]) == 0
    result = np.asarray(Image.open("colored/old.png"))
    assert result.shape == (*np.asarray(photograph).shape, 3)
    assert np.abs(color.rgb2lab(result)[..., 1:]).mean() > 3


def test_exports_of_it(tmp_path):
    """The SavedModel, by a process that cannot import koalagan or Keras, and the other formats."""
    trained.export_pretrained(str(tmp_path / "export"))
    card = (tmp_path / "export" / "assets.extra" / "MODEL_CARD.md").read_text("utf-8")
    assert "CC BY-NC 4.0" in card and "| koala" in card
    size = sum(file.stat().st_size for file in (tmp_path / "export").rglob("*") if file.is_file())
    assert size < 35e6
    picture = np.ascontiguousarray(data.astronaut()[:300])
    np.save(tmp_path / "picture.npy", picture)
    script = (
        "import sys; sys.modules['koalagan'] = sys.modules['keras'] = None\n"
        "import numpy as np, tensorflow as tf\n"
        f"loaded = tf.saved_model.load({str(tmp_path / 'export')!r})\n"
        f"picture = np.load({str(tmp_path / 'picture.npy')!r})\n"
        "result = loaded.signatures['serving_default'](image=tf.constant(picture[None]))\n"
        f"np.save({str(tmp_path / 'result.npy')!r}, result['colorized'][0].numpy())\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
    mine = koalagan.load().colorize(picture).astype(int)
    difference = np.abs(mine - np.load(tmp_path / "result.npy"))
    assert difference.max() <= 6 and difference.mean() < 0.1


@pytest.mark.parametrize("format, limit", [("tflite", 21e6), ("onnx", 21e6)])
def test_other_formats_of_it(tmp_path, format, limit):
    trained.export_pretrained(str(tmp_path / format), ExportSettings(format=format))
    (model,) = (tmp_path / format).glob("model.*")
    assert 19e6 < model.stat().st_size < limit


@pytest.mark.parametrize(
    "wrong", [{"checkpoint": "best"}, {"dropout_at_inference": True}, {"frozen_inputs": True}]
)
def test_exports_that_it_does_not_have(tmp_path, wrong):
    with pytest.raises(UserError, match=f"--{next(iter(wrong))} is for the export of a run"):
        trained.export_pretrained(str(tmp_path / "export"), ExportSettings(**wrong))
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize("content", [None, "{", "[]", '{"facts": {}}'])
def test_a_damaged_card(tmp_path, monkeypatch, content):
    path = tmp_path / "card.json"
    monkeypatch.setattr(pretrained, "CARD", path)
    if content:
        path.write_text(content)
    with pytest.raises(UserError, match="card.json cannot be read .*install koalagan again"):
        koalagan.load()


def test_a_run_of_its_name_beside_it(tmp_path, monkeypatch, caplog):
    (tmp_path / "koala" / "export").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert saved_model.find("koala") == "koala"
    assert "pass ./koala for the folder" in caplog.text
    assert list(saved_model.names(["koala", "runs/koala/export"])) == [
        "koala",
        str(tmp_path / "runs/koala/export"),
    ]


def test_its_networks_see_what_training_saw(model):
    """`predict` is the generator on L of the resized picture."""
    picture = data.astronaut()
    L, ab = model.predict([picture])
    assert L.shape == (1, 256, 256, 1) and ab.shape == (1, 256, 256, 2)
    expected = pretrained.generator()({"L": tf.constant(L)}, training=False)
    np.testing.assert_allclose(ab, expected, atol=1e-4)
