# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Importing: what a command needs to read its flags does not wait for TensorFlow."""

import subprocess
import sys

import pytest

PROGRAM = """
import runpy
import sys

sys.argv = ["koalagan", "--help"]
try:
    runpy.run_module("koalagan.{name}", run_name="__main__")
finally:
    heavy = {{"tensorflow", "keras", "tensorflow_datasets", "matplotlib", "gradio", "av"}}
    print("imported:", heavy & {{*sys.modules}}, file=sys.stderr)
"""


@pytest.mark.parametrize("name", ["train", "evaluate", "export", "colorize", "demo"])
def test_a_command_reads_its_flags_without_tensorflow(name):
    command = [sys.executable, "-c", PROGRAM.format(name=name)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert any(flag in ended.stdout for flag in ("--output_dir", "--generator", "--saved_model"))
    assert ended.stderr.splitlines()[-1] == "imported: set()"


def test_tfds_can_be_the_first_thing_that_is_used():
    """It imports much that imports it; nothing of that may wait for itself."""
    program = (
        "from koalagan.data import sources\n"
        "try:\n    sources.open_source('no_such_dataset', 'train')\n"
        "except ValueError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "no dataset 'no_such_dataset'" in ended.stdout, ended.stderr
