# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""A prepared split on disk: decoding and the frozen networks run once.

    STORE_DIR/NAME-SPLIT-FINGERPRINT/
      pictures.npy             uint8 [N,H,W,3], resized; memory-mapped, never loaded whole
      ids.txt                  one picture id a line, aligned by row
      manifest.json            what shaped the pictures, their count, what was skipped
      embedding-FINGERPRINT.npy  float32 [N,2,1001]: of each picture and of its mirror image

The fingerprint in the folder's name covers everything that shaped the pictures (dataset, split,
size, resize), the one in the embedding's name its weights, so runs that share pictures share them
even when their frozen networks differ. A folder under construction ends in `.partial`: it can be
interrupted at any time, is continued by the next run, and gets its name only when whole.
"""

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from koalagan import files, progress
from koalagan.data import pictures as picture_files
from koalagan.data import sources
from koalagan.errors import UserError, one_line

_FORMAT = 1  # raise it when the meaning of a stored row changes
_CHUNK = 64  # rows between two marks of progress
_EMBEDDING_BATCH = 8


@dataclass(frozen=True)
class Store:
    """A published split: row i of every array belongs to picture i.

    Attributes:
        path: its folder.
        manifest: what shaped it: dataset, split, count ("pictures"), "skipped", fingerprint.
        pictures: uint8 [N,H,W,3] memory map.
        embedding: float32 [N,2,1001] memory map (picture, mirror image), or None.
    """

    path: Path
    manifest: dict
    pictures: np.ndarray
    embedding: np.ndarray | None = None

    def __len__(self) -> int:
        return self.manifest["pictures"]


def default_dir() -> str:
    """koalagan's folder in the user's cache folder (XDG_CACHE_HOME, or ~/.cache)."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "koalagan")


def _fingerprint(facts: dict) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def _write_json(path: Path, content: dict) -> None:
    files.publish(path, lambda temporary: temporary.write_text(json.dumps(content, indent=1)))


def _array(path: Path, dtype, shape: tuple[int, ...]) -> np.ndarray:
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


@contextlib.contextmanager
def _keeping_in(store_dir: Path) -> Iterator[None]:
    """Tells what fails on the store's own disk as the user's to mend."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the prepared pictures cannot be kept in {store_dir} ({error.strerror or error}): "
            "make it writable, free some disk, or name another place with --store_dir."
        ) from error


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
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


def _opened(read: Callable, path: Path):
    """`read(path)`, for a file of a published store."""
    try:
        return read(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({one_line(error)}): delete {path.parent} to have its pictures "
            "prepared again."
        ) from error


def _read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def _map(path: Path) -> np.ndarray:
    return np.lib.format.open_memmap(path, mode="r")


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


def prepare(
    source: sources.Source,
    *,
    store_dir: str,
    image_size: tuple[int, int] = (256, 256),
    resize: str = "stretch",
    on_bad_picture: str = "fail",
    embedding_weights: str | None = None,
) -> Store:
    """Returns the prepared split, preparing first whatever of it is not on disk yet.

    Args:
        source: the pictures.
        store_dir: parent folder of all stores; made if absent.
        image_size: (height, width) of the stored pictures.
        resize: "stretch" or "crop" (the centre).
        on_bad_picture: "fail", or "skip" and count.
        embedding_weights: weights of the frozen embedding network (see `models.embedding`); None or
            "none" stores no embedding.

    Raises:
        UserError: the disk is too small or not writable, a picture is bad and `on_bad_picture` is
            "fail", no picture is left, or the weights cannot be had.
    """
    facts = {
        "format": _FORMAT,
        "source": source.identity,
        "image_size": list(image_size),
        "resize": resize,
    }
    slug = "".join(c if c.isalnum() else "_" for c in f"{source.name}-{source.split}").strip("_")
    folder = Path(store_dir).expanduser()
    path = folder / f"{slug[:100]}-{_fingerprint(facts)}"
    with _keeping_in(folder):
        folder.mkdir(parents=True, exist_ok=True)
    embed = None
    if embedding_weights not in (None, "none"):
        embed = _Embedding(path, embedding_weights)
    with _keeping_in(folder):
        needed = embed.disk(source.count) if embed else 0
        if not path.exists() and not _unfinished(path).exists():
            needed += source.count * image_size[0] * image_size[1] * 3
        if needed:
            pictures = f"{source.count} pictures of {source.name} {source.split}"
            require_space(folder, needed, f"preparing {pictures}")
    if not path.exists():
        with _keeping_in(folder), _alone_in(folder):
            if not path.exists():  # still, after waiting
                _prepare_pictures(source, path, facts, skip=on_bad_picture == "skip")
    manifest = _opened(_read_json, path / "manifest.json")
    if on_bad_picture == "fail":
        _refuse_skipped(manifest["skipped"])
    if left_out := len(manifest["skipped"]):
        print(
            f"left out {left_out} of the {left_out + manifest['pictures']} pictures of "
            f"{source.split}, which cannot be decoded: {', '.join(manifest['skipped'][:3])}"
            + (", ..." if left_out > 3 else "")
        )
    pictures = _opened(_map, path / "pictures.npy")[: manifest["pictures"]]
    embedding = embed.open(pictures) if embed else None
    return Store(path, manifest, pictures, embedding)


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _bad_picture(what: str) -> UserError:
    return UserError(
        f"{what.rstrip('.')}: mend or remove it, or pass --on_bad_picture=skip to go on without it."
    )


def _refuse_skipped(skipped: list[str]) -> None:
    if skipped:
        raise _bad_picture(f"picture {skipped[0]} cannot be decoded")


def _records(source: sources.Source, start: int) -> Iterator[tuple[str, bytes]]:
    """The records from number `start` on; what fails in them is not the store's fault."""
    try:
        yield from itertools.islice(source.records(), start, None)
    except OSError as error:
        raise UserError(
            f"the pictures of {source.name} {source.split} cannot be read: {one_line(error)}."
        ) from error


def _prepare_pictures(source: sources.Source, path: Path, facts: dict, *, skip: bool) -> None:
    height, width = facts["image_size"]
    unfinished = _unfinished(path)
    unfinished.mkdir(exist_ok=True)
    pictures = _array(unfinished / "pictures.npy", np.uint8, (source.count, height, width, 3))
    state_file = unfinished / "state.json"
    state = {"records": 0, "rows": 0, "skipped": []}
    if state_file.exists():
        state = _opened(_read_json, state_file)
    if not skip:
        _refuse_skipped(state["skipped"])
    ids_file = unfinished / "ids.txt"
    # File names need not be valid Unicode.
    text = {"encoding": "utf-8", "errors": "surrogateescape"}
    ids = ids_file.read_text(**text).splitlines()[: state["rows"]] if ids_file.exists() else []
    if len(ids) < state["rows"]:  # A power failure kept the state and lost the ids before it.
        state, ids = {"records": 0, "rows": 0, "skipped": []}, []
    ids_file.write_text("".join(f"{name}\n" for name in ids), **text)

    def decode(record: tuple[str, bytes]) -> np.ndarray | picture_files.BadPicture:
        name, encoded = record
        try:
            picture = picture_files.decode(encoded, name)
        except picture_files.BadPicture as error:
            return error
        if facts["resize"] == "crop":
            picture = picture_files.centre_crop(picture, (height, width))
        return picture_files.resize(picture, (height, width)).numpy()

    records = _records(source, state["records"])
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        progress.bar(f"prepare {source.split}", source.count, state["records"]) as bar,
    ):
        while chunk := list(itertools.islice(records, _CHUNK)):
            rows = len(ids)
            for (name, _), picture in zip(chunk, pool.map(decode, chunk), strict=True):
                if isinstance(picture, picture_files.BadPicture):
                    if not skip:
                        raise _bad_picture(str(picture)) from picture
                    state["skipped"].append(name)
                    continue
                pictures[len(ids)] = picture
                ids.append(" ".join(name.splitlines()))
            state["records"] += len(chunk)
            state["rows"] = len(ids)
            # The order makes a kill harmless: rows first, then the mark that says they are there.
            pictures.flush()
            with ids_file.open("a", **text) as file:
                file.writelines(f"{name}\n" for name in ids[rows:])
            _write_json(state_file, state)
            bar.update(len(chunk))
    if not ids:
        raise UserError(f"no picture of {source.name} {source.split} can be decoded.")
    _write_json(
        unfinished / "manifest.json",
        {
            **facts,
            "dataset": source.name,
            "split": source.split,
            "pictures": len(ids),
            "skipped": state["skipped"],
            "fingerprint": _fingerprint(facts),
        },
    )
    state_file.unlink()
    os.rename(unfinished, path)


class _Embedding:
    """The embedding array of a store, and, while it is not on disk, the network that makes it.

    Made before the pictures are prepared, so that weights that cannot be had end the run at once.
    """

    def __init__(self, path: Path, weights: str):
        # Imported here: nobody who has the arrays on disk needs the frozen network's code.
        from koalagan.models import embedding

        embedding.fetch(weights)
        fingerprint = _fingerprint({"weights": embedding.fingerprint(weights)})
        self.target = path / f"embedding-{fingerprint}.npy"
        self.row_shape = (2, embedding.CLASSES)
        self.model = None
        if not self.target.exists():
            self.model = embedding.build()
            embedding.load_weights(self.model, weights)

    def disk(self, count: int) -> int:
        """The bytes that the array of `count` pictures will still take."""
        if self.model is None or _partial_rows(self.target).exists():
            return 0
        return 4 * count * int(np.prod(self.row_shape))

    def open(self, pictures: np.ndarray) -> np.ndarray:
        """float32 [N,2,1001], computed first where it is not there."""
        if self.model is not None:
            network = partial(self.model, training=False)
            folder = self.target.parent
            with _keeping_in(folder.parent), _alone_in(folder):
                if not self.target.exists():  # still, after waiting
                    _compute_rows(self.target, self.row_shape, pictures, network)
        return _opened(_map, self.target)


def _partial_rows(target: Path) -> Path:
    return target.with_suffix(".partial.npy")


def _compute_rows(target: Path, row_shape: tuple, pictures: np.ndarray, network: Callable) -> None:
    """Writes network(L) of every picture and of its mirror image into `target`, row by row."""
    import tensorflow as tf

    from koalagan import lab

    count = len(pictures)
    unfinished, state_file = _partial_rows(target), target.with_suffix(".state.json")
    rows = _array(unfinished, np.float32, (count, *row_shape))
    done = _opened(_read_json, state_file)["rows"] if state_file.exists() else 0

    @tf.function(reduce_retracing=True)
    def compute(batch: tf.Tensor) -> tf.Tensor:
        lightness, _ = lab.rgb_to_lab(batch)
        both = network(tf.concat([lightness, lightness[:, :, ::-1]], axis=0))
        return tf.stack(tf.split(both, 2), axis=1)

    with progress.bar("embed", count, done) as bar:
        while done < count:
            batch = pictures[done : done + _EMBEDDING_BATCH]
            rows[done : done + len(batch)] = compute(tf.constant(batch))
            done += len(batch)
            rows.flush()
            _write_json(state_file, {"rows": done})
            bar.update(len(batch))
    # In this order: a mark that outlived its rows would call those of a later run done.
    state_file.unlink(missing_ok=True)
    os.replace(unfinished, target)
