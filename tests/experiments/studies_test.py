# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Small scripts under experiments/studies."""

import dataset_to_folder
import formats
import gray_recognition
import numpy as np
import pytest
from helpers import stores
from helpers.pictures import encode
from skimage import data

from koalagan.color import lab
from koalagan.data import sources
from koalagan.errors import UserError


def test_a_dataset_becomes_a_folder(tmp_path, monkeypatch):
    source = stores.tiny_source([("a/1.jpg", b"first"), ("a/2", b"second")])
    asked = []
    monkeypatch.setattr(
        sources, "open_source", lambda *given, **named: asked.append((given, named)) or source
    )
    settings = dataset_to_folder.Settings(
        dataset="tiny",
        data_dir="d",
        split="train[:2]",
        output_dir=str(tmp_path / "new" / "x"),
        digits=5,
    )
    dataset_to_folder.main(settings, [])
    assert asked == [(("tiny", "train[:2]"), {"data_dir": "d"})]
    written = {path.name: path.read_bytes() for path in (tmp_path / "new" / "x").iterdir()}
    assert written == {"a_1.jpg": b"first", "00a_2.jpg": b"second"}


def test_what_is_recognized_without_color(tmp_path, capsys):
    """A cat and an espresso: both are recognized either way."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name, picture in (("cat", data.chelsea()[20:280, 100:360]), ("cup", data.coffee())):
        side = min(picture.shape[:2])
        square = np.ascontiguousarray(picture[:side, :side])
        (folder / f"{name}.png").write_bytes(encode(square))
    settings = gray_recognition.Settings(
        dataset="folder",
        data_dir=str(folder),
        store_dir=str(tmp_path / "store"),
        split="train",
        classes="281-285",
    )
    gray_recognition.main(settings, [])
    printed = capsys.readouterr().out
    assert "2 pictures: the same class 100.0%, among the first five 100.0%" in printed
    assert "color: 50.0% in the classes" in printed and "gray: 50.0% in the classes" in printed


def test_ranges_of_classes():
    assert gray_recognition.ranges("3-5,9") == {3, 4, 5, 9}
    with pytest.raises(UserError, match="must be ranges such as"):
        gray_recognition.ranges("cats")


def test_formats_are_measured_by_their_own_runtimes():
    """The model that comes along, at a small size: float32 forms give the same colors."""
    picture = np.ascontiguousarray(data.astronaut()[:64, 150:214])[None]
    L, _ = lab.rgb_to_lab(picture)
    forms = [("savedmodel", "float32", False), ("savedmodel", "float16", False)]
    exact, halved = formats.measure(None, L.numpy(), forms)
    assert (exact["form"], exact["largest"], exact["within_1"]) == ("savedmodel float32", 0, 1.0)
    assert 0 < halved["megabytes"] < 0.7 * exact["megabytes"] and halved["within_1"] > 0.9
    assert exact["seconds"] > 0
    # It has no frozen networks, so that no form can leave them out.
    assert formats.measure(None, L.numpy(), [("savedmodel", "float32", True)]) == []
