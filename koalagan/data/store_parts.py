# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""A store that several workers prepare: each a part of the pictures, which one of them joins.

A part is a store of its own, with the outputs of the frozen networks, so that it can be interrupted
and continued as any other. The joined store is the one that `store.prepare` makes alone.
"""

import dataclasses
import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from koalagan.data import store, store_files
from koalagan.data.sources import Source

# Rows that are copied at a time.
_ROWS = 256


def part(source: Source, number: int, parts: int) -> Source:
    """A part of the pictures of a source, of about equal size, in their order.

    Args:
        source: has at least as many pictures as there are parts.
        number: of the part, from 0.
        parts: how many there are.
    """
    first, last = (source.count * edge // parts for edge in (number, number + 1))

    def records() -> Iterator[tuple[str, bytes]]:
        return itertools.islice(source.records(), first, last)

    return dataclasses.replace(
        source,
        split=f"{source.split} part {number + 1} of {parts}",
        count=last - first,
        identity={**source.identity, "part": [first, last]},
        records=records,
    )


def join(
    parts: Sequence[store.Store],
    source: Source,
    *,
    store_dir: str | None,
    image_size: tuple[int, int],
    resize: str,
) -> None:
    """Joins the parts of a source to its store, and deletes them. Takes their disk space once more.

    Args:
        parts: in their order, all of them.
        source: the whole.
        store_dir, image_size, resize: as they were prepared; see `store.prepare`.

    Raises:
        UserError: the disk is too small or not writable.
    """
    place = store.place(source, store_dir, image_size, resize)
    # What all parts have: one may have the outputs of other networks too, or a part of them.
    names = sorted(set.intersection(*({path.name for path in _arrays(one)} for one in parts)))
    needed = sum((one.path / name).stat().st_size for one in parts for name in names)
    unfinished = place.path.with_name(f"{place.path.name}.joining")
    with store_files.writing_to(place.folder), store_files.locked(place.folder):
        if not place.path.exists():
            what = f"joining {len(parts)} parts of {source.name} {source.split}"
            store_files.require_space(place.folder, needed, what)
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            for name in names:
                _join_arrays([one.path / name for one in parts], parts, unfinished / name)
            ids = [name for one in parts for name in one.ids()]
            store.write_ids(unfinished / "ids.txt", ids)
            skipped = [name for one in parts for name in one.manifest["skipped"]]
            store.write_manifest(unfinished, place, source, len(ids), skipped)
            os.rename(unfinished, place.path)
        for one in parts:
            shutil.rmtree(one.path)


def _arrays(one: store.Store) -> list[Path]:
    return [path for path in one.path.glob("*.npy") if not path.name.endswith(".partial.npy")]


def _join_arrays(paths: Sequence[Path], parts: Sequence[store.Store], target: Path) -> None:
    arrays = [
        store_files.load(store_files.open_read_only, path)[: len(one)]
        for path, one in zip(paths, parts, strict=True)
    ]
    shape = (sum(map(len, arrays)), *arrays[0].shape[1:])
    joined = store_files.open_writable(target, arrays[0].dtype, shape)
    row = 0
    for array in arrays:
        for start in range(0, len(array), _ROWS):
            rows = np.asarray(array[start : start + _ROWS])
            joined[row : row + len(rows)] = rows
            row += len(rows)
    joined.flush()
