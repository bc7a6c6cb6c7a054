# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Nothing that ends a run can damage a store, and two runs do not disturb each other."""

import contextlib
import errno
import fcntl
import itertools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from helpers.pictures import encode, picture
from helpers.stores import (
    COUNT,
    SIZE,
    Killed,
    content,
    killed_after,
    prepare,
    tiny_source,
    with_bad,
)

from koalagan import files
from koalagan.color import resizing
from koalagan.data import decoding


def extensions(folder):
    """The extensions of all folders and files in a store_dir but its lock."""
    return {path.suffix for path in folder.iterdir() if path.name != ".lock"}


# Interruptions.


def kill_at(monkeypatch, number, *, after):
    """Ends the process before or after the `number`th call that changes something on disk."""
    calls = itertools.count(1)

    def watch(owner, name):
        real = getattr(owner, name)

        def watched(*args, **kwargs):
            mine = next(calls)
            if mine == number and not after:
                raise Killed
            result = real(*args, **kwargs)
            if mine == number and after:
                raise Killed
            return result

        monkeypatch.setattr(owner, name, watched)

    watch(np.memmap, "flush")
    watch(Path, "mkdir")
    watch(Path, "unlink")
    watch(Path, "write_text")
    watch(os, "replace")
    watch(os, "rename")


def kept(folder):
    """All files but locks. A kill may leave an empty one, which holds nobody up."""
    return {name: data for name, data in content(folder).items() if not name.endswith(".lock")}


def published(folder):
    return {
        name: data
        for name, data in kept(folder).items()
        if ".partial" not in name and not name.endswith((".tmp", ".state.json"))
    }


def killed_everywhere(folder, whole, run):
    """Kills `run` at each step, checks what is published, lets it finish, compares with `whole`."""
    before = content(folder)
    for step in itertools.count(2):
        number, after = divmod(step, 2)
        with pytest.MonkeyPatch.context() as monkeypatch:
            kill_at(monkeypatch, number, after=bool(after))
            try:
                run()
            except Killed:
                pass
            else:
                return number - 1
        assert all(whole[name] == data for name, data in published(folder).items())
        run()
        assert kept(folder) == whole
        shutil.rmtree(folder)
        for name, data in before.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)


def test_pictures_survive_a_kill_at_every_step(tmp_path, small_chunks):
    source = with_bad(3, 17)

    def run(folder=tmp_path / "stores"):
        prepare(folder, source, on_bad_picture="skip")

    run(tmp_path / "whole")
    steps = killed_everywhere(tmp_path / "stores", content(tmp_path / "whole"), run)
    assert steps >= 3 * 3 + 6  # A flush, writing a state and renaming it, for each of three chunks.


@pytest.fixture
def eager():
    """Saves the time to trace the same function in each of many runs."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def test_an_embedding_survives_a_kill_at_every_step(tmp_path, small_chunks, networks, eager):
    def run(folder=tmp_path / "stores"):
        prepare(folder, embedding_weights="a")

    run(tmp_path / "whole")
    prepare(tmp_path / "stores")
    steps = killed_everywhere(tmp_path / "stores", content(tmp_path / "whole"), run)
    assert steps >= 3 * 3 + 3


@pytest.mark.parametrize("ended_by", [KeyboardInterrupt, RuntimeError])
def test_interrupted_decoding_continues_where_it_stopped(
    tmp_path, small_chunks, monkeypatch, decoded, ended_by
):
    whole = prepare(tmp_path / "whole")
    decode = decoding.decode

    def interrupted(encoded, name):
        if name == "p13":
            raise ended_by
        return decode(encoded, name)

    with monkeypatch.context() as patched:
        patched.setattr(decoding, "decode", interrupted)
        with pytest.raises(ended_by):
            prepare(tmp_path / "stores")
    assert extensions(tmp_path / "stores") == {".partial"}
    decoded.clear()
    again = prepare(tmp_path / "stores")
    assert decoded == [f"p{number}" for number in range(8, COUNT)]
    assert content(again.path) == content(whole.path)


def test_a_run_continues_what_a_killed_process_left(tmp_path, decoded, small_chunks):
    program = f"from helpers import stores; stores.prepare_and_die({str(tmp_path / 'stores')!r})"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert extensions(tmp_path / "stores") == {".partial"}
    again = prepare(tmp_path / "stores")
    assert decoded == [f"p{number}" for number in range(8, COUNT)]
    assert content(again.path) == content(prepare(tmp_path / "whole").path)
    assert list((tmp_path / "stores").iterdir()) == [again.path]


def test_nothing_has_the_final_name_while_pictures_are_decoded(tmp_path, small_chunks, monkeypatch):
    seen, decode = set(), decoding.decode

    def look(encoded, name):
        seen.update(extensions(tmp_path))
        return decode(encoded, name)

    monkeypatch.setattr(decoding, "decode", look)
    prepared = prepare(tmp_path)
    assert seen == {".partial"}
    assert list(tmp_path.iterdir()) == [prepared.path]


def test_ids_that_a_power_failure_lost_are_written_again(tmp_path, small_chunks, monkeypatch):
    whole = prepare(tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(resizing, "resize", killed_after(13, resizing.resize))
        with pytest.raises(Killed):
            prepare(tmp_path / "stores")
    (ids_file,) = (tmp_path / "stores").rglob("ids.txt")
    ids_file.write_text("p0\np1\n")
    assert content(prepare(tmp_path / "stores").path) == content(whole.path)


def test_unusual_ids_keep_rows_aligned_across_an_interruption(tmp_path, small_chunks, monkeypatch):
    names = ["a\nb", "c\rd", "e\u2028f", "g\x85h", "photo \udcff.jpg", "käfer.jpg", "", "z"] * 2
    records = [(name, encode(picture(n, *SIZE))) for n, name in enumerate(names)]
    with monkeypatch.context() as patched:
        patched.setattr(resizing, "resize", killed_after(8, resizing.resize))
        with pytest.raises(Killed):
            prepare(tmp_path, tiny_source(records))
    prepared = prepare(tmp_path, tiny_source(records))
    for n, row in enumerate(prepared.pictures):
        np.testing.assert_array_equal(row, picture(n, *SIZE))
    expected = ["a b", "c d", "e f", "g h", "photo \udcff.jpg", "käfer.jpg", "", "z"] * 2
    text = (prepared.path / "ids.txt").read_bytes().decode("utf-8", "surrogateescape")
    assert prepared.ids() == expected == text.removesuffix("\n").split("\n")


# Two runs at once.


def test_a_run_waits_for_another_and_uses_its_pictures(
    tmp_path, monkeypatch, networks, decoded, capsys
):
    stores = tmp_path / "stores"
    other = prepare(tmp_path / "other", embedding_weights="a")
    decoded.clear()
    waited = []

    @contextlib.contextmanager
    def taken(path, when_taken):
        when_taken()
        waited.append(Path(path))
        shutil.copytree(tmp_path / "other", stores, dirs_exist_ok=True)
        yield

    monkeypatch.setattr(files, "locked", taken)
    prepare(stores, embedding_weights="a")
    assert decoded == [] and waited == [stores / ".lock", stores / other.path.name / ".lock"]
    assert content(stores) == content(tmp_path / "other")
    assert (
        f"another run is preparing pictures in {stores}: waiting for it to finish\n"
        in capsys.readouterr().out
    )


def test_the_folder_is_locked_only_while_pictures_are_prepared(tmp_path, monkeypatch):
    decode = decoding.decode

    def refuse():
        raise BlockingIOError

    def locked():
        try:
            with files.locked(tmp_path / ".lock", refuse):
                return False
        except BlockingIOError:
            return True

    def checked(encoded, name):
        assert locked()
        if name == "p7":
            raise Killed
        return decode(encoded, name)

    with monkeypatch.context() as patched:
        patched.setattr(decoding, "decode", checked)
        with pytest.raises(Killed):
            prepare(tmp_path)
    assert not locked()
    prepared = prepare(tmp_path)
    assert not locked()
    assert list(tmp_path.iterdir()) == [prepared.path]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_works(tmp_path, monkeypatch, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert len(prepare(tmp_path)) == COUNT
