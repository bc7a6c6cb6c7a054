# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Decoding and resizing many pictures on all cores, in order.

A few pictures are worked on by threads. For many, on many cores, processes take over, because
threads share Python's lock. On two cores, threads made 93 pictures/s of COCO's at 256x256, and
processes 104; a single one made 60.
"""

import collections
import dataclasses
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import loky
import numpy as np

from koalagan.color import resizing
from koalagan.data import decoding, picture_file
from koalagan.errors import UserError

# Pixels that are decoded at once, on all cores together: resizing takes 16 bytes for each.
DECODED_AT_ONCE = 64 * 10**6
# Small pictures are handed to a core together: at most so many, and about so many pixels.
GROUP = 8
GROUP_PIXELS = 2 * 10**6
# Bytes of encoded pictures that wait for a core.
WAITING = 2**28
# Processes first import TensorFlow, for about 6 seconds of each core: few pictures are done sooner.
PICTURES_FOR_PROCESSES = 2000
CORES_FOR_PROCESSES = 4
# A process with TensorFlow takes 0.3 GB, and this one cannot serve more than 1,700 pictures/s.
MOST_PROCESSES = 24

_Record = tuple[str, bytes]
_Result = tuple[str, np.ndarray | picture_file.BadPicture]


@dataclasses.dataclass
class _Group:
    """Records that are worked on together, in order."""

    records: list[_Record] = dataclasses.field(default_factory=list)
    pixels: int = 0
    bytes: int = 0

    def add(self, name: str, encoded: bytes) -> None:
        self.records.append((name, encoded))
        self.pixels += picture_file.Page(encoded).pixels
        self.bytes += len(encoded)


@dataclasses.dataclass
class _Pending:
    """A group, and the results that it will have."""

    group: _Group
    future: Future


def resized(
    records: Iterable[_Record], count: int, size: tuple[int, int], *, crop: bool
) -> Iterator[_Result]:
    """Decodes and resizes pictures.

    Args:
        records: names and encoded pictures.
        count: about how many there are.
        size: (height, width) of the results.
        crop: whether the center is cropped to that aspect ratio first.

    Yields:
        In the same order, each name with the picture, uint8 [height, width, 3], or with what is
        wrong with it.

    Raises:
        UserError: a record cannot be read (after the pictures before it), or a process was killed.
    """
    cores = available_cores()
    in_processes = count >= PICTURES_FOR_PROCESSES and cores >= CORES_FOR_PROCESSES
    workers = _processes(min(cores, MOST_PROCESSES)) if in_processes else ThreadPoolExecutor(cores)
    pending: collections.deque[_Pending] = collections.deque()

    def is_full(group: _Group) -> bool:
        at_work = sum(one.group.pixels for one in pending if not one.future.done())
        return (
            at_work + group.pixels > DECODED_AT_ONCE
            or sum(one.group.bytes for one in pending) > WAITING
            or len(pending) >= 4 * cores
        )

    errors: list[UserError] = []
    try:
        for group in _groups(_readable(records, errors)):
            while pending and is_full(group):
                yield from pending.popleft().future.result()
            pending.append(_Pending(group, workers.submit(_resize, group.records, size, crop)))
        while pending:
            yield from pending.popleft().future.result()
    except BrokenProcessPool as error:
        raise UserError(
            "A process that prepares pictures was killed, perhaps because memory ran out: start "
            "the same command again, which continues, with fewer cores (taskset) if need be."
        ) from error
    finally:
        for one in pending:
            one.future.cancel()
        workers.shutdown()
    if errors:
        raise errors[0]


def available_cores() -> int:
    """The number of cores that this process may use."""
    # macOS has no affinity.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _readable(records: Iterable[_Record], errors: list[UserError]) -> Iterator[_Record]:
    """The records before one that cannot be read, whose error is added to `errors`."""
    try:
        yield from records
    except UserError as error:
        errors.append(error)


def _groups(records: Iterable[_Record]) -> Iterator[_Group]:
    group = _Group()
    for name, encoded in records:
        group.add(name, encoded)
        if group.pixels >= GROUP_PIXELS or len(group.records) == GROUP:
            yield group
            group = _Group()
    if group.records:
        yield group


def _resize(group: list[_Record], size: tuple[int, int], crop: bool) -> list[_Result]:
    results: list[_Result] = []
    for name, encoded in group:
        try:
            picture = decoding.decode(encoded, name)
        except picture_file.BadPicture as error:
            results.append((name, error))
            continue
        if crop:
            picture = resizing.center_crop(picture, size)
        results.append((name, resizing.resize(picture, size).numpy()))
    return results


def _processes(count: int) -> Executor:
    """Processes that compute on the CPU, with one thread each."""
    # Not those of the standard library: they run the user's script again, which fails unless it
    # protects itself against that.
    return loky.ProcessPoolExecutor(
        count,
        initializer=_begin,
        initargs=(os.getpid(),),
        env={
            "CUDA_VISIBLE_DEVICES": "-1",  # The GPU is this process's.
            "TF_NUM_INTRAOP_THREADS": "1",
            "TF_NUM_INTEROP_THREADS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
    )


def _begin(parent: int) -> None:
    # Ctrl-C reaches all processes of a terminal; this one is stopped by its parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent():  # A killed parent stops nobody.
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
