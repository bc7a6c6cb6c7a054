# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Plants mistakes in the code, one at a time, and prints which of them the tests do not notice.

    python experiments/robustness/mutation.py

Each mistake is a replaced piece of text in a copy of the repository, where the tests of that file
run until one fails. The tests must pass without it. The exit status is 1 if a mistake survives.
Ctrl-C stops it; `--only=NAME` plants those whose name contains NAME.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags
from mistakes import MISTAKES, Mistake

ROOT = Path(__file__).parents[2]

ONLY = flags.DEFINE_string("only", "", "Plant only mistakes whose name contains this.")


def _survives(copy: Path, mistake: Mistake) -> bool:
    """Whether the tests pass with a mistake."""
    path = copy / "koalagan" / mistake.file
    code = path.read_text()
    if code.count(mistake.right) != 1:
        raise app.UsageError(f"{mistake.name}: {mistake.file} holds its text not once.")
    try:
        path.write_text(code.replace(mistake.right, mistake.wrong))
        return _pass(copy, mistake.tests)
    finally:
        path.write_text(code)


def _pass(copy: Path, tests: str) -> bool:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--numprocesses=0", f"tests/{tests}"]
    return subprocess.run(command, cwd=copy, capture_output=True, check=False).returncode == 0


def main(_) -> None:
    chosen = [mistake for mistake in MISTAKES if ONLY.value in mistake.name]
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "koalagan"
        ignored = shutil.ignore_patterns(".*", "runs", "*.egg-info", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=ignored)
        for tests in sorted({mistake.tests for mistake in chosen}):
            if not _pass(copy, tests):
                raise app.UsageError(f"tests/{tests} fails without any mistake.")
        started = time.monotonic()
        for number, mistake in enumerate(chosen, 1):
            survived = _survives(copy, mistake)
            survivors += [mistake] if survived else []
            left = (time.monotonic() - started) / number * (len(chosen) - number) / 60
            print(
                f"{'SURVIVES' if survived else 'killed':9}{mistake.file:34}{mistake.name} "
                f"({number}/{len(chosen)}, {left:.0f} minutes left)",
                flush=True,
            )
    print(f"{len(survivors)} of {len(chosen)} mistakes survive.")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    app.run(main)
