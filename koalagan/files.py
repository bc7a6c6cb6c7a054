# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def publish(path: str | Path, write: Callable[[Path], Any]) -> None:
    """Writes `path` under another name and renames it, so that a stop at any time harms nothing.

    Args:
        path: the file; an older one is replaced.
        write: writes the file whose path it gets. That path has the same ending.

    Raises:
        OSError: the file cannot be written; the older one is still there.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.writing-{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
