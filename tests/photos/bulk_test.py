# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Many photographs: files beside the model's work, batches, and the limits of memory."""

import itertools
import os
import threading
import time

import pytest
import tensorflow as tf
from helpers.photos import colorize, photograph, tree
from PIL import Image

from koalagan.data import decoding
from koalagan.inference.colorizer import Colorizer
from koalagan.photos import bulk, memory


@pytest.fixture
def batches(monkeypatch):
    """The heights of the pictures in each call of the model."""
    heights = []

    def count(self, rgb, render_size, predict=Colorizer.predict):
        heights.append([picture.shape[0] for picture in rgb])
        return predict(self, rgb, render_size)

    monkeypatch.setattr(Colorizer, "predict", count)
    return heights


def test_the_model_waits_for_neither_files_nor_codecs(model, tmp_path, monkeypatch):
    """While it colors a photograph, the next one is decoded and the previous one is written."""
    names = ["a.png", "b.png", "c.png"]
    for name in names:
        photograph(tmp_path / "photos" / name)
    decoded = {name: threading.Event() for name in names}
    meanwhile, calls = [], itertools.count()

    def decode(page, path, decode=decoding.decode_layers):
        try:
            return decode(page, path)
        finally:
            decoded[os.path.basename(path)].set()

    def slow(self, rgb, render_size, predict=Colorizer.predict):
        number = next(calls)
        if number + 1 < len(names):
            meanwhile.append(decoded[names[number + 1]].wait(60))
        if number:
            written = tmp_path / "out" / names[number - 1]
            deadline = time.monotonic() + 60
            while not written.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            meanwhile.append(written.exists())
        return predict(self, rgb, render_size)

    monkeypatch.setattr(decoding, "decode_layers", decode)
    monkeypatch.setattr(Colorizer, "predict", slow)
    assert colorize(model, tmp_path / "out", tmp_path / "photos", batch_size=1) == {}
    assert meanwhile == [True] * 4


def test_photographs_share_calls_of_the_network(model, tmp_path, monkeypatch, batches):
    for number in range(5):
        photograph(tmp_path / "photos" / f"{number}.png", number, height=9 + number)
    photograph(tmp_path / "photos" / "large.png", height=60, width=60)
    monkeypatch.setattr(bulk, "BATCH_PIXELS", 2000)
    assert colorize(model, tmp_path / "out", tmp_path / "photos", batch_size=3) == {}
    assert batches == [[9, 10, 11], [12, 13], [60]]
    for number in range(5):
        with Image.open(tmp_path / "out" / f"{number}.png") as result:
            assert result.size == (14, 9 + number)


def test_photographs_that_exhaust_memory_together_are_colored_one_by_one(
    model, tmp_path, monkeypatch
):
    for number in range(3):
        photograph(tmp_path / "photos" / f"{number}.png", height=9 + number)

    def exhausted(self, rgb, render_size, predict=Colorizer.predict):
        if sum(picture.shape[0] for picture in rgb) > 10:
            raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
        return predict(self, rgb, render_size)

    monkeypatch.setattr(Colorizer, "predict", exhausted)
    failed = colorize(model, tmp_path / "out", tmp_path / "photos")
    assert list(failed) == [str(tmp_path / "photos" / "2.png")]
    assert "(14x11 pixels) does not fit into memory" in failed[str(tmp_path / "photos" / "2.png")]
    assert tree(tmp_path / "out") == ["0.png", "1.png"]


def test_a_picture_too_large_for_the_memory_is_not_tried(model, tmp_path, monkeypatch, batches):
    photograph(tmp_path / "large.png", height=100, width=100)
    photograph(tmp_path / "small.png")
    monkeypatch.setattr(memory, "available", lambda: 10**5)
    failed = colorize(model, tmp_path / "out", tmp_path / "large.png", tmp_path / "small.png")
    (sentence,) = failed.values()
    assert sentence.endswith("(100x100 pixels) does not fit into memory: make it smaller.")
    assert tree(tmp_path / "out") == ["small.png"] and batches == [[10]]
