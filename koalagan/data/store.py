# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""A prepared split on disk, so that decoding and the frozen networks run only once.

    STORE_DIR/NAME-SPLIT-FINGERPRINT/
      pictures.npy             uint8 [N, H, W, 3], resized; memory-mapped, never loaded whole
      ids.txt                  one picture id per line, aligned by row
      manifest.json            what shaped the pictures, their number, what was skipped
      embedding-*.npy, segmentation-*.npy  outputs of the frozen networks (see `features`)

The fingerprint in the folder's name covers everything that shaped the pictures (dataset, split,
size, resize method); the one in a feature's name covers its weights. So runs that use the same
pictures share them even if their frozen networks differ. The name of an unfinished folder ends in
`.partial`. It can be interrupted at any time, the next run continues it, and it is renamed only
when it is complete.
"""

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from koalagan import files, progress
from koalagan.data import features, picture_file, resized_pictures, sources, store_files
from koalagan.errors import UserError, one_line

# Pictures between two saved states. An interruption loses at most one chunk, and what cores were
# working on.
CHUNK = 64

_FORMAT = 2  # Increase it when the meaning of a stored row changes.
# File names need not be valid Unicode.
_TEXT = {"encoding": "utf-8", "errors": "surrogateescape"}


@dataclasses.dataclass(frozen=True)
class Store:
    """A complete split: row i of every array belongs to picture i.

    Attributes:
        path: its folder.
        manifest: what shaped it: dataset, split, count ("pictures"), "skipped", fingerprint.
        pictures: uint8 [N, H, W, 3] memory map.
        embedding: float32 [N, 2, 1001] memory map (picture, mirror image), or None.
        segmentation: float16 [N, 2, H/4, W/4, 21] memory map (picture, mirror image), or None.
    """

    path: Path
    manifest: dict[str, Any]
    pictures: np.ndarray
    embedding: np.ndarray | None = None
    segmentation: np.ndarray | None = None

    def __len__(self) -> int:
        return self.manifest["pictures"]

    def ids(self) -> list[str]:
        """The name of each row's picture in its dataset, or its path in its folder."""
        return store_files.load(_read_ids, self.path / "ids.txt")


def prepare(
    source: sources.Source,
    *,
    store_dir: str | None = None,
    image_size: tuple[int, int] = (256, 256),
    resize: str = "stretch",
    on_bad_picture: str = "fail",
    embedding: str | None = None,
    embedding_weights: str | None = None,
    segmentation_weights: str | None = None,
    frozen_precision: str = "float32",
) -> Store:
    """Returns the prepared split, after preparing whatever of it is not on disk yet.

    Args:
        source: the pictures.
        store_dir: parent folder of all stores, created if absent; None for `cache_folder()`.
        image_size: (height, width) of the stored pictures.
        resize: "stretch", or "crop" to the center.
        on_bad_picture: "fail", or "skip" to leave it out.
        embedding: the network, one of `koalagan.models.frozen.NETWORKS`; None for the papers'.
        embedding_weights: see its module; None or "none" stores no embedding.
        segmentation_weights: the same for `koalagan.models.frozen.segmentation`.
        frozen_precision: the dtype that both compute in, "float32" or "bfloat16".

    Raises:
        UserError: the disk is too small or not writable, a picture is bad and `on_bad_picture` is
            "fail", no picture is left, or the weights are not available.
    """
    here = place(source, store_dir, image_size, resize)
    folder, path = here.folder, here.path
    with store_files.writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    chosen = {
        "embedding": (embedding, embedding_weights),
        "segmentation": (None, segmentation_weights),
    }
    wanted = {
        role: features.Feature(role, path, weights, image_size, frozen_precision, network)
        for role, (network, weights) in chosen.items()
        if weights not in (None, "none")
    }
    with store_files.writing_to(folder):
        needed = sum(feature.bytes_to_write(source.count) for feature in wanted.values())
        if not path.exists() and not _unfinished(path).exists():
            needed += source.count * image_size[0] * image_size[1] * 3
        if needed:
            what = f"{source.count} pictures of {source.name} {source.split}"
            store_files.require_space(folder, needed, f"preparing {what}")
    if not path.exists():
        with store_files.writing_to(folder), store_files.locked(folder):
            # Another run may have prepared them while this one waited for the lock.
            if not path.exists():
                _prepare_pictures(source, here, skip=on_bad_picture == "skip")
    manifest = store_files.load(store_files.read_json, path / "manifest.json")
    if on_bad_picture == "fail":
        _refuse_skipped(manifest["skipped"])
    _tell_skipped(manifest, source.split)
    pictures = store_files.load(store_files.open_read_only, path / "pictures.npy")
    pictures = pictures[: manifest["pictures"]]
    opened = {name: feature.open(pictures) for name, feature in wanted.items()}
    return Store(path, manifest, pictures, **opened)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a split is or will be stored.

    Attributes:
        folder: of all stores.
        path: the store's own.
        facts: what the fingerprint in its name covers.
    """

    folder: Path
    path: Path
    facts: dict[str, Any]


def place(
    source: sources.Source, store_dir: str | None, image_size: tuple[int, int], resize: str
) -> Place:
    """The place of a split; see `prepare` for the arguments."""
    facts = {
        "format": _FORMAT,
        "source": source.identity,
        "image_size": list(image_size),
        "resize": resize,
    }
    slug = "".join(c if c.isalnum() else "_" for c in f"{source.name}-{source.split}").strip("_")
    folder = Path(store_dir or files.cache_folder()).expanduser()
    return Place(folder, folder / f"{slug[:100]}-{store_files.fingerprint(facts)}", facts)


def write_manifest(
    folder: Path, place: Place, source: sources.Source, pictures: int, skipped: list[str]
) -> None:
    """Writes the manifest of a folder that has all arrays and becomes a store.

    Args:
        folder: under its unfinished name.
        place: where it is going to be.
        source: its pictures.
        pictures: the number of its rows.
        skipped: the pictures that were left out.
    """
    store_files.write_json(
        folder / "manifest.json",
        {
            **place.facts,
            "dataset": source.name,
            "split": source.split,
            "pictures": pictures,
            "skipped": skipped,
            "fingerprint": store_files.fingerprint(place.facts),
        },
    )


def write_ids(path: Path, ids: Iterable[str]) -> None:
    """Writes the names of a store's rows."""
    path.write_text("".join(f"{name}\n" for name in ids), **_TEXT)


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _read_ids(path: Path) -> list[str]:
    return path.read_text(**_TEXT).splitlines()


def _bad_picture(problem: str) -> UserError:
    return UserError(
        f"{problem.rstrip('.')}: repair or remove it, or pass --on_bad_picture=skip to leave it "
        "out."
    )


def _refuse_skipped(skipped: list[str]) -> None:
    if skipped:
        raise _bad_picture(f"The picture {skipped[0]} cannot be decoded")


def _tell_skipped(manifest: dict[str, Any], split: str) -> None:
    if left_out := len(manifest["skipped"]):
        print(
            f"left out {left_out} of the {left_out + manifest['pictures']} pictures of "
            f"{split}, which cannot be decoded: {', '.join(manifest['skipped'][:3])}"
            + (", ..." if left_out > 3 else "")
        )


def _records(source: sources.Source, start: int) -> Iterator[tuple[str, bytes]]:
    """The records from number `start` on. An OSError in them is not about the store's disk."""
    try:
        yield from itertools.islice(source.records(), start, None)
    except OSError as error:
        raise UserError(
            f"The pictures of {source.name} {source.split} cannot be read: {one_line(error)}."
        ) from error


def _prepare_pictures(source: sources.Source, place: Place, *, skip: bool) -> None:
    """Decodes and resizes all pictures, then gives the complete folder its name.

    Args:
        source: the pictures.
        place: where they go, which does not exist yet.
        skip: whether bad pictures are left out.

    Raises:
        UserError: a picture is bad and `skip` is False, or all pictures are bad.
        OSError: the disk is full or not writable.
    """
    height, width = place.facts["image_size"]
    unfinished = _unfinished(place.path)
    unfinished.mkdir(exist_ok=True)
    shape = (source.count, height, width, 3)
    pictures = store_files.open_writable(unfinished / "pictures.npy", np.uint8, shape)
    state_file, ids_file = unfinished / "state.json", unfinished / "ids.txt"
    state, ids = _resume(state_file, ids_file, skip=skip)

    left = source.count - state["records"]
    with (
        contextlib.closing(
            resized_pictures.resized(
                _records(source, state["records"]),
                left,
                (height, width),
                crop=place.facts["resize"] == "crop",
            )
        ) as results,
        progress.bar(f"prepare {source.split}", source.count, state["records"]) as bar,
    ):
        while chunk := list(itertools.islice(results, CHUNK)):
            rows = len(ids)
            for name, picture in chunk:
                if isinstance(picture, picture_file.BadPicture):
                    if not skip:
                        raise _bad_picture(str(picture)) from picture
                    state["skipped"].append(name)
                    continue
                pictures[len(ids)] = picture
                ids.append(" ".join(name.splitlines()))
            state["records"] += len(chunk)
            state["rows"] = len(ids)
            # This order makes a kill harmless: first the rows, then the state that counts them.
            pictures.flush()
            with ids_file.open("a", **_TEXT) as file:
                file.writelines(f"{name}\n" for name in ids[rows:])
            store_files.write_json(state_file, state)
            bar.update(len(chunk))
    if not ids:
        raise UserError(f"No picture of {source.name} {source.split} can be decoded.")
    write_manifest(unfinished, place, source, len(ids), state["skipped"])
    state_file.unlink()
    os.rename(unfinished, place.path)


def _resume(state_file: Path, ids_file: Path, *, skip: bool) -> tuple[dict[str, Any], list[str]]:
    """The state that an interrupted run saved, or that of the start, and the ids of its rows.

    Raises:
        UserError: the interrupted run skipped a bad picture and `skip` is False.
    """
    state, ids = {"records": 0, "rows": 0, "skipped": []}, []
    if state_file.exists():
        state = store_files.load(store_files.read_json, state_file)
    if not skip:
        _refuse_skipped(state["skipped"])
    if ids_file.exists():
        ids = _read_ids(ids_file)[: state["rows"]]
    if len(ids) < state["rows"]:  # A power failure kept the state and lost the ids before it.
        state, ids = {"records": 0, "rows": 0, "skipped": []}, []
    write_ids(ids_file, ids)
    return state, ids
