# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""A prepared split on disk: decoding and the frozen networks run once.

    STORE_DIR/NAME-SPLIT-FINGERPRINT/
      pictures.npy             uint8 [N,H,W,3], resized; memory-mapped, never loaded whole
      ids.txt                  one picture id a line, aligned by row
      manifest.json            what shaped the pictures, their count, what was skipped
      embedding-*.npy, segmentation-*.npy  what the frozen networks say (see `features`)

The fingerprint in the folder's name covers everything that shaped the pictures (dataset, split,
size, resize), the one in a feature's name its weights, so runs that share pictures share them even
when their frozen networks differ. A folder under construction ends in `.partial`: it can be
interrupted at any time, is continued by the next run, and gets its name only when whole.
"""

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from koalagan import progress
from koalagan.data import decoding as picture_files
from koalagan.data import features, sources, store_files
from koalagan.errors import UserError, one_line

_FORMAT = 2  # raise it when the meaning of a stored row changes
# File names need not be valid Unicode.
_TEXT = {"encoding": "utf-8", "errors": "surrogateescape"}
_CHUNK = 64  # rows between two marks of progress


@dataclass(frozen=True)
class Store:
    """A published split: row i of every array belongs to picture i.

    Attributes:
        path: its folder.
        manifest: what shaped it: dataset, split, count ("pictures"), "skipped", fingerprint.
        pictures: uint8 [N,H,W,3] memory map.
        embedding: float32 [N,2,1001] memory map (picture, mirror image), or None.
        segmentation: float16 [N,2,H/4,W/4,21] memory map (the same), or None.
    """

    path: Path
    manifest: dict
    pictures: np.ndarray
    embedding: np.ndarray | None = None
    segmentation: np.ndarray | None = None

    def __len__(self) -> int:
        return self.manifest["pictures"]

    def ids(self) -> list[str]:
        """What each row's picture is called in its dataset, or its path in its folder."""
        return store_files.opened(_read_ids, self.path / "ids.txt")


def prepare(
    source: sources.Source,
    *,
    store_dir: str,
    image_size: tuple[int, int] = (256, 256),
    resize: str = "stretch",
    on_bad_picture: str = "fail",
    embedding_weights: str | None = None,
    segmentation_weights: str | None = None,
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
        segmentation_weights: the same for `models.segmentation`.

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
    path = folder / f"{slug[:100]}-{store_files.fingerprint(facts)}"
    with store_files.keeping_in(folder):
        folder.mkdir(parents=True, exist_ok=True)
    weights = {"embedding": embedding_weights, "segmentation": segmentation_weights}
    wanted = {
        name: features.Feature(name, path, given, image_size)
        for name, given in weights.items()
        if given not in (None, "none")
    }
    with store_files.keeping_in(folder):
        needed = sum(feature.disk(source.count) for feature in wanted.values())
        if not path.exists() and not _unfinished(path).exists():
            needed += source.count * image_size[0] * image_size[1] * 3
        if needed:
            pictures = f"{source.count} pictures of {source.name} {source.split}"
            store_files.require_space(folder, needed, f"preparing {pictures}")
    if not path.exists():
        with store_files.keeping_in(folder), store_files.alone_in(folder):
            if not path.exists():  # still, after waiting
                _prepare_pictures(source, path, facts, skip=on_bad_picture == "skip")
    manifest = store_files.opened(store_files.read_json, path / "manifest.json")
    if on_bad_picture == "fail":
        _refuse_skipped(manifest["skipped"])
    if left_out := len(manifest["skipped"]):
        print(
            f"left out {left_out} of the {left_out + manifest['pictures']} pictures of "
            f"{source.split}, which cannot be decoded: {', '.join(manifest['skipped'][:3])}"
            + (", ..." if left_out > 3 else "")
        )
    pictures = store_files.opened(store_files.open_map, path / "pictures.npy")[
        : manifest["pictures"]
    ]
    opened = {name: feature.open(pictures) for name, feature in wanted.items()}
    return Store(path, manifest, pictures, **opened)


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _read_ids(path: Path) -> list[str]:
    return path.read_text(**_TEXT).splitlines()


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
    shape = (source.count, height, width, 3)
    pictures = store_files.open_array(unfinished / "pictures.npy", np.uint8, shape)
    state_file = unfinished / "state.json"
    state = {"records": 0, "rows": 0, "skipped": []}
    if state_file.exists():
        state = store_files.opened(store_files.read_json, state_file)
    if not skip:
        _refuse_skipped(state["skipped"])
    ids_file = unfinished / "ids.txt"
    ids = _read_ids(ids_file)[: state["rows"]] if ids_file.exists() else []
    if len(ids) < state["rows"]:  # A power failure kept the state and lost the ids before it.
        state, ids = {"records": 0, "rows": 0, "skipped": []}, []
    ids_file.write_text("".join(f"{name}\n" for name in ids), **_TEXT)

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
            with ids_file.open("a", **_TEXT) as file:
                file.writelines(f"{name}\n" for name in ids[rows:])
            store_files.write_json(state_file, state)
            bar.update(len(chunk))
    if not ids:
        raise UserError(f"no picture of {source.name} {source.split} can be decoded.")
    store_files.write_json(
        unfinished / "manifest.json",
        {
            **facts,
            "dataset": source.name,
            "split": source.split,
            "pictures": len(ids),
            "skipped": state["skipped"],
            "fingerprint": store_files.fingerprint(facts),
        },
    )
    state_file.unlink()
    os.rename(unfinished, path)
