# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""How commands run: flags, help, errors and exit statuses. Commands here import no TensorFlow."""

import re
import subprocess
import sys

import pytest

from koalagan import cli, options
from koalagan.errors import UserError, one_line

SCRIPT = """
import dataclasses, os, signal, sys
from koalagan import cli
from koalagan.errors import UserError
from koalagan.options import option

@dataclasses.dataclass(frozen=True)
class Settings:
    "Things."
    count: int = option(1, "Of things.", minimum=0)
    place: str = option("here", "Where they are.", required=True)

# Shells start background jobs with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
def main(settings, arguments):
    if arguments == ["mistake"]:
        raise UserError("there is no picture: name one.")
    if arguments == ["bug"]:
        raise KeyError("bug")
    if arguments == ["interrupt"]:
        os.kill(os.getpid(), signal.SIGINT)
    if arguments == ["terminate"]:
        os.kill(os.getpid(), signal.SIGTERM)
    if arguments == ["name"]:
        print("\\udcff.jpg")
    return settings.count + len(arguments) - 1

takes = "" if os.environ.get("NO_ARGUMENTS") else "THING..."
cli.run(cli.Command("Counts things.", Settings, main, arguments=takes))
"""

# Runs koalagan as a user would, and reports which heavy libraries it imported.
PROGRAM = """
import runpy, sys
module, sys.argv = sys.argv[1], sys.argv[1:]
try:
    runpy.run_module(module, run_name="__main__")
finally:
    heavy = {"tensorflow", "keras", "tensorflow_datasets", "matplotlib", "gradio", "av"}
    print("imported:", heavy & {*sys.modules}, file=sys.stderr)
"""


def script(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        env=environment or None,
    )


def koalagan(module, *arguments):
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, module, *arguments], capture_output=True, text=True
    )
    *lines, imported = ended.stderr.splitlines()
    assert imported == "imported: set()", ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stdout, "\n".join(lines)


def test_exit_statuses():
    assert script().returncode == 0
    assert script("a", "b").returncode == 2


@pytest.mark.parametrize("flag", ["--help", "-h", "-helpfull"])
def test_help_is_not_a_mistake(flag):
    result = script(flag)
    assert result.returncode == 0 and "Of things." in result.stdout


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["mistake"], "there is no picture: name one."),
        (["--place="], "--place is missing: Where they are."),
    ],
)
def test_a_users_mistake_is_one_sentence(arguments, sentence):
    result = script(*arguments)
    assert (result.returncode, result.stderr) == (1, f"koalagan: {sentence}\n")


def test_positional_arguments_are_refused_where_none_are_taken():
    result = script("photo.jpg", NO_ARGUMENTS="1")
    assert result.returncode == 1 and "takes only flags, not 'photo.jpg'" in result.stderr


@pytest.mark.parametrize("flag", ["--nonsense=1", "--count=-1", "--count=x", "--flagfile=/no/file"])
def test_flag_mistakes_exit_1_without_a_traceback(flag):
    result = script(flag)
    assert result.returncode == 1
    assert flag.split("=")[0].strip("-") in result.stderr or "/no/file" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_bug_keeps_its_traceback():
    result = script("bug")
    assert result.returncode == 1 and "Traceback" in result.stderr and "KeyError" in result.stderr


@pytest.mark.parametrize(("how", "status"), [("interrupt", 130), ("terminate", 143)])
def test_a_signal_is_one_line_and_its_status(how, status):
    result = script(how)
    assert result.returncode == status and "Traceback" not in result.stderr
    assert "interrupted; finished work is kept, and the same command continues it" in result.stderr


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0", b"--flagfile=x\0y\n"])
def test_a_flagfile_that_is_not_text(tmp_path, content):
    (tmp_path / "photo.flags").write_bytes(content)
    result = script(f"--flagfile={tmp_path / 'photo.flags'}")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "the flags cannot be read" in result.stderr


def test_a_file_name_that_is_not_unicode_is_printed():
    result = script("name")
    assert (result.returncode, result.stdout) == (1, "\\udcff.jpg\n")


def test_one_line_shortens_and_joins():
    assert one_line("first\n  second.") == "first second"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line("x" * 1000)) < 310


def flags(text):
    return re.findall(r"^ *--(?:\[no\])?(\w+)", text, re.MULTILINE)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_of_a_command(name):
    """The same by either way, without waiting for TensorFlow."""
    status, listed, _ = koalagan(f"koalagan.{name}", "--help")
    assert status == 0 and "usage: " in listed
    assert {"train": "generator", "export": "output_dir"}.get(name, "saved_model") in flags(listed)
    status, same, _ = koalagan("koalagan", name, "--help")
    assert status == 0 and f"usage: koalagan {name} " in same and flags(same) == flags(listed)


def test_the_list_of_commands():
    status, listed, _ = koalagan("koalagan", "--help")
    assert status == 0
    assert re.findall(r"^  (\w+) +\S", listed, re.MULTILINE) == list(cli.COMMANDS)
    for arguments, sentence in (([], ""), (["paint"], "there is no command 'paint'")):
        status, out, err = koalagan("koalagan", *arguments)
        assert status == 1 and not out and sentence in err and listed.strip() in err


def test_version():
    status, out, _ = koalagan("koalagan", "--version")
    assert status == 0 and re.fullmatch(r"koalagan \d+\.\d+\.\d+\n", out)


@pytest.mark.parametrize(
    "argument, sentence",
    [
        ("--pretrain_epoch=3", "Unknown command line flag 'pretrain_epoch'"),
        ("--epochs=many", "epochs"),
        ("photo.jpg", "takes only flags"),
    ],
)
def test_mistakes_are_answered_without_tensorflow(argument, sentence):
    status, out, err = koalagan("koalagan", "train", argument)
    assert status == 1 and not out and sentence in err


def test_a_required_flag():
    status, _, err = koalagan("koalagan.export", "--workdir=run")
    assert status == 1 and err.startswith("koalagan: --output_dir is missing: ")
    assert len(err.splitlines()) == 1


def test_tfds_can_be_the_first_thing_that_is_used():
    program = (
        "from koalagan.data import sources\n"
        "try:\n    sources.open_source('no_such_dataset', 'train')\n"
        "except ValueError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "no dataset 'no_such_dataset'" in ended.stdout, ended.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_flagfile_may_begin_with_a_byte_order_mark(tmp_path, encoding):
    inner, outer = tmp_path / "inner.flags", tmp_path / "outer.flags"
    inner.write_text("# A comment.\n--count=7\n", encoding)
    outer.write_text(f"--flagfile={inner}\n// Another.\n\n", encoding)
    arguments = options.expand_flagfiles(["program", f"--flagfile={outer}", "--", "--flagfile=x"])
    assert arguments == ["program", "--count=7", "--", "--flagfile=x"]


def test_a_flagfile_that_names_itself(tmp_path):
    (tmp_path / "a.flags").write_text(f"--flagfile={tmp_path}/a.flags\n")
    with pytest.raises(UserError, match="a.flags names itself"):
        options.expand_flagfiles([f"--flagfile={tmp_path}/a.flags"])
