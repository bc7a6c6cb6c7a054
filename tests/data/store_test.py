# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The prepared store: what its rows hold, and that nothing that ends a run can spoil one."""

import dataclasses
import errno
import fcntl
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest
import skimage.color
import tensorflow as tf
from helpers.pictures import encode, picture

from koalagan.data import decoding, features, sources, store, store_files
from koalagan.errors import UserError
from koalagan.models.frozen import embedding
from koalagan.training import run_flags

SIZE = (8, 12)
CLASSES = 5
COUNT = 20


# Stand-ins: a source in memory, and an embedding network of one matrix.


def tiny_source(records=None, *, split="train", identity=0):
    if records is None:
        records = [(f"p{seed}", encode(picture(seed, *SIZE))) for seed in range(COUNT)]
    return sources.Source(
        "tiny", split, len(records), {"identity": identity}, lambda: iter(records)
    )


def with_bad(*numbers):
    records = list(tiny_source().records())
    for number in numbers:
        records[number] = (f"p{number}", b"no picture")
    return tiny_source(records)


def matrix(weights):
    random = np.random.default_rng(zlib.crc32(weights.encode()))
    return random.normal(size=(SIZE[0] * SIZE[1], CLASSES)).astype(np.float32)


def tiny_embedding(monkeypatch):
    """Makes `models.embedding` one matrix that knows left from right; returns what was loaded."""
    loaded = []

    def build():
        lightness = keras.Input((*SIZE, 1), name="L")
        flat = keras.layers.Flatten(name="flat")(lightness)
        logits = keras.layers.Dense(CLASSES, use_bias=False, dtype="float32", name="logits")(flat)
        return keras.Model(lightness, logits)

    def load_weights(model, weights):
        loaded.append(weights)
        model.set_weights([matrix(weights)])

    monkeypatch.setattr(embedding, "CLASSES", CLASSES)
    monkeypatch.setattr(embedding, "build", build)
    monkeypatch.setattr(embedding, "load_weights", load_weights)
    monkeypatch.setattr(embedding, "fingerprint", lambda weights: f"of {weights}")
    return loaded


@pytest.fixture
def networks(monkeypatch):
    return tiny_embedding(monkeypatch)


@pytest.fixture
def decoded(monkeypatch):
    """The names of the pictures that are decoded, in the order of their number."""
    names, decode = [], decoding.decode

    def listed(encoded, name):
        names.append(name)
        names.sort(key=lambda name: (len(name), name))  # threads decode in no order of their own
        return decode(encoded, name)

    monkeypatch.setattr(decoding, "decode", listed)
    return names


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(store, "_CHUNK", 8)
    monkeypatch.setattr(features, "_BATCH", 8)


def prepare(folder, source=None, **options):
    return store.prepare(
        source or tiny_source(), **{"store_dir": str(folder), "image_size": SIZE, **options}
    )


def refusal(*args, **options):
    """The one sentence with which prepare refuses."""
    with pytest.raises(UserError) as info:
        prepare(*args, **options)
    message = str(info.value)
    assert "\n" not in message and message.endswith(".") and ". " not in message
    return message


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def ids(prepared):
    text = (prepared.path / "ids.txt").read_bytes().decode("utf-8", "surrogateescape")
    return text.removesuffix("\n").split("\n")


# What a store holds.


def test_a_row_is_the_decoded_picture_stretched(tmp_path):
    originals = [picture(seed, 17 + seed, 30 - seed) for seed in range(3)]
    records = [(f"{seed}.png", encode(rgb)) for seed, rgb in enumerate(originals)]
    prepared = prepare(tmp_path, tiny_source(records))
    assert len(prepared) == 3
    assert prepared.pictures.dtype == np.uint8 and prepared.pictures.shape == (3, *SIZE, 3)
    for row, rgb in zip(prepared.pictures, originals, strict=True):
        exact = tf.image.resize(rgb, SIZE, method="bicubic", antialias=True).numpy()
        np.testing.assert_array_equal(row, np.clip(np.rint(exact), 0, 255))
    assert ids(prepared) == ["0.png", "1.png", "2.png"]


def test_a_row_is_the_decoded_pictures_centre(tmp_path):
    wide, high, same = picture(0, 8, 32), picture(1, 20, 12), picture(2, 8, 12)
    records = [(str(n), encode(rgb)) for n, rgb in enumerate((wide, high, same))]
    prepared = prepare(tmp_path, tiny_source(records), resize="crop")
    np.testing.assert_array_equal(prepared.pictures[0], wide[:, 10:22])
    np.testing.assert_array_equal(prepared.pictures[1], high[6:14])
    np.testing.assert_array_equal(prepared.pictures[2], same)


def test_rows_and_ids_keep_the_sources_order(tmp_path, small_chunks):
    prepared = prepare(tmp_path)
    for seed, row in enumerate(prepared.pictures):
        np.testing.assert_array_equal(row, picture(seed, *SIZE))
    assert ids(prepared) == [f"p{seed}" for seed in range(COUNT)]


def test_the_manifest_says_what_shaped_the_pictures(tmp_path):
    prepared = prepare(tmp_path, resize="crop")
    assert json.loads((prepared.path / "manifest.json").read_text()) == prepared.manifest
    facts = {
        "dataset": "tiny",
        "split": "train",
        "source": {"identity": 0},
        "image_size": [8, 12],
        "resize": "crop",
        "pictures": COUNT,
        "skipped": [],
    }
    assert {name: prepared.manifest[name] for name in facts} == facts
    assert prepared.path.name.endswith("-" + prepared.manifest["fingerprint"])
    assert sorted(content(tmp_path)) == sorted(
        f"{prepared.path.name}/{name}" for name in ("ids.txt", "manifest.json", "pictures.npy")
    )


def test_the_fingerprint_covers_what_shapes_pictures_and_nothing_else(tmp_path):
    def path(source=None, **options):
        return prepare(tmp_path, source, **options).path

    usual = path()
    others = [
        path(tiny_source(identity=1)),
        path(tiny_source(split="train[:9]", identity=2)),
        path(image_size=(12, 8)),
        path(resize="crop"),
    ]
    assert len({usual, *others}) == 5
    assert path(on_bad_picture="skip") == usual
    assert path(embedding_weights="none") == usual


def test_pictures_and_embedding_are_memory_maps_that_cannot_be_written(tmp_path, networks):
    prepared = prepare(tmp_path, embedding_weights="a")
    for array in (prepared.pictures, prepared.embedding):
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_the_embedding_is_the_networks_of_the_stored_picture_and_of_its_mirror(tmp_path, networks):
    records = [(str(n), encode(picture(n, 16, 24))) for n in range(11)]  # not whole batches
    prepared = prepare(tmp_path, tiny_source(records), embedding_weights="a")
    assert prepared.embedding.shape == (11, 2, CLASSES)
    assert prepared.embedding.dtype == np.float32

    def logits(rgb):
        lightness = skimage.color.rgb2lab(rgb)[..., 0] / 50 - 1
        return lightness.reshape(len(rgb), -1) @ matrix("a")

    rows = np.asarray(prepared.pictures)
    np.testing.assert_allclose(prepared.embedding[:, 0], logits(rows), atol=2e-3)
    np.testing.assert_allclose(prepared.embedding[:, 1], logits(rows[:, :, ::-1]), atol=2e-3)
    assert np.abs(prepared.embedding[:, 0] - prepared.embedding[:, 1]).min(0).max() > 0.1


def test_no_embedding_is_stored_unless_asked_for(tmp_path, networks):
    assert prepare(tmp_path).embedding is None
    assert prepare(tmp_path, embedding_weights="none").embedding is None
    assert not networks


def test_a_folder_of_photographs_is_prepared_anew_when_one_changes(tmp_path, decoded):
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(3):
        (photos / f"{seed}.png").write_bytes(encode(picture(seed, *SIZE)))

    def prepared():
        return prepare(tmp_path, sources.open_source("folder", "train", str(photos)))

    first = prepared()
    for name, row in zip(ids(first), first.pictures, strict=True):
        np.testing.assert_array_equal(row, picture(int(name[0]), *SIZE))
    assert prepared().path == first.path and len(decoded) == 3
    (photos / "1.png").write_bytes(encode(picture(9, *SIZE), "BMP"))
    second = prepared()
    assert second.path != first.path
    np.testing.assert_array_equal(second.pictures[ids(second).index("1.png")], picture(9, *SIZE))


# Work is done once.


def fail(*_, **__):
    raise AssertionError("this work was already done")


def test_a_second_run_decodes_nothing_and_builds_no_network(tmp_path, networks, monkeypatch):
    first = prepare(tmp_path, embedding_weights="a")
    before = content(tmp_path)
    for module, name in [(pictures, "decode"), (embedding, "build"), (embedding, "load_weights")]:
        monkeypatch.setattr(module, name, fail)
    again = prepare(tmp_path, dataclasses.replace(tiny_source(), records=fail))
    assert again.embedding is None
    again = prepare(tmp_path, embedding_weights="a")
    assert (again.path, again.manifest) == (first.path, first.manifest)
    np.testing.assert_array_equal(again.pictures, first.pictures)
    np.testing.assert_array_equal(again.embedding, first.embedding)
    assert content(tmp_path) == before


def test_other_weights_share_the_pictures(tmp_path, networks, decoded):
    first = prepare(tmp_path, embedding_weights="a")
    second = prepare(tmp_path, embedding_weights="b")
    assert networks == ["a", "b"]
    assert len(decoded) == COUNT and second.path == first.path
    assert not np.allclose(first.embedding, second.embedding)
    third = prepare(tmp_path, embedding_weights="a")
    np.testing.assert_array_equal(third.embedding, first.embedding)
    assert networks == ["a", "b"]


# Interruptions.


class Killed(BaseException):
    """Stands for whatever ends a process."""


def kill_at(monkeypatch, number, *, after):
    """Ends the process before or after the `number`th call that changes what is on disk."""
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


def published(folder):
    return {
        name: data
        for name, data in content(folder).items()
        if ".partial" not in name and not name.endswith((".tmp", ".state.json"))
    }


def killed_everywhere(folder, whole, run):
    """Kills `run` at each step, checks what is published, lets it finish, compares with `whole`."""
    kept = content(folder)
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
        assert content(folder) == whole
        shutil.rmtree(folder)
        for name, data in kept.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)


def test_pictures_survive_a_kill_at_every_step(tmp_path, small_chunks):
    source = with_bad(3, 17)

    def run(folder=tmp_path / "stores"):
        prepare(folder, source, on_bad_picture="skip")

    run(tmp_path / "whole")
    steps = killed_everywhere(tmp_path / "stores", content(tmp_path / "whole"), run)
    assert steps >= 3 * 3 + 6  # a flush, a state's write and its rename for each of three chunks


def test_an_embedding_survives_a_kill_at_every_step(tmp_path, small_chunks, networks):
    def run(folder=tmp_path / "stores"):
        prepare(folder, embedding_weights="a")

    run(tmp_path / "whole")
    prepare(tmp_path / "stores")
    steps = killed_everywhere(tmp_path / "stores", content(tmp_path / "whole"), run)
    assert steps >= 3 * 3 + 3


@pytest.mark.parametrize("ended_by", [KeyboardInterrupt, RuntimeError])
def test_interrupted_decoding_goes_on_where_it_was(
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
    assert [path.suffix for path in (tmp_path / "stores").iterdir()] == [".partial"]
    decoded.clear()
    again = prepare(tmp_path / "stores")
    assert decoded == [f"p{number}" for number in range(8, COUNT)]
    assert content(again.path) == content(whole.path)


def test_an_interrupted_embedding_goes_on_where_it_was(
    tmp_path, small_chunks, monkeypatch, networks
):
    prepare(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(np.memmap, "flush", fail_after(1, np.memmap.flush))  # the second batch's
        with pytest.raises(Killed):
            prepare(tmp_path, embedding_weights="a")
    (unfinished,) = tmp_path.rglob("*.partial.npy")
    rows = np.load(unfinished, mmap_mode="r+")
    rows[:8] = 123.0  # only rows that are computed again can lose the mark
    rows.flush()
    prepared = prepare(tmp_path, embedding_weights="a")
    assert (prepared.embedding[:8] == 123).all() and (prepared.embedding[8:] != 123).all()


def prepare_and_die(folder):
    """Run in a process of its own: it is killed, without a chance to tidy up, at picture 13."""
    decode = decoding.decode

    def deadly(encoded, name):
        if name == "p13":
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(encoded, name)

    decoding.decode, store._CHUNK = deadly, 8
    prepare(folder)


@pytest.mark.slow  # it imports TensorFlow once more
def test_a_killed_process_is_continued(tmp_path, decoded, small_chunks):
    command = f"import store_test; store_test.prepare_and_die({str(tmp_path / 'stores')!r})"
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
    ended = subprocess.run(
        [sys.executable, "-c", command],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert [path.suffix for path in (tmp_path / "stores").iterdir()] == [".partial"]
    again = prepare(tmp_path / "stores")
    assert decoded == [f"p{number}" for number in range(8, COUNT)]
    assert content(again.path) == content(prepare(tmp_path / "whole").path)


def test_nothing_bears_the_final_name_while_pictures_are_decoded(
    tmp_path, small_chunks, monkeypatch
):
    seen, decode = set(), decoding.decode

    def look(encoded, name):
        seen.update(path.suffix for path in tmp_path.iterdir())
        return decode(encoded, name)

    monkeypatch.setattr(decoding, "decode", look)
    prepared = prepare(tmp_path)
    assert seen == {".partial"}
    assert list(tmp_path.iterdir()) == [prepared.path]


def test_ids_that_a_power_failure_lost_are_made_again(tmp_path, small_chunks, monkeypatch):
    whole = prepare(tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(decoding, "resize", fail_after(13, decoding.resize))
        with pytest.raises(Killed):
            prepare(tmp_path / "stores")
    (ids_file,) = (tmp_path / "stores").rglob("ids.txt")
    ids_file.write_text("p0\np1\n")
    assert content(prepare(tmp_path / "stores").path) == content(whole.path)


def fail_after(calls, function):
    numbers = itertools.count()

    def failing(*args):
        if next(numbers) >= calls:
            raise Killed
        return function(*args)

    return failing


def test_unusual_ids_keep_rows_aligned_across_an_interruption(tmp_path, small_chunks, monkeypatch):
    names = ["a\nb", "c\rd", "e\u2028f", "g\x85h", "photo \udcff.jpg", "käfer.jpg", "", "z"] * 2
    records = [(name, encode(picture(n, *SIZE))) for n, name in enumerate(names)]
    with monkeypatch.context() as patched:
        patched.setattr(decoding, "resize", fail_after(8, decoding.resize))
        with pytest.raises(Killed):
            prepare(tmp_path, tiny_source(records))
    prepared = prepare(tmp_path, tiny_source(records))
    for n, row in enumerate(prepared.pictures):
        np.testing.assert_array_equal(row, picture(n, *SIZE))
    kept = ["a b", "c d", "e f", "g h", "photo \udcff.jpg", "käfer.jpg", "", "z"] * 2
    assert ids(prepared) == kept


# Two runs at once.


def test_a_run_waits_for_another_and_takes_its_pictures_over(
    tmp_path, monkeypatch, networks, decoded, capsys
):
    prepare(tmp_path / "other", embedding_weights="a")
    networks.clear()
    decoded.clear()
    lock, waited = fcntl.flock, []

    def flock(handle, operation):
        if operation & fcntl.LOCK_NB:
            raise BlockingIOError
        waited.append(operation)
        shutil.copytree(tmp_path / "other", tmp_path / "stores", dirs_exist_ok=True)
        lock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    prepare(tmp_path / "stores", embedding_weights="a")
    assert decoded == [] and waited == [fcntl.LOCK_EX, fcntl.LOCK_EX]
    assert content(tmp_path / "stores") == content(tmp_path / "other")
    assert f"another run is preparing pictures in {tmp_path / 'stores'}" in capsys.readouterr().out


def test_the_folder_is_locked_while_pictures_are_prepared_and_free_afterwards(
    tmp_path, monkeypatch
):
    decode = decoding.decode

    def locked():
        handle = os.open(tmp_path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

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
    prepare(tmp_path)
    assert not locked()


def test_a_file_system_without_locks_will_do(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert len(prepare(tmp_path)) == COUNT


# Bad pictures.


def test_a_bad_picture_is_named_and_can_be_skipped_afterwards(tmp_path, small_chunks, decoded):
    source = with_bad(13, 18)
    message = refusal(tmp_path, source)
    assert "p13" in message and "--on_bad_picture=skip" in message
    decoded.clear()
    prepared = prepare(tmp_path, source, on_bad_picture="skip")
    assert decoded == [f"p{number}" for number in range(8, COUNT)]
    good = [number for number in range(COUNT) if number not in (13, 18)]
    assert prepared.manifest["skipped"] == ["p13", "p18"]
    assert len(prepared) == len(prepared.pictures) == prepared.manifest["pictures"] == 18
    assert ids(prepared) == [f"p{number}" for number in good]
    for number, row in zip(good, prepared.pictures, strict=True):
        np.testing.assert_array_equal(row, picture(number, *SIZE))


def test_rows_of_the_embedding_leave_skipped_pictures_out(tmp_path, networks):
    prepared = prepare(tmp_path, with_bad(0), on_bad_picture="skip", embedding_weights="a")
    alone = prepare(
        tmp_path, tiny_source(list(tiny_source().records())[1:], identity=1), embedding_weights="a"
    )
    np.testing.assert_array_equal(prepared.pictures, alone.pictures)
    np.testing.assert_allclose(prepared.embedding, alone.embedding, atol=1e-4)


def test_skipped_pictures_are_refused_again_where_none_may_be_skipped(
    tmp_path, small_chunks, decoded, monkeypatch
):
    source = with_bad(2)
    with monkeypatch.context() as patched:
        patched.setattr(decoding, "resize", fail_after(8, decoding.resize))
        with pytest.raises(Killed):
            prepare(tmp_path, source, on_bad_picture="skip")
    decoded.clear()
    assert "p2 cannot be decoded" in refusal(tmp_path, source)  # at once, though half is done
    assert decoded == []
    prepare(tmp_path, source, on_bad_picture="skip")
    decoded.clear()
    assert "p2 cannot be decoded" in refusal(tmp_path, source, on_bad_picture="fail")
    assert decoded == []
    assert len(prepare(tmp_path, source, on_bad_picture="skip")) == COUNT - 1


def test_a_split_without_a_single_good_picture_is_refused(tmp_path):
    source = with_bad(*range(COUNT))
    for _ in range(2):
        message = refusal(tmp_path, source, on_bad_picture="skip")
        assert "no picture of tiny train" in message
    assert not published(tmp_path)


# The disk, and other people's mistakes.


def free_disk(monkeypatch, free):
    usage = shutil.disk_usage("/")._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


def test_a_disk_that_is_too_small_is_refused_before_any_work(tmp_path, monkeypatch):
    needed = COUNT * SIZE[0] * SIZE[1] * 3
    free_disk(monkeypatch, needed - 1)
    message = refusal(tmp_path, dataclasses.replace(tiny_source(), records=fail))
    assert str(tmp_path) in message and "--store_dir" in message
    assert list(tmp_path.iterdir()) == []
    free_disk(monkeypatch, needed)
    assert len(prepare(tmp_path)) == COUNT


def test_a_disk_too_small_for_the_embedding_keeps_the_pictures(tmp_path, monkeypatch, networks):
    before = prepare(tmp_path)
    needed = COUNT * 2 * CLASSES * 4
    free_disk(monkeypatch, needed - 1)
    kept = content(tmp_path)
    assert "--store_dir" in refusal(tmp_path, embedding_weights="a")
    assert content(tmp_path) == kept
    free_disk(monkeypatch, needed)
    assert prepare(tmp_path, embedding_weights="a").path == before.path


def test_the_disk_it_takes_is_said_before_the_first_picture(tmp_path, monkeypatch, capsys):
    said = []

    def records():
        said.append(capsys.readouterr().out)
        return tiny_source().records()

    prepare(tmp_path, dataclasses.replace(tiny_source(), records=records))
    assert "preparing 20 pictures of tiny train takes" in said[0] and str(tmp_path) in said[0]
    free_disk(monkeypatch, 98_700_000_000)
    store_files.require_space(tmp_path, 23_450_000_000, "preparing it")
    assert capsys.readouterr().out.strip() == (
        f"preparing it takes 23.4 GB in {tmp_path} (98.7 GB free)"
    )


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot reserve disk")
def test_disk_that_cannot_be_reserved_is_told_and_the_run_can_be_repeated(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        message = refusal(tmp_path)
    assert "No space left on device" in message and str(tmp_path) in message
    assert len(prepare(tmp_path)) == COUNT


def test_the_disk_of_a_store_under_construction_is_reserved(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(decoding, "resize", fail_after(0, decoding.resize))
        with pytest.raises(Killed):
            prepare(tmp_path, image_size=(256, 256))
    (path,) = tmp_path.rglob("pictures.npy")
    assert path.stat().st_blocks * 512 >= COUNT * 256 * 256 * 3


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_store_dir_that_cannot_be_written_is_named(tmp_path, below):
    (tmp_path / "file").write_text("in the way")
    store_dir = tmp_path / "file" / below
    message = refusal(store_dir, dataclasses.replace(tiny_source(), records=fail))
    assert str(store_dir) in message and "--store_dir" in message


def test_weights_that_cannot_be_had_end_the_run_before_any_work(tmp_path, networks, monkeypatch):
    def load_weights(model, weights):
        raise UserError("there is no such file.")

    monkeypatch.setattr(embedding, "load_weights", load_weights)
    source = dataclasses.replace(tiny_source(), records=fail)
    assert refusal(tmp_path, source, embedding_weights="a") == "there is no such file."


def test_what_fails_in_the_source_or_the_weights_is_not_blamed_on_the_store(
    tmp_path, networks, monkeypatch
):
    def records():
        yield "p0", encode(picture(0, *SIZE))
        raise PermissionError(errno.EACCES, "Permission denied", "/data/shard-1")

    message = refusal(tmp_path, dataclasses.replace(tiny_source(), records=records))
    assert "the pictures of tiny train" in message and "/data/shard-1" in message
    assert "--store_dir" not in message

    def load_weights(model, weights):
        raise PermissionError(errno.EACCES, "Permission denied", "/data/weights")

    monkeypatch.setattr(embedding, "load_weights", load_weights)
    with pytest.raises(PermissionError, match="/data/weights"):
        prepare(tmp_path, embedding_weights="a")


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", ["pictures.npy", "manifest.json", "embedding-*.npy"])
def test_a_damaged_store_is_named(tmp_path, networks, name, damage):
    prepared = prepare(tmp_path, embedding_weights="a")
    (path,) = prepared.path.glob(name)
    damage(path)
    if damage is Path.unlink and name.startswith("embedding"):
        again = prepare(tmp_path, embedding_weights="a")  # that is only not there yet
        np.testing.assert_array_equal(again.embedding, prepared.embedding)
    else:
        message = refusal(tmp_path, embedding_weights="a")
        assert str(path) in message and f"delete {prepared.path}" in message


# Where stores are kept.


def test_the_default_place_is_in_the_users_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert run_flags.parse([]).store_dir == str(tmp_path / "cache" / "koalagan")
    for set_to_nothing in (True, False):
        if set_to_nothing:
            monkeypatch.setenv("XDG_CACHE_HOME", "")
        else:
            monkeypatch.delenv("XDG_CACHE_HOME")
        assert run_flags.parse([]).store_dir == str(tmp_path / ".cache" / "koalagan")


def test_a_store_dir_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert prepare("~/stores").path.parent == tmp_path / "stores"


def test_a_long_split_makes_a_name_that_file_systems_take(tmp_path):
    split = "+".join(f"train[{start}:{start + 1}]" for start in range(0, 60, 2))
    assert len(prepare(tmp_path, tiny_source(split=split))) == COUNT
