# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import pytest

from koalagan.errors import one_line

SCRIPT = """
import os, signal
from absl import flags
from koalagan.errors import UserError, run
flags.DEFINE_integer("count", 1, "Of things.", lower_bound=0)
def main(argv):
    if argv[1:] == ["mistake"]:
        raise UserError("there is no picture: name one.")
    if argv[1:] == ["bug"]:
        raise KeyError("bug")
    if argv[1:] == ["interrupt"]:
        raise KeyboardInterrupt
    if argv[1:] == ["terminate"]:
        os.kill(os.getpid(), signal.SIGTERM)
    if argv[1:] == ["name"]:
        print("\\udcff.jpg")
    return len(argv) - 1
run(main)
"""


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True
    )


def test_success_and_statuses():
    assert command().returncode == 0
    assert command("a", "b").returncode == 2


@pytest.mark.parametrize("flag", ["--help", "-helpfull"])
def test_help_is_no_mistake(flag):
    result = command(flag)
    assert result.returncode == 0 and "Of things." in result.stdout


def test_a_users_mistake_is_one_sentence():
    result = command("mistake")
    assert result.returncode == 1
    assert result.stderr == "koalagan: there is no picture: name one.\n"


@pytest.mark.parametrize("flag", ["--nonsense=1", "--count=-1", "--count=x", "--flagfile=/no/file"])
def test_flag_mistakes_exit_1_without_a_traceback(flag):
    result = command(flag)
    assert result.returncode == 1
    assert flag.split("=")[0].strip("-") in result.stderr or "/no/file" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_bug_keeps_its_traceback():
    result = command("bug")
    assert result.returncode == 1 and "Traceback" in result.stderr and "KeyError" in result.stderr


@pytest.mark.parametrize(("how", "status"), [("interrupt", 130), ("terminate", 143)])
def test_an_interrupt_is_one_line_and_its_status(how, status):
    result = command(how)
    assert result.returncode == status and "interrupted" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0", b"--flagfile=x\0y\n"])
def test_a_flagfile_that_is_no_text(tmp_path, content):
    (tmp_path / "photo.flags").write_bytes(content)
    result = command(f"--flagfile={tmp_path / 'photo.flags'}")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "the flags cannot be read" in result.stderr


def test_a_name_that_is_no_text_is_printed():
    result = command("name")
    assert (result.returncode, result.stdout) == (1, "\\udcff.jpg\n")


def test_one_line_shortens_and_joins():
    assert one_line("first\n  second.") == "first second"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line("x" * 1000)) < 310
