# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The colorize command: trees, names, upright pictures, bad pictures, nothing ever overwritten."""

import base64
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import keras
import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from absl import flags
from PIL import Image
from skimage.color import rgb2lab

from koalagan import colorize, export
from koalagan.data import decoding
from koalagan.errors import UserError
from koalagan.inference import colorizer
from koalagan.models.layers.dropout import Dropout
from koalagan.photos import bulk, photographs


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


def run(model, output, *photographs, **options):
    return colorize.colorize_files(
        saved_model=model,
        photographs=[str(path) for path in photographs],
        output_dir=str(output),
        **options,
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
        ((str(other), out, photo), "no signature predict_ab"),
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
    beside, coloured = [], itertools.count()

    def decode(data, path, decode=decoding.decode):
        try:
            return decode(data, path)
        finally:
            read[os.path.basename(path)].set()

    def slow(self, rgb, colour=colorizer.Colorizer.colorize_batch, **options):
        number = next(coloured)
        if number + 1 < len(names):
            beside.append(read[names[number + 1]].wait(60))
        if number:
            written = tmp_path / "out" / names[number - 1]
            deadline = time.monotonic() + 60
            while not written.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            beside.append(written.exists())
        return colour(self, rgb, **options)

    monkeypatch.setattr(decoding, "decode", decode)
    monkeypatch.setattr(colorizer.Colorizer, "colorize_batch", slow)
    assert run(model, tmp_path / "out", tmp_path / "photos", batch_size=1) == {}
    assert beside == [True] * 4


def test_photographs_go_through_the_network_together(model, tmp_path, monkeypatch):
    for number in range(5):
        photograph(tmp_path / "photos" / f"{number}.png", number, height=9 + number)
    photograph(tmp_path / "photos" / "large.png", height=60, width=60)
    sizes = []

    def count(self, rgb, colour=colorizer.Colorizer.colorize_batch, **options):
        sizes.append([picture.shape[0] for picture in rgb])
        return colour(self, rgb, **options)

    monkeypatch.setattr(colorizer.Colorizer, "colorize_batch", count)
    monkeypatch.setattr(bulk, "_BATCH_PIXELS", 2000)
    assert run(model, tmp_path / "out", tmp_path / "photos", batch_size=3) == {}
    assert sizes == [[9, 10, 11], [12, 13], [60]]
    for number in range(5):
        with Image.open(tmp_path / "out" / f"{number}.png") as result:
            assert result.size == (14, 9 + number)


def test_a_photograph_that_has_colour_is_copied_unless_asked_otherwise(model, tmp_path, capfd):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photograph(photos / "grey.png", height=64, width=64)
    coloured = Image.fromarray(np.asarray(skimage.data.astronaut()[:200, :200]))
    coloured.save(photos / "coloured.jpg")
    assert run(model, out, photos) == {}
    assert tree(out) == ["coloured.jpg", "grey.png"]
    assert (out / "coloured.jpg").read_bytes() == (photos / "coloured.jpg").read_bytes()
    said = capfd.readouterr().err
    assert f"{photos / 'coloured.jpg'} has colour and stays as it is" in said
    assert "1 of 2 pictures have colour already" in said and "--recolor" in said

    assert run(model, out, photos, recolor=True) == {}
    assert tree(out) == ["coloured.jpg", "coloured.png", "grey.png"]
    colours = rgb2lab(np.asarray(Image.open(out / "coloured.png")))[..., 1:]
    assert np.median(colours) == pytest.approx(0.15 * 110, abs=1)

    # Where it lies already, there is nothing to copy.
    before = (photos / "coloured.jpg").read_bytes()
    assert run(model, photos, photos / "coloured.jpg") == {}
    assert (photos / "coloured.jpg").read_bytes() == before


@pytest.mark.parametrize(
    "format, ending, kind",
    [
        ("png", "png", "PNG"),
        ("jpeg", "jpg", "JPEG"),
        ("tiff", "tif", "TIFF"),
        ("webp", "webp", "WEBP"),
        ("bmp", "bmp", "BMP"),
    ],
)
def test_formats(model, tmp_path, format, ending, kind):
    grey = photograph(tmp_path / "a.png", height=32, width=40)
    assert run(model, tmp_path / "out", tmp_path / "a.png", format=format, suffix="_new") == {}
    assert tree(tmp_path / "out") == [f"a_new.{ending}"]
    with Image.open(tmp_path / "out" / f"a_new.{ending}") as result:
        assert result.format == kind and result.size == (40, 32)
    expected = rgb2lab(np.repeat(grey[..., None], 3, axis=-1))[..., 0]
    tolerance = 3.0 if kind in ("JPEG", "WEBP") else 0.5
    assert np.abs(lightness(tmp_path / "out" / f"a_new.{ending}") - expected).mean() < tolerance


def test_the_photographs_own_format(model, tmp_path):
    for name in ("a.jpg", "a.png", "b.TIFF", "c.gif"):
        photograph(tmp_path / "photos" / name)
    assert run(model, tmp_path / "out", tmp_path / "photos", format="same") == {}
    assert tree(tmp_path / "out") == ["a.jpg", "a.png", "b.TIFF", "c.png"]
    for name in tree(tmp_path / "out"):
        with Image.open(tmp_path / "out" / name) as result:
            assert np.asarray(result.convert("RGB")).shape == (10, 14, 3)


def test_quality(model, tmp_path):
    photograph(tmp_path / "a.png", height=200, width=200)
    sizes = []
    for quality in (20, 95):
        run(model, tmp_path / "out", tmp_path / "a.png", format="jpeg", quality=quality)
        sizes.append((tmp_path / "out" / "a.jpg").stat().st_size)
    assert sizes[1] > 2 * sizes[0]


def test_metadata_goes_with_the_result(model, tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Kodak"
    exif.get_ifd(0x8769)[0x9003] = "1936:06:01 12:00:00"
    photograph(tmp_path / "a.jpg", exif=exif, dpi=(300, 300), xmp=b"<x/>")
    for format, ending in (("jpeg", "jpg"), ("png", "png"), ("tiff", "tif"), ("webp", "webp")):
        assert run(model, tmp_path / "out", tmp_path / "a.jpg", format=format) == {}
        with Image.open(tmp_path / "out" / f"a.{ending}") as result:
            kept = result.getexif()
            assert result.size == (10, 14) and kept[0x010F] == "Kodak" and 0x0112 not in kept
            assert kept.get_ifd(0x8769)[0x9003] == "1936:06:01 12:00:00"
            assert result.info["xmp"] == b"<x/>"
            if ending != "webp":
                assert result.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_saturation_and_render_size(model, tmp_path):
    photograph(tmp_path / "a.png", height=32, width=32)

    def chroma(**options):
        assert run(model, tmp_path / "out", tmp_path / "a.png", **options) == {}
        colours = rgb2lab(np.asarray(Image.open(tmp_path / "out" / "a.png")))
        return np.hypot(colours[..., 1], colours[..., 2]).mean()

    assert chroma(saturation=0.0) < 0.5
    assert chroma(saturation=0.5) == pytest.approx(0.5 * chroma(), rel=0.05)
    assert chroma(render_size=64) == pytest.approx(chroma(), rel=0.01)


def test_variants_are_for_models_that_vary(model, tmp_path):
    photograph(tmp_path / "a.png", height=32, width=32)
    photograph(tmp_path / "a.jpg", height=32, width=32)
    with pytest.raises(UserError, match="--dropout_at_inference for --variants"):
        run(model, tmp_path / "out", tmp_path / "a.png", variants=3)
    L = keras.Input((None, None, 1), name="L")
    x = keras.layers.Conv2D(8, 1, bias_initializer="ones")(L)
    ab = keras.layers.Conv2D(2, 1, activation="tanh")(Dropout(0.5, at_inference=True)(x))
    noisy = str(tmp_path / "noisy")
    export.export_savedmodel(
        keras.Model({"L": L}, ab), None, noisy, (8, 8), metadata={"dropout_at_inference": True}
    )
    assert run(noisy, tmp_path / "out", tmp_path / "a.png", tmp_path / "a.jpg", variants=3) == {}
    names = [f"a.{ending}-{number}.png" for ending in ("jpg", "png") for number in (1, 2, 3)]
    assert tree(tmp_path / "out") == names
    results = {(tmp_path / "out" / name).read_bytes() for name in names}
    assert len(results) == 6


def test_results_that_are_there(model, tmp_path, capfd):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photograph(photos / "a.png")
    assert run(model, out, photos) == {}
    (out / "a.png").write_text("mine")
    photograph(photos / "b.png", seed=1)
    with pytest.raises(UserError, match=f"1 results are there already, {out}/a.png .*--skip_ex"):
        run(model, out, photos, overwrite=False)
    assert run(model, out, photos, skip_existing=True) == {}
    assert (out / "a.png").read_text() == "mine" and (out / "b.png").exists()
    assert "1 photographs have their results already" in capfd.readouterr().err
    assert run(model, out, photos) == {}
    assert (out / "a.png").read_bytes().startswith(b"\x89PNG")


def test_patterns_and_lists(model, tmp_path, monkeypatch):
    for name in ("a1.png", "a2.png", "b1.png", "deep/er/a3.png"):
        photograph(tmp_path / "photos" / name)
    assert run(model, tmp_path / "1", tmp_path / "photos" / "a*.png") == {}
    assert tree(tmp_path / "1") == ["a1.png", "a2.png"]
    assert run(model, tmp_path / "2", tmp_path / "photos" / "**" / "a*.png") == {}
    assert tree(tmp_path / "2") == ["a1.png", "a2.png", "deep/er/a3.png"]
    listed = f"{tmp_path}/photos/b1.png\n\n".encode() + os.fsencode(tmp_path) + b"/\xff.png\n"
    photograph(tmp_path / os.fsdecode(b"\xff.png"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed)))
    sheet = str(tmp_path / "sheet.html")
    assert run(model, tmp_path / "3", "-", contact_sheet=sheet) == {}
    assert tree(tmp_path / "3") == ["b1.png", os.fsdecode(b"\xff.png")]
    assert run(model, tmp_path / "up", tmp_path / "photos" / "*" / ".." / ".." / "*.png") == {}
    assert tree(tmp_path / "up") == [os.fsdecode(b"\xff.png")]
    # Results of an earlier call are no photographs.
    inside = tmp_path / "photos" / "coloured"
    for _ in range(2):
        assert run(model, inside, tmp_path / "photos" / "**" / "a*.png") == {}
        assert tree(inside) == ["a1.png", "a2.png", "deep/er/a3.png"]
    with pytest.raises(UserError, match=r"Nothing is called .*z\*.png"):
        run(model, tmp_path / "4", tmp_path / "z*.png")


def test_results_may_go_above_the_photographs(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photograph(tmp_path / "scans" / "a.jpg")
    assert run(model, ".", "scans") == {}
    assert (tmp_path / "a.png").exists()
    (tmp_path / "a.png").unlink()
    assert run(model, ".", "scans/*.jpg") == {}
    assert (tmp_path / "a.png").exists()
    (tmp_path / "a.png").unlink()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"scans/a.jpg\n")))
    assert run(model, ".", "-") == {}
    assert tree(tmp_path) == ["a.png", "scans/a.jpg"]


def test_a_result_of_another_format_is_no_copy(model, tmp_path):
    photograph(tmp_path / "a.jpg")
    assert run(model, tmp_path / "out", tmp_path / "a.jpg", format="jpeg") == {}
    assert run(model, tmp_path / "out", tmp_path / "a.jpg", skip_existing=True) == {}
    assert tree(tmp_path / "out") == ["a.jpg", "a.png"]


def test_a_photograph_that_lies_where_a_copy_would_go_is_not_replaced(model, tmp_path):
    photograph(tmp_path / "a.jpg", height=64, width=64)
    grey = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "sub").mkdir()
    Image.fromarray(skimage.data.astronaut()[:200, :200]).save(tmp_path / "sub" / "a.jpg")
    left_out = run(model, tmp_path, tmp_path / "sub" / "a.jpg")
    assert "its copy would replace" in left_out[str(tmp_path / "sub" / "a.jpg")]
    assert (tmp_path / "a.jpg").read_bytes() == grey
    # Two photographs, one result of the one being the copy of the other.
    shutil.copy(tmp_path / "sub" / "a.jpg", tmp_path / "sub" / "b-1.png")
    photograph(tmp_path / "sub" / "b.png")
    jobs = photographs.plan([str(tmp_path / "sub")], str(tmp_path / "out"), variants=2)
    results = [path for job in jobs for path in (*job.targets, job.copy)]
    assert len(set(results)) == len(results)


def test_coloured_photographs_that_were_copied_can_be_coloured_later(model, tmp_path):
    Image.fromarray(skimage.data.astronaut()[:200, :200]).save(tmp_path / "a.jpg")
    assert run(model, tmp_path / "out", tmp_path / "a.jpg") == {}
    assert tree(tmp_path / "out") == ["a.jpg"]
    assert run(model, tmp_path / "out", tmp_path / "a.jpg", skip_existing=True) == {}
    assert tree(tmp_path / "out") == ["a.jpg"]
    again = {"recolor": True, "skip_existing": True, "overwrite": False}
    assert run(model, tmp_path / "out", tmp_path / "a.jpg", **again) == {}
    assert tree(tmp_path / "out") == ["a.jpg", "a.png"]


def test_a_copy_under_the_results_own_name_can_be_coloured_later(model, tmp_path):
    Image.fromarray(skimage.data.astronaut()[:200, :200]).save(tmp_path / "a.png")
    assert run(model, tmp_path / "out", tmp_path / "a.png") == {}
    copied = (tmp_path / "out" / "a.png").read_bytes()
    assert copied == (tmp_path / "a.png").read_bytes()
    again = {"recolor": True, "skip_existing": True}
    assert run(model, tmp_path / "out", tmp_path / "a.png", **again) == {}
    coloured = (tmp_path / "out" / "a.png").read_bytes()
    assert coloured != copied
    (tmp_path / "out" / "a.png").write_bytes(coloured + b" ")  # seen if it is written again
    assert run(model, tmp_path / "out", tmp_path / "a.png", **again) == {}
    assert (tmp_path / "out" / "a.png").read_bytes() == coloured + b" "


def test_scans_stay_readable_as_tiff(model, tmp_path):
    grey = photograph(tmp_path / "in" / "grey.tif")
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    deep.save(tmp_path / "in" / "deep.tif", description="a dog")
    Image.fromarray(grey).convert("1").save(tmp_path / "in" / "bits.tif")
    Image.fromarray(grey).quantize(9).save(tmp_path / "in" / "palette.tif")
    assert run(model, tmp_path / "out", tmp_path / "in", format="same") == {}
    for name in ("grey", "deep", "bits", "palette"):
        with Image.open(tmp_path / "out" / f"{name}.tif") as result:
            assert result.mode == "RGB" and result.size == (14, 10)
    with Image.open(tmp_path / "out" / "deep.tif") as result:
        assert result.getexif()[0x010E] == "a dog"


def test_one_result_that_cannot_be_written_does_not_stop_the_others(model, tmp_path):
    photograph(tmp_path / "photos" / "a.png", height=1, width=70000)
    photograph(tmp_path / "photos" / "b.png")
    name = "\u5199" * 82
    photograph(tmp_path / "photos" / f"{name}.png")
    left_out = run(model, tmp_path / "out", tmp_path / "photos", format="jpeg")
    assert list(left_out) == [str(tmp_path / "photos" / "a.png")]
    assert tree(tmp_path / "out") == ["b.jpg", f"{name}.jpg"]


def test_a_photograph_is_not_taken_for_a_page(model, tmp_path):
    photograph(tmp_path / "a.jpg")
    photograph(tmp_path / "b.jpg")
    before = (tmp_path / "a.jpg").read_bytes()
    with pytest.raises(UserError, match=r"--contact_sheet=.*a.jpg is no name of a page: .*\.html"):
        run(model, tmp_path / "out", tmp_path / "b.jpg", contact_sheet=str(tmp_path / "a.jpg"))
    assert (tmp_path / "a.jpg").read_bytes() == before


def test_contact_sheet(model, tmp_path):
    photograph(tmp_path / "a<1>.png", height=40, width=60)
    sheet = tmp_path / "new" / "sheet.html"
    assert run(model, tmp_path / "out", tmp_path / "a<1>.png", contact_sheet=str(sheet)) == {}
    page = sheet.read_text()
    assert "a&lt;1&gt;.png" in page and "a<1>" not in page
    assert not re.search(r"(src|href)=.?https?:", page)
    before, after = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        for data in re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    )
    assert before.shape == after.shape == (40, 60, 3)
    assert rgb2lab(after)[..., 1].mean() - rgb2lab(before)[..., 1].mean() > 10


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
    monkeypatch.setattr(bulk, "_memory_available", lambda: 10**5)
    left_out = run(model, tmp_path / "out", tmp_path / "large.png", tmp_path / "small.png")
    assert list(left_out.values())[0].endswith(
        "(100x100 pixels) does not fit into memory: make it smaller."
    )
    assert tree(tmp_path / "out") == ["small.png"]
