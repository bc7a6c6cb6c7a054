# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""How every command runs: its flags, its help, its errors in one sentence, its exit status.

    koalagan train --flagfile=...             # the console script
    python -m koalagan train --flagfile=...   # the same
    python -m koalagan.train --flagfile=...   # the same

A command module declares a `Command` and imports what it works with inside `main`, so that `--help`
and mistakes in flags are answered without waiting for TensorFlow.
"""

import dataclasses
import importlib
import os
import signal
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging

import koalagan
from koalagan import options
from koalagan.errors import UserError, one_line

COMMANDS = ("train", "evaluate", "export", "colorize", "colorize_beam", "demo")

_HELP = {
    "-h",
    "-?",
    *(f"{dashes}{name}" for dashes in ("-", "--") for name in ("help", "helpshort")),
}
_FULL_HELP = {"-helpfull", "--helpfull", "-helpxml", "--helpxml"}


@dataclasses.dataclass(frozen=True)
class Command:
    """A command line.

    Attributes:
        doc: what `--help` says above the flags; the first line alone is shown in the list of
            commands.
        options: the dataclass that holds its flags (see `koalagan.options`).
        main: runs it, given an `options` object and the positional arguments; returns the exit
            status, or None for 0.
        arguments: how the usage line calls the positional arguments; empty where there are none.
        resumed_by: what continues the work after Ctrl-C or SIGTERM.
        passes_on: whose flags `main` gets as its arguments; without it, unknown ones are mistakes.
    """

    doc: str
    options: type
    main: Callable[[Any, list[str]], int | None]
    arguments: str = ""
    resumed_by: str = "the same command"
    passes_on: str = ""


class _Terminated(BaseException):
    """SIGTERM, which schedulers send before they take a machine away."""


def main() -> None:
    """Runs `koalagan COMMAND ...`."""
    name = sys.argv[1] if len(sys.argv) > 1 else None
    if name == "--version":
        print(f"koalagan {koalagan.__version__}")
    elif name in _HELP | _FULL_HELP:
        _print_help(_overview())
    elif name in COMMANDS:
        sys.argv = [f"koalagan {name}", *sys.argv[2:]]
        run(importlib.import_module(f"koalagan.{name}").COMMAND)
    else:
        if name is not None:
            print(f"koalagan: there is no command {name!r}.\n", file=sys.stderr)
        print(_overview(), file=sys.stderr)
        sys.exit(1)


def _overview() -> str:
    """The list of commands, one line each."""
    lines = [
        f"  {name:15}{_summary(importlib.import_module(f'koalagan.{name}').COMMAND)}"
        for name in COMMANDS
    ]
    return "\n".join(
        [
            "usage: koalagan COMMAND [--flag=value ...] [ARGUMENT ...]",
            "",
            *lines,
            "",
            "`koalagan COMMAND --help` lists the flags of a command.",
        ]
    )


def _print_help(text: str) -> None:
    """Prints to stdout, whose reader may end before the text does, as `head` may."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python flushes stdout once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _summary(command: Command) -> str:
    return command.doc.strip().splitlines()[0]


def run(command: Command) -> None:
    """Parses the process's flags, runs the command and exits with its status.

    Mistakes in flags and `UserError` print one sentence and exit with 1; Ctrl-C and SIGTERM exit
    with 128 + their number. Every other exception is a bug and keeps its traceback.
    """

    def guarded(argv: Sequence[str]) -> int | None:
        try:
            if len(argv) > 1 and not (command.arguments or command.passes_on):
                raise UserError(f"{argv[0]} takes only flags, not {argv[1]!r}: see --help.")
            options.require(command.options, flags.FLAGS)
            for argument in () if command.passes_on else argv[1:]:
                options.refuse_url(argument, argument)
            return command.main(options.from_flags(command.options, flags.FLAGS), list(argv[1:]))
        except UserError as error:
            print(f"koalagan: {error}", file=sys.stderr)
            return 1
        except (KeyboardInterrupt, _Terminated) as stop:
            print(
                f"\nkoalagan: interrupted; finished work is kept, and {command.resumed_by} "
                "continues it.",
                file=sys.stderr,
            )
            return 128 + (signal.SIGTERM if isinstance(stop, _Terminated) else signal.SIGINT)

    # At INFO, TensorFlow and TFDS report internals that would bury the command's own output.
    logging.set_verbosity(logging.WARNING)
    # File names need not be valid Unicode.
    sys.stdout.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminate)
    options.define_flags(command.options)
    app.run(guarded, flags_parser=lambda argv: _parse_flags(command, argv))


def _terminate(number: int, frame: types.FrameType | None) -> None:
    raise _Terminated


def _parse_flags(command: Command, argv: Sequence[str]) -> list[str]:
    given = set(argv[1 : argv.index("--")] if "--" in argv else argv[1:])
    if given & _HELP:
        _print_help(_help(command, argv[0]))
        sys.exit(0)
    try:
        known_only = bool(command.passes_on)
        return flags.FLAGS(options.expand_flagfiles(argv), known_only=known_only)
    except SystemExit:
        if given & _FULL_HELP:  # absl exits as after a mistake
            sys.exit(0)
        raise
    except UserError as error:
        print(f"koalagan: {error}", file=sys.stderr)
    except flags.Error as error:
        print(f"koalagan: {one_line(error)}; --help lists the flags.", file=sys.stderr)
    except (OSError, ValueError) as error:  # absl takes every flagfile for text
        print(f"koalagan: the flags cannot be read: {one_line(error)}.", file=sys.stderr)
    sys.exit(1)


def _help(command: Command, program: str) -> str:
    """The text of `--help`: what the command does, and its flags by group."""
    path = Path(program)
    if path.suffix == ".py" and path.stem in COMMANDS:  # python -m koalagan.NAME
        program = f"koalagan {path.stem}"
    others = f"[{command.passes_on}'s options ...] " if command.passes_on else ""
    usage = f"usage: {program} [--flag=value ...] {others}{command.arguments}".rstrip()
    groups = [
        flags.FLAGS.module_help(options.title(group)).strip("\n")
        for group in options.groups(command.options)
    ]
    flagfile = "--flagfile=FILE reads flags from a file, one a line; --helpfull lists absl's flags."
    return "\n\n".join([command.doc.strip(), usage, *groups, flagfile])
