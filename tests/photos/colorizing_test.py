# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The colorize command: trees, colors, pictures that cannot be colored, and its mistakes."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from helpers.photos import colorize, lab, lightness, photograph, tree
from PIL import Image

from koalagan import colorize as command
from koalagan import options
from koalagan.errors import UserError
from koalagan.exporting import savedmodel
from koalagan.models.layers.dropout import Dropout


def test_a_tree_of_photographs_is_kept_and_colored(model, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    names = ["a.png", "b/c.JPG", "b/d/e.webp", "f.tif", "g.bmp"]
    for seed, name in enumerate(names):
        photograph(photos / name, seed, height=5 + 4 * seed, width=30 - seed)
    alone = tmp_path / "alone.jpeg"
    photograph(alone, 9)
    before = {name: (photos / name).read_bytes() for name in names}

    assert colorize(model, out, photos, alone) == {}
    assert tree(out) == ["a.png", "alone.png", "b/c.png", "b/d/e.png", "f.png", "g.png"]
    for name in names:
        assert (photos / name).read_bytes() == before[name]
        result = out / (name.split(".")[0] + ".png")
        assert result.read_bytes().startswith(b"\x89PNG")
        L, a, b = np.moveaxis(lab(result), -1, 0)
        assert np.abs(L - lab(photos / name)[..., 0]).max() < 1.0
        np.testing.assert_allclose([a, b], np.full((2, *L.shape), 0.15 * 110), atol=1.5)


def test_results_are_upright(model, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be rotated clockwise by 90 degrees
    gray = photograph(tmp_path / "a.png", exif=exif)
    colorize(model, tmp_path / "out", tmp_path / "a.png")
    result = tmp_path / "out" / "a.png"
    with Image.open(result) as image:
        assert 0x0112 not in image.getexif()
    assert np.abs(lab(result)[..., 0] - lightness(np.rot90(gray, -1))).max() < 1.0


def test_saturation_and_render_size(model, tmp_path):
    photograph(tmp_path / "a.png", height=32, width=32)

    def chroma(**flags):
        assert colorize(model, tmp_path / "out", tmp_path / "a.png", **flags) == {}
        colors = lab(tmp_path / "out" / "a.png")
        return np.hypot(colors[..., 1], colors[..., 2]).mean()

    assert chroma(saturation=0.0) < 0.5
    assert chroma(saturation=0.5) == pytest.approx(0.5 * chroma(), rel=0.05)
    assert chroma(render_size=64) == pytest.approx(chroma(), rel=0.01)


def test_variants_need_a_model_that_varies(model, tmp_path):
    out = tmp_path / "out"
    photograph(tmp_path / "a.png", height=32, width=32)
    photograph(tmp_path / "a.jpg", height=32, width=32)
    with pytest.raises(UserError, match="--dropout_at_inference for --variants"):
        colorize(model, out, tmp_path / "a.png", variants=3)
    L = keras.Input((None, None, 1), name="L")
    x = keras.layers.Conv2D(8, 1, bias_initializer="ones")(L)
    ab = keras.layers.Conv2D(2, 1, activation="tanh")(Dropout(0.5, at_inference=True)(x))
    noisy = str(tmp_path / "noisy")
    facts = {"dropout_at_inference": True}
    savedmodel.export(keras.Model({"L": L}, ab), {}, noisy, (8, 8), metadata=facts)
    assert colorize(noisy, out, tmp_path / "a.png", tmp_path / "a.jpg", variants=3) == {}
    names = [f"a.{kind}-{number}.png" for kind in ("jpg", "png") for number in (1, 2, 3)]
    assert tree(out) == names
    assert len({(out / name).read_bytes() for name in names}) == 6


def test_pictures_that_cannot_be_colored_are_named_and_the_others_are_colored(
    model, tmp_path, capfd
):
    for name in ("a.png", "c.png", "e.png"):
        photograph(tmp_path / "photos" / name)
    damaged, empty = tmp_path / "photos/b.png", tmp_path / "photos/d.jpg"
    damaged.write_bytes((tmp_path / "photos/a.png").read_bytes()[:70])
    empty.write_bytes(b"")
    failed = colorize(model, tmp_path / "out", tmp_path / "photos")
    assert list(failed) == [str(damaged), str(empty)]
    assert str(damaged) in failed[str(damaged)] and "is empty" in failed[str(empty)]
    assert tree(tmp_path / "out") == ["a.png", "c.png", "e.png"]
    err = capfd.readouterr().err
    assert f"koalagan: {failed[str(damaged)]}" in err
    assert err.rstrip().endswith(f"2 of 5 files could not be colored:\n    {damaged}\n    {empty}")


@pytest.mark.parametrize(
    "model_name, output, photograph_name, words",
    [
        ("model", "out", None, "at least one"),
        ("model", "out", "notes", "no pictures in"),
        ("model", "out", "absent.jpg", "no photograph or folder .*absent.jpg"),
        ("absent", "out", "a.png", "no SavedModel in .*absent"),
        ("other", "out", "a.png", "no signature predict_ab"),
        ("damaged", "out", "a.png", "damaged cannot be read"),
        ("model", "a.png", "a.png", "cannot be created"),
    ],
)
def test_mistakes_are_one_sentence(model, tmp_path, model_name, output, photograph_name, words):
    photograph(tmp_path / "a.png")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("")
    if model_name == "other":
        tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    if model_name == "damaged":
        (tmp_path / "damaged").mkdir()
        (tmp_path / "damaged" / "saved_model.pb").write_text("not a model")
    path = model if model_name == "model" else tmp_path / model_name
    photographs = [tmp_path / photograph_name] if photograph_name else []
    with pytest.raises(UserError, match=words) as error:
        colorize(path, tmp_path / output, *photographs)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def run_command(*arguments):
    """Runs the command in this process, as `cli.run` does."""
    values = flags.FlagValues()
    settings = command.COMMAND.options
    options.define_flags(settings, values)
    _, *photographs = values(["colorize", *arguments])
    options.require(settings, values)
    return command.COMMAND.main(options.from_flags(settings, values), photographs)


def test_the_command(model, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    photograph(tmp_path / "a.png")
    out, sheet = "--output_dir=~/out", "--contact_sheet=~/sheet.html"
    assert run_command("a.png", out, sheet, f"--saved_model={model}") == 0
    assert tree(tmp_path) == ["a.png", "out/a.png", "sheet.html"]

    # The exit status is 1 if a picture could not be colored.
    (tmp_path / "b.png").write_bytes(b"")
    capfd.readouterr()
    assert run_command("a.png", "b.png", out, f"--saved_model={model}") == 1
    printed = capfd.readouterr()
    assert printed.out == "" and "picture/s" in printed.err
    assert printed.err.rstrip().endswith("1 of 2 files could not be colored:\n    b.png")


def test_pictures_as_found_in_the_wild(model, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "out"
    gray = photograph(folder / "gray.png")
    rgb = np.repeat(gray[..., None], 3, axis=-1)
    rotated = Image.Exif()
    rotated[0x0112] = 6
    good = {
        "palette.png": Image.fromarray(rgb).quantize(),
        "deep.png": Image.fromarray(gray.astype(np.uint16) * 257),
        "cmyk.jpg": Image.fromarray(rgb).convert("CMYK"),
        "alpha.png": Image.fromarray(rgb).convert("RGBA"),
        "rotated.jpg": Image.fromarray(np.rot90(rgb, 1)),
        "1x1.png": Image.fromarray(rgb[:1, :1]),
        "1x5000.png": Image.fromarray(np.repeat(rgb[:, :1], 500, axis=0)),
        "large.png": Image.new("L", (3000, 3000), 120),
    }
    for name, image in good.items():
        image.save(folder / name, **({"exif": rotated} if name == "rotated.jpg" else {}))
    Image.fromarray(rgb).save(folder / "extension.jpg", "PNG")
    Image.fromarray(rgb).save(folder / "tiff.png", "TIFF")
    (folder / "folder.jpg").mkdir()
    photograph(folder / "folder.jpg" / "inside.png")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.png").write_bytes((folder / "gray.png").read_bytes()[:80])
    (folder / "text.jpg").write_text("not a picture")
    os.symlink("loop.png", folder / "loop.png")
    os.symlink("nowhere.png", folder / "nowhere-link.png")
    os.mkfifo(folder / "pipe.png")

    failed = colorize(model, out, folder)
    bad = ["cut.png", "empty.jpg", "loop.png", "nowhere-link.png", "pipe.png", "text.jpg"]
    assert sorted(os.path.basename(path) for path in failed) == bad
    for path, sentence in failed.items():
        assert path in sentence and "\n" not in sentence
    colored = ["gray.png", "extension.jpg", "tiff.png", *good, "folder.jpg/inside.png"]
    assert tree(out) == sorted(os.path.splitext(name)[0] + ".png" for name in colored)
    for name in ("palette", "deep", "alpha", "cmyk", "rotated", "extension", "tiff", "gray"):
        tolerance = 6.0 if name in ("cmyk", "rotated") else 1.0  # JPEG
        difference = lab(out / f"{name}.png")[..., 0] - lightness(gray)
        assert np.abs(difference).mean() < tolerance, name
    with Image.open(out / "1x5000.png") as result:
        assert result.size == (1, 5000)
