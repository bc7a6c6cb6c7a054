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
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
