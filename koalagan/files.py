# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Files: written whole or not at all, and told apart by what they hold."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from koalagan.errors import UserError


def publish(path: str | Path, write: Callable[[Path], Any]) -> None:
    """Writes `path` under another name and renames it, so that a stop at any time harms nothing.

    Args:
        path: the file; an older one is replaced.
        write: writes the file whose path it gets. That path has the same ending.

    Raises:
        OSError: the file cannot be written; the older one is still there.
    """
    path = Path(path)
    # Short where the name is long: both have to fit into what file systems take.
    own = f"{os.getpid()}-{threading.get_ident()}"
    temporary = path.with_name(f".{path.stem[:40]}.writing-{own}{path.suffix}")
    try:
        write(temporary)
        flush_to_disk(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def publish_text(path: str | Path, text: str) -> None:
    """`publish` of a text in UTF-8; what is no text in it, as in names of files, is escaped.

    Raises:
        OSError: the file cannot be written; the older one is still there.
    """
    publish(path, lambda temporary: temporary.write_text(text, "utf-8", "backslashreplace"))


def flush_to_disk(path: str | Path) -> None:
    """Waits until a file outlives the machine's being switched off."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_readable(path: str | Path) -> None:
    """Refuses a place that TensorFlow can write checkpoints and SavedModels to and not read from.

    It takes the names of checkpoints for patterns.

    Raises:
        UserError: it is such a one.
    """
    if bad := [character for character in "[\\" if character in os.path.abspath(path)]:
        raise UserError(
            f"TensorFlow cannot read what lies in {os.path.abspath(path)}, for the {bad[0]} in its "
            "name: rename it, or name another."
        )


def digest(paths: Iterable[str], algorithm: str = "sha256") -> str:
    """The hexadecimal digest of the contents of files, one after the other.

    Raises:
        UserError: one cannot be read.
    """
    total = hashlib.new(algorithm, usedforsecurity=False)
    for path in paths:
        try:
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    total.update(block)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    return total.hexdigest()
