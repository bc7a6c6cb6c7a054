# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The colorize command: trees, names, upright pictures, bad pictures, nothing ever overwritten."""

import os
import subprocess
import sys
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from PIL import Image
from skimage.color import rgb2lab

from koalagan import colorize, export
from koalagan.data import pictures
from koalagan.errors import UserError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A SavedModel that paints every picture in one colour."""
    L = keras.Input((None, None, 1), name="L")
    red = keras.layers.Conv2D(
        2, 1, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(0.15)
    )
    path = tmp_path_factory.mktemp("model") / "export"
    export.export_savedmodel(keras.Model({"L": L}, red(L)), None, str(path), (8, 8))
    return str(path)


def photograph(path, seed=0, height=10, width=14, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    grey = rng.integers(60, 180, (height, width), np.uint8)
    Image.fromarray(grey).save(path, **options)
    return grey


def tree(path):
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


def lightness(path):
    return rgb2lab(np.asarray(Image.open(path).convert("RGB")))[..., 0]


def run(model, output, *photographs):
    return colorize.colorize_files(
        saved_model=model, photographs=[str(path) for path in photographs], output_dir=str(output)
    )


def test_a_tree_of_photographs_is_kept_and_coloured(model, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    names = ["a.png", "b/c.JPG", "b/d/e.webp", "f.tif", "g.bmp"]
    for seed, name in enumerate(names):
        photograph(photos / name, seed, height=5 + 4 * seed, width=30 - seed)
    alone = tmp_path / "alone.jpeg"
    photograph(alone, 9)
    before = {name: (photos / name).read_bytes() for name in names}

    assert run(model, out, photos, alone) == {}
    assert tree(out) == ["a.png", "alone.png", "b/c.png", "b/d/e.png", "f.png", "g.png"]
    for name in names:
        assert (photos / name).read_bytes() == before[name]
        result = out / (name.split(".")[0] + ".png")
        assert result.read_bytes().startswith(b"\x89PNG")
        assert np.abs(lightness(result) - lightness(photos / name)).max() < 1.0
        colours = rgb2lab(np.asarray(Image.open(result)))[..., 1:]
        np.testing.assert_allclose(colours, 0.15 * 110, atol=1.5)


def test_results_stand_upright(model, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned by a quarter, clockwise.
    grey = photograph(tmp_path / "a.png", exif=exif)
    run(model, tmp_path / "out", tmp_path / "a.png")
    with Image.open(tmp_path / "out" / "a.png") as result:
        assert 0x0112 not in result.getexif()
    upright = rgb2lab(np.repeat(np.rot90(grey, -1)[..., None], 3, axis=-1))[..., 0]
    assert np.abs(lightness(tmp_path / "out" / "a.png") - upright).max() < 1.0


def test_names_that_would_clash_are_kept_whole(model, tmp_path, capfd):
    photos, out = tmp_path / "photos", tmp_path / "out"
    for name in ("a.jpg", "a.png", "A.bmp", "b.jpg"):
        photograph(photos / name)
    photograph(tmp_path / "more" / "b.jpg")
    assert run(model, out, photos, tmp_path / "more") == {}
    assert tree(out) == ["A.bmp.png", "a.jpg.png", "a.png.png", "b.jpg-2.png", "b.jpg.png"]
    assert f"{photos / 'a.jpg'} becomes a.jpg.png" in capfd.readouterr().err
    first = {name: (out / name).read_bytes() for name in tree(out)}
    assert run(model, out, photos, tmp_path / "more") == {}
    assert {name: (out / name).read_bytes() for name in tree(out)} == first


def test_an_input_is_never_overwritten(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.jpg", "sub/c.png"):
        photograph(tmp_path / name)
    before = {name: (tmp_path / name).read_bytes() for name in tree(tmp_path)}
    os.mkdir("linked")
    os.symlink("../a.png", "linked/a.png")
    assert run(model, ".", "a.png", "b.jpg") == {}
    assert run(model, "linked", "a.png") == {}
    with pytest.raises(UserError, match="is a folder of the photographs"):
        run(model, "sub", "sub")
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert set(tree(tmp_path)) - set(before) == {
        "a.png.png",
        "b.png",
        "linked/a.png",
        "linked/a.png.png",
    }


def test_results_inside_the_folder_are_not_coloured_again(model, tmp_path):
    photograph(tmp_path / "a.jpg")
    for _ in range(2):
        assert run(model, tmp_path / "coloured", tmp_path) == {}
        assert tree(tmp_path) == ["a.jpg", "coloured/a.png"]


def test_a_photograph_named_twice_is_coloured_once(model, tmp_path):
    photograph(tmp_path / "photos" / "a.jpg")
    run(model, tmp_path / "out", tmp_path / "photos", tmp_path / "photos" / ".." / "photos/a.jpg")
    assert tree(tmp_path / "out") == ["a.png"]


def test_bad_pictures_are_named_and_the_rest_is_done(model, tmp_path, capfd):
    for name in ("a.png", "c.png", "e.png"):
        photograph(tmp_path / "photos" / name)
    damaged, empty = tmp_path / "photos/b.png", tmp_path / "photos/d.jpg"
    damaged.write_bytes((tmp_path / "photos/a.png").read_bytes()[:70])
    empty.write_bytes(b"")
    left_out = run(model, tmp_path / "out", tmp_path / "photos")
    assert list(left_out) == [str(damaged), str(empty)]
    assert str(damaged) in left_out[str(damaged)] and "is empty" in left_out[str(empty)]
    assert tree(tmp_path / "out") == ["a.png", "c.png", "e.png"]
    err = capfd.readouterr().err
    assert f"koalagan: {left_out[str(damaged)]}" in err
    assert err.rstrip().endswith(f"2 of 5 pictures were left out:\n    {damaged}\n    {empty}")


def test_mistakes_are_told_in_one_sentence(model, tmp_path):
    photo, notes = tmp_path / "a.png", tmp_path / "notes"
    photograph(photo)
    notes.mkdir()
    (notes / "a.txt").write_text("")
    out = tmp_path / "out"
    other = tmp_path / "other"
    tf.saved_model.save(tf.Module(), str(other))
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "saved_model.pb").write_text("no model")
    for arguments, words in [
        ((model, out), "at least one"),
        ((model, out, notes), "no pictures in"),
        ((model, out, tmp_path / "absent.jpg"), "no photograph or folder .*absent.jpg"),
        ((str(tmp_path / "absent"), out, photo), "no SavedModel in .*absent"),
        ((str(other), out, photo), "no signature serving_default"),
        ((str(damaged), out, photo), "damaged cannot be read"),
        ((model, photo, photo), "cannot be made"),
    ]:
        with pytest.raises(UserError, match=words) as info:
            run(*arguments)
        assert "\n" not in str(info.value)
    assert not out.exists()


def test_the_command_line(model, tmp_path, monkeypatch):
    values = flags.FlagValues()
    colorize.define_flags(values)
    monkeypatch.setattr(colorize.flags, "FLAGS", values)
    photograph(tmp_path / "a.png")
    photos, out = str(tmp_path / "a.png"), f"--output_dir={tmp_path / 'out'}"
    with pytest.raises(flags.IllegalFlagValueError, match="saved_model"):
        values(["colorize", photos, out])
    assert colorize.main(values(["colorize", photos, out, f"--saved_model={model}"])) == 0
    assert tree(tmp_path / "out") == ["a.png"]


def test_the_command_ends_with_status_1_where_a_picture_was_left_out(model, tmp_path):
    photograph(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    arguments = [f"--saved_model={model}", f"--output_dir={tmp_path / 'out'}", "a.png", "b.png"]
    finished = subprocess.run(
        [sys.executable, "-m", "koalagan.colorize", *arguments],
        cwd=tmp_path,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 1 and tree(tmp_path / "out") == ["a.png"]
    assert finished.stdout == "" and "Traceback" not in finished.stderr
    assert finished.stderr.rstrip().endswith("1 of 2 pictures were left out:\n    b.png")
    assert "picture/s" in finished.stderr


def test_the_model_waits_for_neither_files_nor_codecs(model, tmp_path, monkeypatch):
    """While it colours a photograph, the next is decoded and the one before is written."""
    names = ["a.png", "b.png", "c.png"]
    for name in names:
        photograph(tmp_path / "photos" / name)
    read = {name: threading.Event() for name in names}
    beside = []

    def decode(data, path, decode=pictures.decode):
        try:
            return decode(data, path)
        finally:
            read[os.path.basename(path)].set()

    def load(path, load=colorize.load_model):
        colour = load(path)

        def slow(rgb, path):
            number = names.index(os.path.basename(path))
            if number + 1 < len(names):
                beside.append(read[names[number + 1]].wait(60))
            if number:
                written = tmp_path / "out" / names[number - 1]
                deadline = time.monotonic() + 60
                while not written.exists() and time.monotonic() < deadline:
                    time.sleep(0.01)
                beside.append(written.exists())
            return colour(rgb, path)

        return slow

    monkeypatch.setattr(pictures, "decode", decode)
    monkeypatch.setattr(colorize, "load_model", load)
    assert run(model, tmp_path / "out", tmp_path / "photos") == {}
    assert beside == [True] * 4


def test_pictures_as_the_world_has_them(model, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "out"
    grey = photograph(folder / "grey.png")
    rgb = np.repeat(grey[..., None], 3, axis=-1)
    turned = Image.Exif()
    turned[0x0112] = 6
    good = {
        "palette.png": Image.fromarray(rgb).quantize(),
        "deep.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "cmyk.jpg": Image.fromarray(rgb).convert("CMYK"),
        "alpha.png": Image.fromarray(rgb).convert("RGBA"),
        "turned.jpg": Image.fromarray(np.rot90(rgb, 1)),
        "1x1.png": Image.fromarray(rgb[:1, :1]),
        "1x5000.png": Image.fromarray(np.repeat(rgb[:, :1], 500, axis=0)),
        "large.png": Image.new("L", (3000, 3000), 120),
    }
    for name, image in good.items():
        more = {"exif": turned} if name == "turned.jpg" else {}
        image.save(folder / name, **more)
    Image.fromarray(rgb).save(folder / "extension.jpg", "PNG")
    Image.fromarray(rgb).save(folder / "tiff.png", "TIFF")
    (folder / "folder.jpg").mkdir()
    photograph(folder / "folder.jpg" / "inside.png")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.png").write_bytes((folder / "grey.png").read_bytes()[:80])
    (folder / "text.jpg").write_text("no picture")
    os.symlink("loop.png", folder / "loop.png")
    os.symlink("nowhere.png", folder / "nowhere-link.png")
    os.mkfifo(folder / "pipe.png")

    left_out = run(model, out, folder)
    bad = ["cut.png", "empty.jpg", "loop.png", "nowhere-link.png", "pipe.png", "text.jpg"]
    assert sorted(os.path.basename(path) for path in left_out) == bad
    for path, sentence in left_out.items():
        assert path in sentence and "\n" not in sentence
    coloured = ["grey.png", "extension.jpg", "tiff.png", *good, "folder.jpg/inside.png"]
    assert tree(out) == sorted(os.path.splitext(name)[0] + ".png" for name in coloured)
    for name in ("palette", "deep", "alpha", "cmyk", "turned", "extension", "tiff", "grey"):
        expected = rgb2lab(rgb)[..., 0]
        tolerance = 6.0 if name in ("cmyk", "turned") else 1.0  # JPEG
        assert np.abs(lightness(out / f"{name}.png") - expected).mean() < tolerance, name
    with Image.open(out / "1x5000.png") as result:
        assert result.size == (1, 5000)


def test_a_picture_too_large_for_the_memory_is_left_out(model, tmp_path, monkeypatch):
    photograph(tmp_path / "large.png", height=100, width=100)
    photograph(tmp_path / "small.png")
    monkeypatch.setattr(colorize, "_memory_available", lambda: 10**6)
    left_out = run(model, tmp_path / "out", tmp_path / "large.png", tmp_path / "small.png")
    assert list(left_out.values())[0].endswith(
        "(100x100 pixels) does not fit into memory: make it smaller."
    )
    assert tree(tmp_path / "out") == ["small.png"]
