# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Damaged pictures and flagfiles give a result or one sentence (experiments/robustness/fuzz.py)."""

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
from koalagan import options
from koalagan.errors import UserError
from koalagan.training import resolving
from koalagan.training import settings as run_settings

ROOT = Path(__file__).parents[2]
# Derandomized: a failure here is a failure everywhere. `fuzz.py` takes a seed.
DETERMINISTIC = hypothesis.settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
# How many examples are tried.
EXAMPLES = [60, pytest.param(500, marks=pytest.mark.nightly)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return fuzz.export_small(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(exported):
    return koalagan.load(exported).colorize, tf.saved_model.load(exported).signatures[
        "colorize_bytes"
    ]


@strategies.composite
def damaged(draw):
    original = draw(strategies.sampled_from(fuzz.originals()))
    return fuzz.mutated(random.Random(draw(strategies.integers(0, 2**32))), original)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_damaged_pictures_are_colored_or_refused(model, tmp_path, examples):
    color, signature = model

    @hypothesis.settings(DETERMINISTIC, max_examples=examples)
    @hypothesis.given(damaged())
    def check(encoded):
        assert fuzz.through_colorize(color, encoded, tmp_path / "x") in ("colored", "refused")
        assert fuzz.through_signature(signature, encoded) in ("colored", "refused")

    check()


def test_undamaged_pictures_are_colored(model, tmp_path):
    color, signature = model
    originals = fuzz.originals()
    for number, encoded in enumerate(originals):
        assert fuzz.through_colorize(color, encoded, tmp_path / "x") == "colored", number
    taken = [fuzz.through_signature(signature, encoded) for encoded in originals]
    assert taken.count("refused") == 1  # TensorFlow does not read TIFF


_NAMES = strategies.sampled_from(sorted(options.values(run_settings.RunSettings())))
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


@pytest.mark.parametrize("examples", EXAMPLES)
def test_damaged_flagfiles_are_read_or_refused(tmp_path, monkeypatch, examples):
    monkeypatch.chdir(ROOT)
    path = tmp_path / "given.flags"

    @hypothesis.settings(DETERMINISTIC, max_examples=examples)
    @hypothesis.given(strategies.lists(_LINES, max_size=6))
    def check(lines):
        path.write_text("\n".join(["--workdir=somewhere", *lines]), "utf-8", "surrogateescape")
        try:
            resolving.resolve(run_settings.parse([f"--flagfile={path}"]))
        except UserError as error:
            assert "\n" not in str(error)

    check()


def check_counts(output, files):
    counts = dict(line.rsplit(": ", 1) for line in output.splitlines())
    for part in ("colorize", "colorize_bytes"):
        found = (int(counts.get(f"{part} {result}", 0)) for result in ("colored", "refused"))
        assert sum(found) == files


def test_results_are_counted_and_nothing_is_kept(exported, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fuzz.main(fuzz.FuzzSettings(files=5, saved_model=exported), [])
    check_counts(capsys.readouterr().out, 5)
    assert not list(tmp_path.iterdir())


@pytest.mark.nightly
def test_the_command(tmp_path):
    ended = subprocess.run(
        [sys.executable, str(ROOT / "experiments/robustness/fuzz.py"), "--files=50"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert ended.returncode == 0, ended.stderr
    check_counts(ended.stdout, 50)
    assert not list(tmp_path.iterdir())
