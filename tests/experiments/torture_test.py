# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Killed trainings end with the result of an uninterrupted one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torture

from koalagan.errors import UserError

ROOT = Path(__file__).parents[2]


def test_differences_are_found():
    result = {"checkpoint a": b"1", "checkpoint b": b"2"}
    assert torture.differences(result, dict(result)) == []
    assert torture.differences(result, {"checkpoint a": b"1", "checkpoint b": b"3"}) == [
        "checkpoint b"
    ]
    assert torture.differences(result, {"checkpoint a": b"1"}) == ["checkpoint b"]


def test_a_kill_is_told_from_an_end_and_from_a_failure(tmp_path):
    training = torture.Training(tmp_path / "training", tmp_path, [])
    for number in (signal.SIGKILL, signal.SIGTERM):
        training.command = [sys.executable, "-c", "import time; time.sleep(600)"]
        assert training.start(kill_after=0.5, number=number)
    training.command = [sys.executable, "-c", "pass"]
    assert not training.start() and not training.start(kill_after=60)
    training.command = [sys.executable, "-c", "raise SystemExit('no such picture')"]
    with pytest.raises(UserError, match="ended with status 1: no such picture"):
        training.start()


@pytest.mark.nightly
def test_killed_trainings_lose_nothing(tmp_path):
    # With float16, the loss scale has to be restored too.
    ended = subprocess.run(
        [
            sys.executable,
            str(ROOT / "experiments/robustness/torture.py"),
            "--kills=2",
            "--seed=3",
            "--mixed_precision=float16",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
    )
    assert ended.returncode == 0, ended.stderr
    assert "all equal to the uninterrupted one" in ended.stdout
    assert not list(tmp_path.glob("torture-*"))
