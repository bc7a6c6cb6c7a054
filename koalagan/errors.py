# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What a user did wrong, and how a command says so.

Libraries raise `UserError` with one sentence that names what is wrong and what to do about it.
`run` is the only place that turns it, and Ctrl-C, into a message and an exit status; every other
exception is a bug and keeps its traceback.
"""

import signal
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, logging


class UserError(ValueError):
    """A mistake in the input or the environment that the user can mend, told in one sentence."""


def one_line(error: object) -> str:
    """The start of a message that may run over many lines."""
    text = " ".join(str(error).split()).rstrip(".:") or type(error).__name__
    return (text if len(text) <= 300 else text[:300] + "...").replace(". ", "; ")


_HELP = {
    f"{dashes}{name}" for dashes in ("-", "--") for name in ("?", "help", "helpshort", "helpfull")
}


class _Terminated(BaseException):
    """SIGTERM, which schedulers send before they take a machine away."""


def _terminate(number: int, frame: types.FrameType | None) -> None:
    raise _Terminated


def _parse_flags(argv: Sequence[str]) -> list[str]:
    try:
        return app.parse_flags_with_usage(argv)
    except SystemExit:
        if _HELP & set(argv):  # absl says help and ends as for a mistake
            sys.exit(0)
        raise
    except (OSError, ValueError) as error:  # absl takes every flagfile for a text
        print(f"koalagan: the flags cannot be read: {one_line(error)}.", file=sys.stderr)
        sys.exit(1)


def run(main: Callable[[Sequence[str]], Any], resumed_by: str = "the same command") -> None:
    """Runs `main(argv)` under absl: flag errors and `UserError` exit 1 with their sentence, Ctrl-C
    and SIGTERM with 128 + their number.

    Args:
        main: gets the positional arguments, program name first; returns the exit status or None.
        resumed_by: what goes on after Ctrl-C or SIGTERM.
    """

    def guarded(argv: Sequence[str]) -> Any:
        try:
            return main(argv)
        except UserError as error:
            print(f"koalagan: {error}", file=sys.stderr)
            return 1
        except (KeyboardInterrupt, _Terminated) as stop:
            print(
                f"\nkoalagan: interrupted; what was finished is kept, and {resumed_by} goes on.",
                file=sys.stderr,
            )
            return 128 + (signal.SIGTERM if isinstance(stop, _Terminated) else signal.SIGINT)

    # TensorFlow and TFDS tell at INFO what they do inside, which would bury what the user is told.
    logging.set_verbosity(logging.WARNING)
    # Names of files need not be text.
    sys.stdout.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminate)
    app.run(guarded, flags_parser=_parse_flags)
