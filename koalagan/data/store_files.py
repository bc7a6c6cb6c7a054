# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The files of a prepared store: memory maps, JSON files, locks, and disk space."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from koalagan import files
from koalagan.errors import UserError, one_line

_Content = TypeVar("_Content")


def fingerprint(facts: dict[str, Any]) -> str:
    """Twelve hexadecimal digits that change whenever `facts` (JSON-serializable) change."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file completely or not at all."""
    files.publish_text(path, json.dumps(content, indent=1))


def read_json(path: Path) -> dict[str, Any]:
    """Reads what `write_json` wrote."""
    return json.loads(path.read_text())


def open_writable(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.ndarray:
    """Opens the memory map that an interrupted run left, or creates it."""
    if not path.exists():
        # Under a temporary name until it has its header and its full length.
        temporary = path.with_suffix(".tmp")
        np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
        if hasattr(os, "posix_fallocate"):  # Not on macOS.
            # Reserves the disk space now: writing to a sparse file on a full disk is a bus error.
            with temporary.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
        os.replace(temporary, path)
    return np.lib.format.open_memmap(path, mode="r+")


def open_read_only(path: Path) -> np.ndarray:
    """Opens a memory map that cannot be written to."""
    return np.lib.format.open_memmap(path, mode="r")


def load(read: Callable[[Path], _Content], path: Path) -> _Content:
    """Calls `read(path)` on a file of a store.

    Raises:
        UserError: the file is absent or damaged; the message says which folder to delete.
    """
    try:
        return read(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({one_line(error)}): delete {path.parent} to have its pictures "
            "prepared again."
        ) from error


@contextlib.contextmanager
def writing_to(store_dir: Path) -> Iterator[None]:
    """Turns an OSError into a UserError about the disk that holds the stores.

    Raises:
        UserError: something in the context raised OSError.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"The prepared pictures cannot be written to {store_dir} ({error.strerror or error}): "
            "make it writable, free some disk space, or choose another folder with --store_dir."
        ) from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Waits until no other run prepares in `folder`: two at once would mix up one store."""

    def tell() -> None:
        print(f"another run is preparing pictures in {folder}: waiting for it to finish")

    with files.locked(folder / ".lock", tell):
        yield


def require_space(folder: Path, needed: int, what: str) -> None:
    """Prints how much disk space `what` will take, and refuses if there is less.

    Raises:
        UserError: the disk has too little space.
    """
    free = shutil.disk_usage(folder).free
    print(f"{what} takes {_size(needed)} in {folder} ({_size(free)} free)")
    if needed > free:
        raise UserError(
            f"{what} needs {_size(needed)} and the disk of {folder} has {_size(free)} free: free "
            "some space, or choose another folder with --store_dir."
        )


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
