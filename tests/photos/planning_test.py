# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Which photographs are colored, and the names of their results; no photograph is written to."""

import io
import os

import numpy as np
import pytest
from helpers.photos import colorize, lab, lightness, photograph, tree
from PIL import Image

from koalagan.errors import UserError
from koalagan.photos import planning


def test_names_that_would_clash_keep_their_extension(model, tmp_path, capfd):
    photos, out = tmp_path / "photos", tmp_path / "out"
    for name in ("a.jpg", "a.png", "A.bmp", "b.jpg"):
        photograph(photos / name)
    photograph(tmp_path / "more" / "b.jpg")
    assert colorize(model, out, photos, tmp_path / "more") == {}
    assert tree(out) == ["A.bmp.png", "a.jpg.png", "a.png.png", "b.jpg-2.png", "b.jpg.png"]
    assert f"{photos / 'a.jpg'} becomes a.jpg.png" in capfd.readouterr().err
    first = {name: (out / name).read_bytes() for name in tree(out)}
    assert colorize(model, out, photos, tmp_path / "more") == {}
    assert {name: (out / name).read_bytes() for name in tree(out)} == first


def test_a_photograph_is_never_written_to(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.jpg", "sub/c.png"):
        photograph(tmp_path / name)
    before = {name: (tmp_path / name).read_bytes() for name in tree(tmp_path)}
    os.mkdir("linked")
    os.symlink("../a.png", "linked/a.png")
    assert colorize(model, ".", "a.png", "b.jpg") == {}
    assert colorize(model, "linked", "a.png") == {}
    with pytest.raises(UserError, match="is also a folder of photographs"):
        colorize(model, "sub", "sub")
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert set(tree(tmp_path)) - set(before) == {
        "a.png.png",
        "b.png",
        "linked/a.png",
        "linked/a.png.png",
    }


def test_results_inside_the_folder_are_not_colored_again(model, tmp_path):
    photograph(tmp_path / "a.jpg")
    for _ in range(2):
        assert colorize(model, tmp_path / "colored", tmp_path) == {}
        assert tree(tmp_path) == ["a.jpg", "colored/a.png"]


def test_a_photograph_named_twice_is_colored_once(model, tmp_path):
    photos = tmp_path / "photos"
    photograph(photos / "a.jpg")
    colorize(model, tmp_path / "out", photos, photos / ".." / "photos/a.jpg")
    assert tree(tmp_path / "out") == ["a.png"]


def test_patterns_and_lists(model, tmp_path, monkeypatch):
    for name in ("a1.png", "a2.png", "b1.png", "deep/er/a3.png"):
        photograph(tmp_path / "photos" / name)
    assert colorize(model, tmp_path / "1", tmp_path / "photos" / "a*.png") == {}
    assert tree(tmp_path / "1") == ["a1.png", "a2.png"]
    assert colorize(model, tmp_path / "2", tmp_path / "photos" / "**" / "a*.png") == {}
    assert tree(tmp_path / "2") == ["a1.png", "a2.png", "deep/er/a3.png"]
    listed = f"{tmp_path}/photos/b1.png\n\n".encode() + os.fsencode(tmp_path) + b"/\xff.png\n"
    photograph(tmp_path / os.fsdecode(b"\xff.png"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed)))
    sheet = str(tmp_path / "sheet.html")
    assert colorize(model, tmp_path / "3", "-", contact_sheet=sheet) == {}
    assert tree(tmp_path / "3") == ["b1.png", os.fsdecode(b"\xff.png")]
    above = tmp_path / "photos" / "*" / ".." / ".." / "*.png"
    assert colorize(model, tmp_path / "up", above) == {}
    assert tree(tmp_path / "up") == [os.fsdecode(b"\xff.png")]
    # Results of an earlier call are not photographs.
    inside = tmp_path / "photos" / "colored"
    for _ in range(2):
        assert colorize(model, inside, tmp_path / "photos" / "**" / "a*.png") == {}
        assert tree(inside) == ["a1.png", "a2.png", "deep/er/a3.png"]
    with pytest.raises(UserError, match=r"No file or folder matches .*z\*.png"):
        colorize(model, tmp_path / "4", tmp_path / "z*.png")


def test_results_may_go_to_a_folder_above_the_photographs(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photograph(tmp_path / "scans" / "a.jpg")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"scans/a.jpg\n")))
    for argument in ("scans", "scans/*.jpg", "-"):
        assert colorize(model, ".", argument) == {}
        assert tree(tmp_path) == ["a.png", "scans/a.jpg"]
        (tmp_path / "a.png").unlink()


def test_when_a_job_is_done(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photograph(photos / "a.jpg")
    (job,) = planning.plan([str(photos)], str(out), variants=2)
    names = [path.removeprefix(f"{out}/") for path in (*job.targets, job.copy)]
    assert names == ["a-1.png", "a-2.png", "a.jpg"] and not job.done(False)
    out.mkdir()
    (out / "a-1.png").touch()
    assert not job.done(False) and job.existing(False) == [job.targets[0]]
    (out / "a-2.png").touch()
    assert job.done(False) and job.done(True)
    (out / "a-2.png").unlink()
    (out / "a.jpg").write_text("another picture")
    assert not job.done(False)
    (out / "a.jpg").write_bytes((photos / "a.jpg").read_bytes())
    assert job.done(False) and not job.done(True)
    assert job.existing(False) == [job.targets[0], job.copy]


def test_a_photograph_is_never_its_own_copy(tmp_path):
    photograph(tmp_path / "a.jpg")
    (job,) = planning.plan([str(tmp_path / "a.jpg")], str(tmp_path))
    assert job.copy is None and job.targets == (str(tmp_path / "a.png"),)


def test_a_copy_never_replaces_the_result_of_another_photograph(tmp_path):
    for name in ("a.jpg", "b.png", "b-1.png"):
        photograph(tmp_path / "photos" / name)
    jobs = planning.plan([str(tmp_path / "photos")], str(tmp_path / "out"), variants=2)
    results = [path for job in jobs for path in (*job.targets, job.copy)]
    assert len(set(results)) == len(results) == 9


def test_a_pattern_below_a_folder_whose_name_has_brackets(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("scans [1960]/a.jpg", "scans [1960]/b.png", "scans 1/c.jpg"):
        photograph(tmp_path / name)
    assert colorize(model, "out", "scans [1960]/*.jpg") == {}
    assert tree(tmp_path / "out") == ["a.png"]
    assert colorize(model, "all", "scans*/*.jpg") == {}
    assert tree(tmp_path / "all") == ["scans 1/c.png", "scans [1960]/a.png"]


def test_what_a_folder_holds_besides_pictures_is_named(model, tmp_path, capfd):
    photograph(tmp_path / "photos" / "a.jpg")
    photograph(tmp_path / "photos" / "scan", format="jpeg")
    (tmp_path / "photos" / "notes.txt").write_text("text")
    assert colorize(model, tmp_path / "out", tmp_path / "photos") == {}
    assert tree(tmp_path / "out") == ["a.png", "scan.png"]
    err = capfd.readouterr().err
    assert "left out 1 files that are not pictures" in err and "photos/notes.txt" in err


def test_pages_become_results_of_their_own(model, tmp_path, capfd):
    pages = [Image.fromarray(np.full((20, 30), level, np.uint8)) for level in (60, 120, 180)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "b.gif", save_all=True, append_images=pages[1:])
    assert colorize(model, tmp_path / "out", tmp_path / "a.tif", tmp_path / "b.gif") == {}
    names = ["a-page2.png", "a-page3.png", "a.png", "b-page2.png", "b-page3.png", "b.png"]
    assert tree(tmp_path / "out") == names
    for name, level in zip(["a.png", *names[:2]], (60, 120, 180), strict=True):
        shown = lab(tmp_path / "out" / name)[..., 0]
        assert np.abs(shown - lightness(np.full((20, 30), level, np.uint8))).max() < 1
    # The first page is written last: a file is done when it is there.
    (tmp_path / "out" / "a.png").unlink()
    assert colorize(model, tmp_path / "out", tmp_path / "a.tif", skip_existing=True) == {}
    assert tree(tmp_path / "out") == names


def test_a_page_never_replaces_a_photograph_or_what_must_stay(model, tmp_path):
    pages = [Image.fromarray(np.full((20, 30), level, np.uint8)) for level in (60, 120)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    photograph(tmp_path / "a-page2.png")
    before = (tmp_path / "a-page2.png").read_bytes()
    assert colorize(model, tmp_path, tmp_path / "a.tif", tmp_path / "a-page2.png") == {}
    assert (tmp_path / "a-page2.png").read_bytes() == before
    assert (tmp_path / "a-page2-2.png").is_file()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a-page2.png").write_bytes(b"mine")
    failed = colorize(model, tmp_path / "out", tmp_path / "a.tif", overwrite=False)
    assert "a-page2.png exists already" in failed[str(tmp_path / "a.tif")]
    assert (tmp_path / "out" / "a-page2.png").read_bytes() == b"mine"
