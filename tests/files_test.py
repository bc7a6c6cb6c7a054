# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Files and folders that are written completely or not at all, locks, and digests."""

import hashlib
import subprocess
import sys
import threading

import pytest

from koalagan import files
from koalagan.errors import UserError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_publish_replaces_the_file_and_keeps_its_extension(tmp_path):
    extensions = []
    (tmp_path / "a.json").write_text("old")
    files.publish(
        tmp_path / "a.json", lambda path: (extensions.append(path.suffix), path.write_text("new"))
    )
    assert (tmp_path / "a.json").read_text() == "new" and extensions == [".json"]
    assert names(tmp_path) == ["a.json"]


def test_publish_leaves_the_old_file_when_writing_fails(tmp_path):
    def half(path):
        path.write_text("ha")
        raise OSError("disk full")

    (tmp_path / "a.json").write_text("old")
    with pytest.raises(OSError, match="disk full"):
        files.publish(tmp_path / "a.json", half)
    assert (tmp_path / "a.json").read_text() == "old"
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("old", [False, True])
def test_published_folder_appears_complete(tmp_path, old):
    if old:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "old").write_text("old")
    with files.published_folder(tmp_path / "model") as folder:
        with open(f"{folder}/new", "w") as file:
            file.write("new")
        assert (tmp_path / "model" / "old").exists() == old
        assert not (tmp_path / "model" / "new").exists()
    assert names(tmp_path) == ["model"] and names(tmp_path / "model") == ["new"]
    assert (tmp_path / "model" / "new").read_text() == "new"


@pytest.mark.parametrize("ended_by", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("old", [False, True])
def test_published_folder_leaves_the_old_one_on_error(tmp_path, old, ended_by):
    if old:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "old").write_text("old")
    with pytest.raises(ended_by), files.published_folder(tmp_path / "model") as folder:
        with open(f"{folder}/new", "w") as file:
            file.write("half")
        raise ended_by
    assert names(tmp_path) == (["model"] if old else [])
    if old:
        assert names(tmp_path / "model") == ["old"]


def test_delete_unfinished_deletes_what_killed_processes_left(tmp_path):
    left = []

    def keep(path):
        """Copies what is being written to where a kill would have left it."""
        left.append(path.with_name(f"{path.stem}0{path.suffix}"))
        left[-1].write_text("half")

    deep = tmp_path / "deep"
    deep.mkdir()
    (deep / "writing").write_text("kept")
    (deep / "a.json").write_text("kept")
    with pytest.raises(FileNotFoundError):
        files.publish(deep / "a.json", keep)
    with files.published_folder(tmp_path / "model") as folder:
        left.append(tmp_path / f"{folder}0")
        left[-1].mkdir()
        (left[-1] / "file").write_text("half")
    left.append(tmp_path / "model.replaced-12")
    left[-1].mkdir()
    assert all(path.exists() for path in left)
    files.delete_unfinished(tmp_path)
    assert names(tmp_path) == ["deep", "model"] and names(deep) == ["a.json", "writing"]
    files.delete_unfinished(tmp_path / "absent")


def test_a_folder_gets_its_name_back_if_the_new_one_never_took_it(tmp_path):
    (tmp_path / "model.replaced-12").mkdir()
    (tmp_path / "model.replaced-12" / "old").write_text("old")
    (tmp_path / "model.writing-12").mkdir()
    files.delete_unfinished(tmp_path)
    assert names(tmp_path) == ["model"] and names(tmp_path / "model") == ["old"]


# Locks.

# Says when it waits and when it holds the lock, and holds it until its input ends.
HOLDER = """
import sys
from koalagan import files

def say(what):
    print(what, flush=True)

with files.locked(sys.argv[1], lambda: say("waits")):
    say("holds")
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Starts processes that take the lock `tmp_path / "lock"`."""
    started = []

    def start():
        command = [sys.executable, "-c", HOLDER, str(tmp_path / "lock")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        started.append(subprocess.Popen(command, text=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


class Taken(Exception):
    pass


def refuse():
    raise Taken


def test_a_lock_is_exclusive_between_processes_and_can_be_waited_for(tmp_path, holder):
    first = holder()
    assert first.stdout.readline() == "holds\n"
    with pytest.raises(Taken), files.locked(tmp_path / "lock", refuse):
        pass
    second = holder()
    assert second.stdout.readline() == "waits\n"
    after = []
    reader = threading.Thread(target=lambda: after.append(second.stdout.readline()))
    reader.start()
    reader.join(0.3)
    assert not after and first.poll() is None  # It still waits.
    first.communicate()
    reader.join(60)
    assert after == ["holds\n"]
    with pytest.raises(Taken), files.locked(tmp_path / "lock", refuse):
        pass
    second.communicate()
    assert second.returncode == 0
    with files.locked(tmp_path / "lock", refuse):
        assert names(tmp_path) == ["lock"]
    assert names(tmp_path) == []


def test_a_lock_is_free_after_its_holder_was_killed(tmp_path, holder):
    first = holder()
    assert first.stdout.readline() == "holds\n"
    first.kill()
    first.wait()
    assert names(tmp_path) == ["lock"]  # The file remains, but nobody holds it.
    with files.locked(tmp_path / "lock", refuse):
        pass
    assert names(tmp_path) == []


def test_a_waiting_process_gets_the_lock_of_a_killed_one(holder):
    first = holder()
    assert first.stdout.readline() == "holds\n"
    second = holder()
    assert second.stdout.readline() == "waits\n"
    first.kill()
    assert second.stdout.readline() == "holds\n"


def test_a_lock_is_released_after_an_error(tmp_path):
    with pytest.raises(KeyError), files.locked(tmp_path / "lock", refuse):
        raise KeyError
    with files.locked(tmp_path / "lock", refuse):
        pass


# Digests.


def test_digest_depends_on_contents_and_names_what_cannot_be_read(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"x" * 3_000_000)
    other.write_bytes(b"y")
    expected = hashlib.sha256(b"x" * 3_000_000 + b"y").hexdigest()
    assert files.digest([str(one), str(other)]) == expected
    assert files.digest([str(other)], "md5") == hashlib.md5(b"y").hexdigest()
    with pytest.raises(UserError, match=str(tmp_path)):
        files.digest([str(tmp_path)])
