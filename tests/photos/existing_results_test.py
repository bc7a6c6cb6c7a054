# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Results that exist, and photographs that have color: replaced, skipped, copied, recolored."""

import numpy as np
import pytest
import skimage.data
from helpers.photos import colorize, lab, photograph, tree
from PIL import Image

from koalagan.errors import UserError


def color_photograph(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(skimage.data.astronaut()[:200, :200])).save(path)


def test_existing_results(model, tmp_path, capfd):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photograph(photos / "a.png")
    assert colorize(model, out, photos) == {}
    (out / "a.png").write_text("mine")
    photograph(photos / "b.png", seed=1)
    with pytest.raises(UserError, match=f"1 results exist already, .* {out}/a.png: .*--skip_ex"):
        colorize(model, out, photos, overwrite=False)
    assert colorize(model, out, photos, skip_existing=True) == {}
    assert (out / "a.png").read_text() == "mine" and (out / "b.png").exists()
    assert "skipping 1 photographs whose results exist" in capfd.readouterr().err
    assert colorize(model, out, photos) == {}
    assert (out / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_photograph_that_has_color_is_copied_unless_recolored(model, tmp_path, capfd):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photograph(photos / "gray.png", height=64, width=64)
    color_photograph(photos / "color.jpg")
    before = (photos / "color.jpg").read_bytes()
    assert colorize(model, out, photos) == {}
    assert tree(out) == ["color.jpg", "gray.png"]
    assert (out / "color.jpg").read_bytes() == before
    printed = capfd.readouterr().err
    assert f"{photos / 'color.jpg'} has color and stays unchanged" in printed
    assert "1 of 2 pictures have color already" in printed and "--recolor" in printed

    assert colorize(model, out, photos, recolor=True) == {}
    assert tree(out) == ["color.jpg", "color.png", "gray.png"]
    assert np.median(lab(out / "color.png")[..., 1:]) == pytest.approx(0.15 * 110, abs=1)

    # In its own folder, there is nothing to copy.
    assert colorize(model, photos, photos / "color.jpg") == {}
    assert (photos / "color.jpg").read_bytes() == before


def test_a_result_of_another_format_is_not_a_copy(model, tmp_path):
    photograph(tmp_path / "a.jpg")
    assert colorize(model, tmp_path / "out", tmp_path / "a.jpg", format="jpeg") == {}
    assert colorize(model, tmp_path / "out", tmp_path / "a.jpg", skip_existing=True) == {}
    assert tree(tmp_path / "out") == ["a.jpg", "a.png"]


def test_a_copy_never_replaces_a_photograph(model, tmp_path):
    photograph(tmp_path / "a.jpg", height=64, width=64)
    gray = (tmp_path / "a.jpg").read_bytes()
    color_photograph(tmp_path / "sub" / "a.jpg")
    failed = colorize(model, tmp_path, tmp_path / "sub" / "a.jpg")
    assert "its copy would replace" in failed[str(tmp_path / "sub" / "a.jpg")]
    assert (tmp_path / "a.jpg").read_bytes() == gray


def test_copied_photographs_can_be_recolored_later(model, tmp_path):
    photo, out = tmp_path / "a.jpg", tmp_path / "out"
    color_photograph(photo)
    assert colorize(model, out, photo) == {}
    assert tree(out) == ["a.jpg"]
    assert colorize(model, out, photo, skip_existing=True) == {}
    assert tree(out) == ["a.jpg"]
    again = {"recolor": True, "skip_existing": True, "overwrite": False}
    assert colorize(model, out, photo, **again) == {}
    assert tree(out) == ["a.jpg", "a.png"]


def test_a_copy_with_the_name_of_the_result_can_be_recolored_later(model, tmp_path):
    photo, result = tmp_path / "a.png", tmp_path / "out" / "a.png"
    color_photograph(photo)
    assert colorize(model, tmp_path / "out", photo) == {}
    copied = result.read_bytes()
    assert copied == photo.read_bytes()
    again = {"recolor": True, "skip_existing": True}
    assert colorize(model, tmp_path / "out", photo, **again) == {}
    colored = result.read_bytes()
    assert colored != copied
    result.write_bytes(colored + b" ")  # shows whether it is written again
    assert colorize(model, tmp_path / "out", photo, **again) == {}
    assert result.read_bytes() == colored + b" "


def test_what_has_little_color_is_kept_on_request(model, tmp_path):
    rgb = np.full((60, 60, 3), 120, np.uint8)
    rgb[:10, :10] = 255, 140, 20
    Image.fromarray(rgb).save(tmp_path / "stamped.png")
    source = (tmp_path / "stamped.png").read_bytes()
    colorize(model, tmp_path / "out", tmp_path / "stamped.png")
    assert (tmp_path / "out" / "stamped.png").read_bytes() != source
    colorize(model, tmp_path / "kept", tmp_path / "stamped.png", keep_color=True)
    assert (tmp_path / "kept" / "stamped.png").read_bytes() == source
    with pytest.raises(UserError, match="--recolor and --keep_color exclude each other"):
        colorize(model, tmp_path / "no", tmp_path / "a.png", keep_color=True, recolor=True)
