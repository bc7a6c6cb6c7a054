# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Errors that users can correct, told in one sentence.

Libraries raise `UserError`; `koalagan.cli` alone turns it into a message and an exit status.
"""


class UserError(ValueError):
    """A mistake in the input or the environment that the user can correct.

    The message is one sentence that says what is wrong and what to do.
    """


def one_line(error: object) -> str:
    """The start of a message that may have many lines."""
    text = " ".join(str(error).split()).rstrip(".:") or type(error).__name__
    return (text if len(text) <= 300 else text[:300] + "...").replace(". ", "; ")
