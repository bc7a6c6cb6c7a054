# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Hashes of the contents of files, remembered so that a file is not read twice.

They are kept in koalagan's cache folder, one file for each folder of pictures. A remembered hash
counts as long as the size and the time of modification of its file are the same.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from absl import logging

from koalagan import files, progress
from koalagan.errors import UserError, one_line

_THREADS = 4  # Reading waits for the disk.


def content_hashes(folder: str, paths: Sequence[str]) -> dict[str, tuple[int, str]]:
    """The size and the SHA-256 of each file; (0, "") where it cannot be read.

    Args:
        folder: a folder.
        paths: of files in it, relative to it.
    """
    memory = _memory(folder)
    known = _remembered(memory)
    facts = {path: _facts(os.path.join(folder, path)) for path in paths}
    unknown = [path for path in paths if facts[path] and known.get(path, ())[:2] != facts[path]]
    if unknown:
        try:
            with (
                ThreadPoolExecutor(_THREADS) as pool,
                progress.bar(f"read {os.path.basename(folder) or folder}", len(unknown)) as bar,
            ):
                full = (os.path.join(folder, path) for path in unknown)
                for path, digest in zip(unknown, pool.map(_digest, full), strict=True):
                    known[path] = [*facts[path], digest]
                    bar.update()
        finally:
            _remember(memory, {path: one for path, one in known.items() if one[2]})
    return {path: (facts[path][0], known[path][2]) if facts[path] else (0, "") for path in paths}


def _facts(path: str) -> list[int] | None:
    """Size and time of modification; None for a link to nothing."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _digest(path: str) -> str:
    try:
        return files.digest([path])
    except UserError:  # It will count as a picture that cannot be read.
        return ""


def _memory(folder: str) -> Path:
    name = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:16]
    return Path(files.cache_folder()) / "hashes" / f"{name}.json"


def _remembered(memory: Path) -> dict[str, list]:
    try:
        return json.loads(memory.read_text())
    except (OSError, ValueError):
        return {}


def _remember(memory: Path, known: dict[str, list]) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        files.publish_text(memory, json.dumps(known))  # Names that are not Unicode are escaped.
    except OSError as error:
        logging.warning(
            "The hashes of the pictures cannot be kept in %s (%s): they will be read again.",
            memory.parent,
            one_line(error),
        )
