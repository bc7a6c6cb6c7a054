# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The files of a prepared store: memory maps, marks of progress, locks, room on the disk."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from koalagan import files
from koalagan.errors import UserError, one_line


def fingerprint(facts: dict) -> str:
    """Twelve hexadecimal digits that change whenever `facts` (JSON-able) do."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def write_json(path: Path, content: dict) -> None:
    """Writes the file whole or not at all."""
    files.publish_text(path, json.dumps(content, indent=1))


def read_json(path: Path) -> dict:
    """What `write_json` wrote."""
    return json.loads(path.read_text())


def open_array(path: Path, dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Opens the memory map that an interrupted run left, or makes it."""
    if not path.exists():
        # Under another name until it has its header and its length.
        temporary = path.with_suffix(".tmp")
        np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
        if hasattr(os, "posix_fallocate"):  # not on macOS
            # Its disk now: where a sparse file meets a full disk, the process dies of a bus error.
            with temporary.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
        os.replace(temporary, path)
    return np.lib.format.open_memmap(path, mode="r+")


def open_map(path: Path) -> np.ndarray:
    """A memory map that cannot be written."""
    return np.lib.format.open_memmap(path, mode="r")


def opened(read: Callable, path: Path):
    """`read(path)`, for a file of a published store."""
    try:
        return read(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({one_line(error)}): delete {path.parent} to have its pictures "
            "prepared again."
        ) from error


@contextlib.contextmanager
def keeping_in(store_dir: Path) -> Iterator[None]:
    """Tells what fails on the store's own disk as the user's to mend."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the prepared pictures cannot be kept in {store_dir} ({error.strerror or error}): "
            "make it writable, free some disk, or name another place with --store_dir."
        ) from error


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Waits until no other run prepares in `folder`: two at once would mix up one store."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another run is preparing pictures in {folder}: waiting for it to end")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            pass  # Some network file systems have no locks; a single run needs none.
        yield
    finally:
        os.close(handle)


def require_space(folder: Path, needed: int, what: str) -> None:
    """Says how much disk `what` will take, and refuses before any work where it is not there.

    Raises:
        UserError: the disk is too small.
    """
    free = shutil.disk_usage(folder).free
    print(f"{what} takes {_size(needed)} in {folder} ({_size(free)} free)")
    if needed > free:
        raise UserError(
            f"{what} needs {_size(needed)} and the disk of {folder} has {_size(free)} free: free "
            "some, or name another place with --store_dir."
        )


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
