# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Coloring by Apache Beam: the same files as `koalagan colorize`, whatever runs it."""

import json

import numpy as np
import pytest
import skimage.data
from helpers import runs
from helpers.photos import colorize, photograph, tree
from PIL import Image

from koalagan.inference import colorizer


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Gray ones, one of 16 bits, one of two pages, some below others; one with color; others."""
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(5):
        photograph(folder / "deep" / "er" / f"{number}.jpg", number, height=40 + number, width=60)
    deep = np.linspace(0, 65535, 40 * 60).reshape(40, 60).astype(np.uint16)
    Image.fromarray(deep).save(folder / "a.png")
    photograph(folder / "a.jpg", 8)
    Image.fromarray(skimage.data.astronaut()).save(folder / "color.jpg")
    pages = [Image.fromarray(np.full((30, 20), level, np.uint8)) for level in (90, 150)]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])
    mixed = [Image.fromarray(skimage.data.astronaut()[:60]), pages[0].convert("RGB")]
    mixed[0].save(folder / "mixed.tif", save_all=True, append_images=mixed[1:])
    # The copy of this one must not be taken for the result of a.jpg.
    Image.fromarray(skimage.data.cat()).save(folder / "a.jpg.png")
    (folder / "bad.jpg").write_bytes(b"no picture")
    (folder / "film.mp4").write_bytes(b"no film")
    return folder


def beam(photographs, output, *arguments):
    return runs.command(
        "colorize_beam", f"--input={photographs}/**", f"--output={output}", *arguments
    )


def lines(path):
    """The lines of the files that begin so: file -> reason."""
    found = [
        json.loads(line)
        for file in path.parent.glob(f"{path.name}*.jsonl")
        for line in file.read_text().splitlines()
    ]
    return {one["file"]: one["reason"] for one in found}


def test_results_are_those_of_colorize_and_what_exists_is_skipped(photographs, tmp_path):
    done = beam(photographs, tmp_path / "beam")
    assert done.returncode == 1, done.stderr
    assert "8 colored, 3 copied, 0 skipped, 2 failed" in done.stdout
    dead = lines(tmp_path / "beam" / "dead_letters")
    assert set(dead) == {f"{photographs}/bad.jpg", f"{photographs}/film.mp4"}
    assert dead[f"{photographs}/bad.jpg"].startswith(f"The picture {photographs}/bad.jpg is dam")
    assert "koalagan colorize" in dead[f"{photographs}/film.mp4"]

    colorize("koala", tmp_path / "colorize", photographs)
    names = {
        "a.jpg.png": "a.jpg.png",
        "a.jpg.png.png": "a.jpg.png.png",
        "a.png.png": "a.png.png",
        "mixed.tif.png": "mixed.png",
        "mixed.tif-page2.png": "mixed-page2.png",
        "color.jpg": "color.jpg",
        "pages.tif.png": "pages.png",
        "pages.tif-page2.png": "pages-page2.png",
        **{f"deep/er/{number}.jpg.png": f"deep/er/{number}.png" for number in range(5)},
    }
    written = [name for name in tree(tmp_path / "beam") if not name.endswith(".jsonl")]
    assert written == sorted(names)
    for mine, theirs in names.items():
        expected = (tmp_path / "colorize" / theirs).read_bytes()
        assert (tmp_path / "beam" / mine).read_bytes() == expected, mine

    (tmp_path / "beam" / "a.png.png").unlink()
    again = beam(photographs, tmp_path / "beam")
    assert "1 colored, 0 copied, 10 skipped, 2 failed" in again.stdout
    expected = (tmp_path / "colorize" / "a.png.png").read_bytes()
    assert (tmp_path / "beam" / "a.png.png").read_bytes() == expected


def test_results_below_the_photographs_are_not_colored_again(photographs, tmp_path):
    folder = tmp_path / "photographs"
    photograph(folder / "a.png")
    (folder / "bad.jpg").write_bytes(b"no picture")
    first = beam(folder, folder / "colored")
    assert "1 colored, 0 copied, 0 skipped, 1 failed" in first.stdout
    photograph(folder / "bad.jpg")
    again = beam(folder, folder / "colored")
    assert again.returncode == 0, again.stderr
    assert "1 colored, 0 copied, 1 skipped, 0 failed" in again.stdout
    # Nothing is said any more of the file that was bad.
    found = ["a.png", "bad.jpg", "colored/a.png.png", "colored/bad.jpg.png"]
    assert tree(folder) == found


def test_photographs_in_the_output_folder_are_not_silently_left_out(tmp_path):
    photograph(tmp_path / "photographs" / "a.png")
    for output in (tmp_path, tmp_path / "photographs"):
        done = beam(tmp_path / "photographs", output)
        assert done.returncode == 1 and "lie in --output=" in done.stderr
    assert tree(tmp_path) == ["photographs/a.png"]


@pytest.mark.nightly
def test_two_worker_processes(photographs, tmp_path):
    workers = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    done = beam(photographs, tmp_path / "beam", *workers)
    assert "8 colored, 3 copied, 0 skipped, 2 failed" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "arguments, pattern",
    [
        (["--input=/no/such/*"], "No file matches --input=/no/such/*."),
        (["--runnner=DirectRunner"], "--runnner is an option of neither this command nor Beam"),
        (["--saved_model=/no/such"], "there is no SavedModel in /no/such"),
        (["a.jpg"], "takes only flags, not 'a.jpg'"),
        (["--runner", "DirectRunner", "a.jpg"], "takes only flags, not 'a.jpg'"),
        (["--runner=Foo"], "Beam does not take these options"),
        (["--render_size=100"], "does not take pictures of 100x100"),
        (["--output=/proc/none"], "--output=/proc/none cannot be written"),
        (["--format=gif"], "--format"),
    ],
)
def test_mistakes(photographs, tmp_path, arguments, pattern):
    done = beam(photographs, tmp_path / "out", *arguments)
    assert done.returncode == 1 and pattern in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()


def test_a_photograph_is_colored_alike_whatever_its_neighbors():
    """Kernels for one picture round otherwise than those for several."""
    model = colorizer.load()
    pictures = [skimage.data.astronaut()[:200], skimage.data.coffee(), skimage.data.cat()]
    together = model.colorize_batch(pictures)
    for picture, expected in zip(pictures, together, strict=True):
        np.testing.assert_array_equal(model.colorize(picture), expected)
