# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Preparing pictures in processes: the same rows as in threads, and no process is left behind."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from helpers.pictures import encode, picture

from koalagan.data import resized_pictures
from koalagan.data.picture_file import BadPicture
from koalagan.errors import UserError

SIZE = (8, 12)
BAD = 5


def records(count=120):
    for number in range(count):
        encoded = encode(picture(number, 20 + number, 30))
        yield f"p{number}", encoded if number != BAD else encoded[:40]


@pytest.fixture
def in_processes(monkeypatch):
    """Two processes, for any number of pictures."""
    monkeypatch.setattr(resized_pictures, "available_cores", lambda: 2)
    monkeypatch.setattr(resized_pictures, "PICTURES_FOR_PROCESSES", 1)
    monkeypatch.setattr(resized_pictures, "CORES_FOR_PROCESSES", 2)


def workers():
    """The processes that loky runs for this one."""
    return [
        child for child in psutil.Process().children() if "loky.backend.popen" in _command(child)
    ]


def _command(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.mark.parametrize("crop", [False, True])
def test_processes_give_what_threads_give(in_processes, monkeypatch, crop):
    seen = []

    def watched():
        yield from records()
        seen.extend(workers())

    processes = list(resized_pictures.resized(watched(), 120, SIZE, crop=crop))
    assert len(seen) == 2 and not workers()
    monkeypatch.setattr(resized_pictures, "PICTURES_FOR_PROCESSES", 1000)
    threads = list(resized_pictures.resized(records(), 120, SIZE, crop=crop))
    assert [name for name, _ in processes] == [name for name, _ in threads]
    assert [name for name, _ in processes] == [f"p{number}" for number in range(120)]
    for (name, one), (_, other) in zip(processes, threads, strict=True):
        if name == f"p{BAD}":
            assert isinstance(one, BadPicture) and str(one) == str(other)
        else:
            assert one.shape == (*SIZE, 3) and one.dtype == np.uint8
            np.testing.assert_array_equal(one, other)


def test_a_killed_process_is_told(in_processes):
    def deadly():
        for number, record in enumerate(records(400)):
            if number == 100:  # Later than what is worked on ahead: they have begun.
                workers()[0].kill()
            yield record

    with pytest.raises(UserError, match="was killed"):
        list(resized_pictures.resized(deadly(), 400, SIZE, crop=False))
    assert not workers()


def test_processes_leave_the_gpus_alone():
    with resized_pictures._processes(1) as executor:
        assert executor.submit(os.getenv, "CUDA_VISIBLE_DEVICES").result() == "-1"


PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # A background job ignores it.
from koalagan.data import resized_pictures as r
r.available_cores = lambda: 2
r.PICTURES_FOR_PROCESSES, r.CORES_FOR_PROCESSES = 1, 2
record = ("p", open({path!r}, "rb").read())
for number, _ in enumerate(r.resized(iter(lambda: record, None), 10**6, (8, 12), crop=False)):
    print(number, flush=True)
"""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_a_program_that_is_stopped(tmp_path, by):
    """A program without the protection that the standard library's processes need."""
    path = tmp_path / "picture.png"
    path.write_bytes(encode(picture()))
    script = tmp_path / "script.py"
    script.write_text(PROGRAM.format(path=str(path)))
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        assert program.stdout.readline() == "0\n"
        started = [
            child
            for child in psutil.Process(program.pid).children(recursive=True)
            if "loky.backend.popen" in _command(child)
        ]
        assert len(started) == 2
        os.killpg(program.pid, by) if by == signal.SIGINT else program.kill()
        try:
            _, errors = program.communicate(timeout=60)
        finally:
            program.kill()
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive
    if by == signal.SIGINT:  # Only the program itself says that it was interrupted.
        assert errors.count("KeyboardInterrupt") == 1


def test_pictures_before_an_unreadable_one_are_not_lost():
    def broken():
        yield from records(3)
        raise UserError("The disk is gone.")

    got = []
    with pytest.raises(UserError, match="The disk is gone"):
        for name, _ in resized_pictures.resized(broken(), 10, SIZE, crop=False):
            got.append(name)
    assert got == ["p0", "p1", "p2"]


def test_a_consumer_that_stops_is_not_kept_waiting():
    """Of endless records, only those that are worked on ahead are read."""
    read = []

    def endless():
        for number in range(10**9):
            read.append(number)
            yield "p", encode(picture())

    results = resized_pictures.resized(endless(), 10, SIZE, crop=False)
    next(results)
    begun = time.monotonic()
    results.close()
    assert len(read) < 1000 and time.monotonic() - begun < 60
