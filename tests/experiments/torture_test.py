# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Trainings that are killed end where an undisturbed one does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torture

ROOT = Path(__file__).parents[2]


def test_differences_are_seen():
    result = {"checkpoint a": b"1", "checkpoint b": b"2"}
    assert torture.differences(result, dict(result)) == []
    assert torture.differences(result, {"checkpoint a": b"1", "checkpoint b": b"3"}) == [
        "checkpoint b"
    ]
    assert torture.differences(result, {"checkpoint a": b"1"}) == ["checkpoint b"]


@pytest.mark.slow
def test_killed_trainings_are_not_lost(tmp_path):
    # In float16 the loss scale has to be continued too.
    ended = subprocess.run(
        [
            sys.executable,
            str(ROOT / "experiments/torture.py"),
            "--kills=2",
            "--seed=3",
            "--mixed_precision=float16",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
    )
    assert ended.returncode == 0, ended.stderr
    assert "all equal to the undisturbed one" in ended.stdout
    assert not list(tmp_path.glob("torture-*"))
