# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Damaged pictures and flagfiles end in a result or in one sentence (see experiments/fuzz.py)."""

import random
import subprocess
import sys
from pathlib import Path

import fuzz
import hypothesis
import pytest
import tensorflow as tf
from hypothesis import strategies

import koalagan
from koalagan.errors import UserError
from koalagan.training import run_flags

ROOT = Path(__file__).parents[2]
# Derandomised: what fails here fails everywhere. Longer runs have seeds of their own.
FUZZ = hypothesis.settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = fuzz.export_small(tmp_path_factory.mktemp("model"))
    colour = koalagan.load(path).colorize
    return colour, tf.saved_model.load(path).signatures["colorize_bytes"]


@strategies.composite
def damaged(draw):
    original = draw(strategies.sampled_from(fuzz.originals()))
    return fuzz.mutated(random.Random(draw(strategies.integers(0, 2**32))), original)


@hypothesis.settings(FUZZ, max_examples=500)
@hypothesis.given(damaged())
def test_damaged_pictures_are_coloured_or_refused(model, tmp_path, encoded):
    colour, signature = model
    assert fuzz.through_colorize(colour, encoded, tmp_path / "x") in ("coloured", "refused")
    assert fuzz.through_signature(signature, encoded) in ("coloured", "refused")


def test_whole_pictures_are_coloured(model, tmp_path):
    colour, signature = model
    for number, encoded in enumerate(fuzz.originals()):
        assert fuzz.through_colorize(colour, encoded, tmp_path / "x") == "coloured", number
    taken = [fuzz.through_signature(signature, encoded) for encoded in fuzz.originals()]
    assert taken.count("refused") == 1  # TensorFlow does not read TIFF


_NAMES = strategies.sampled_from(sorted(run_flags.parse([])))
_VALUES = strategies.one_of(
    strategies.text(max_size=20),
    strategies.integers().map(str),
    strategies.floats().map(str),
    strategies.sampled_from(["none", "random", "true", "nan", "inf", "-1", "0", "1e400", "~", "/"]),
)
_LINES = strategies.one_of(
    strategies.builds("--{}={}".format, _NAMES, _VALUES),
    strategies.builds("--no{}".format, _NAMES),
    strategies.builds("--{}".format, _NAMES),
    strategies.just("--flagfile=experiments/paper.flags"),
    strategies.text(max_size=40),
)


@hypothesis.settings(FUZZ, max_examples=500)
@hypothesis.given(strategies.lists(_LINES, max_size=6))
def test_damaged_flagfiles_are_read_or_refused(tmp_path, monkeypatch, lines):
    monkeypatch.chdir(ROOT)
    path = tmp_path / "given.flags"
    path.write_text("\n".join(["--workdir=somewhere", *lines]), "utf-8", "surrogateescape")
    try:
        run_flags.resolve(run_flags.parse([f"--flagfile={path}"]))
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.slow
def test_the_command(tmp_path):
    ended = subprocess.run(
        [sys.executable, str(ROOT / "experiments/fuzz.py"), "--files=50"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert ended.returncode == 0, ended.stderr
    counts = dict(line.rsplit(": ", 1) for line in ended.stdout.splitlines())
    assert int(counts["colorize coloured"]) + int(counts["colorize refused"]) == 50
    assert not list(tmp_path.iterdir())
