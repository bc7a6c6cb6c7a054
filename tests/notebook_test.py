# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""docs/koalagan.ipynb, run whole from its first cell to its last."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "koalagan.ipynb"


def cells():
    return json.loads(NOTEBOOK.read_text("utf-8"))["cells"]


def test_it_is_kept_without_outputs():
    for cell in cells():
        assert cell["cell_type"] == "markdown" or (
            not cell["outputs"] and cell["execution_count"] is None
        )
        compile("".join(cell["source"]) if cell["cell_type"] == "code" else "", "cell", "exec")


@pytest.mark.nightly
def test_it_runs(tmp_path):
    code = [cell for cell in cells() if cell["cell_type"] == "code"]
    script = "\n\n".join("".join(cell["source"]) for cell in code)
    (tmp_path / "notebook.py").write_text(script)
    environment = {**os.environ, "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, "notebook.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    gray, colored = _two_numbers(next(line for line in lines if line.startswith("gray ")))
    assert colored < gray
    before, after = _two_numbers(next(line for line in lines if line.startswith("before ")))
    assert after < before
    assert "MB" in done.stdout and lines[-1] == "(1, 256, 256, 3)"


def _two_numbers(line):
    return [float(part.split()[1]) for part in line.split(",")]
