# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""One model for all tests of colorizing files."""

import functools

import pytest
from helpers import photos

from koalagan.inference import colorizer


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A SavedModel that paints every picture in one color, red: a* = b* = 16.5."""
    path = tmp_path_factory.mktemp("model") / "export"
    return photos.export_painter(path, 8, offset=(0.15, 0.15))


@pytest.fixture(scope="session")
def lightness_model(tmp_path_factory):
    """A loaded model that paints by lightness, so that grain makes colors flicker."""
    path = tmp_path_factory.mktemp("model") / "export"
    return colorizer.load(photos.export_painter(path, 32, slope=(0.6, -0.4)))


@pytest.fixture(autouse=True)
def loads_each_model_once(monkeypatch):
    """Loading takes most of the time of a test that colors a small photograph."""
    monkeypatch.setattr(colorizer, "load", _load)


_load = functools.cache(colorizer.load)
