# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Files and folders: written whole or not at all, locked, and identified by their contents."""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import filelock

from koalagan.errors import UserError

# How unfinished files and folders are named, for whoever cleans up after a killed process.
_WRITING, _REPLACED = ".writing-", ".replaced-"
# Errors of file systems without locks.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


def is_url(path: str) -> bool:
    """Whether a path names another file system by its scheme, as gs://bucket/folder does."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path) is not None


def cache_folder() -> str:
    """koalagan's folder in the user's cache folder (XDG_CACHE_HOME, or ~/.cache)."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "koalagan")


def publish(path: str | Path, write: Callable[[Path], Any]) -> None:
    """Writes a file under a temporary name and renames it, so a stop at any time does no harm.

    Args:
        path: the file; an older one is replaced.
        write: writes the file at the path that it is given, which has the same extension.

    Raises:
        OSError: the file cannot be written; the older one is still there.
    """
    path = Path(path)
    # Shortened, because file systems limit the length of a name.
    own = f"{os.getpid()}-{threading.get_ident()}"
    temporary = path.with_name(f".{path.stem[:40]}{_WRITING}{own}{path.suffix}")
    try:
        write(temporary)
        flush_to_disk(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def publish_text(path: str | Path, text: str) -> None:
    """Writes text as UTF-8 by `publish`; what UTF-8 cannot encode, as in file names, is escaped.

    Raises:
        OSError: the file cannot be written; the older one is still there.
    """
    publish(path, lambda temporary: temporary.write_text(text, "utf-8", "backslashreplace"))


@contextlib.contextmanager
def published_folder(path: str | Path) -> Iterator[str]:
    """A folder to write to, which replaces the folder `path` when the context ends without error.

    Raises:
        OSError: the folder cannot be written; the older one is still there.
    """
    path = os.fspath(path)
    # Next to its final place, so that the rename stays on one file system.
    temporary = f"{path}{_WRITING}{os.getpid()}"
    try:
        os.makedirs(temporary)
        yield temporary
        if not os.path.isdir(path):
            os.rename(temporary, path)
            return
        # A folder that is not empty cannot be renamed over.
        earlier = f"{path}{_REPLACED}{os.getpid()}"
        os.rename(path, earlier)
        try:
            os.rename(temporary, path)
        except OSError:
            os.rename(earlier, path)
            raise
        shutil.rmtree(earlier)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def delete_unfinished(folder: str | Path) -> None:
    """Deletes what killed processes left of `publish` and `published_folder` below a folder.

    A folder that a process was about to replace when it was killed gets its name back.
    """
    for path in Path(folder).rglob(f"*{_REPLACED}*"):
        former = path.with_name(path.name.partition(_REPLACED)[0])
        if former.exists():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.rename(former)
    for path in Path(folder).rglob(f"*{_WRITING}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def flush_to_disk(path: str | Path) -> None:
    """Waits until a file has reached the disk, so that it survives a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(path: str | Path, when_taken: Callable[[], Any]) -> Iterator[None]:
    """Holds a lock between processes for as long as the context lasts.

    On a file system without locks, as some network file systems are, there is none.

    Args:
        path: the lock's file, which is made and deleted; its folder must exist.
        when_taken: called where another process holds the lock. It may raise; if it returns, the
            lock is waited for.

    Raises:
        OSError: the lock's file cannot be written.
    """
    lock = filelock.FileLock(path)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "flock not supported")
            try:
                lock.acquire(blocking=False)
            except filelock.Timeout:
                when_taken()
                lock.acquire()
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    try:
        yield
    finally:
        # While it is held: whoever waits for a deleted file starts anew. Windows refuses to.
        with contextlib.suppress(OSError):
            Path(path).unlink()
        lock.release()


def check_readable(path: str | Path) -> None:
    """Refuses a path that TensorFlow can write checkpoints and SavedModels to but not read from.

    TensorFlow takes the paths of checkpoints for patterns.

    Raises:
        UserError: the path holds a character with a meaning in patterns.
    """
    path = os.path.abspath(path)
    if bad := [character for character in "[\\" if character in path]:
        raise UserError(
            f"TensorFlow cannot read files from {path} because its name contains {bad[0]}: rename "
            "the folder, or choose another one."
        )


def digest(paths: Iterable[str], algorithm: str = "sha256") -> str:
    """The hexadecimal digest of the contents of files, one after the other.

    Raises:
        UserError: a file cannot be read.
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
