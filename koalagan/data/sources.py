# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Where pictures come from: a TensorFlow Datasets (TFDS) dataset, or a folder of photographs.

`open_source` gives a `Source`: the number of pictures, an identity that changes whenever they do,
and an iterator of (picture id, encoded bytes) in an order that never changes. TFDS orders its
records by a hash, and so does `open_source` the files of a folder, so a prefix of a split is a
fixed random subset.
"""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from koalagan import files
from koalagan.data import picture_file, tfds_datasets
from koalagan.data.content_hashes import content_hashes
from koalagan.data.objects import Objects, objects_feature
from koalagan.data.picture_folder import PICTURE_EXTENSIONS, list_pictures
from koalagan.errors import UserError, one_line


@dataclasses.dataclass(frozen=True)
class Source:
    """A split of pictures.

    Attributes:
        name: the full dataset name with its version, or `folder`.
        split: the split as it was requested.
        count: the number of pictures.
        identity: JSON-serializable; differs whenever the pictures or their order differ.
        records: starts a new iterator of (picture id, encoded bytes), always in the same order. It
            raises UserError if the data on disk is damaged.
        objects: reads the objects that the dataset marks, by picture id; None where it marks none.
    """

    name: str
    split: str
    count: int
    identity: dict[str, Any]
    records: Callable[[], Iterator[tuple[str, bytes]]]
    objects: Callable[[], dict[str, Objects]] | None = None


def open_source(
    dataset: str, split: str, data_dir: str | None = None, download: bool = False
) -> Source:
    """Opens a split of a TFDS dataset or of a folder of photographs.

    Args:
        dataset: a TFDS name with an image feature (`coco/2017`, `koala_scenes`), or `folder`.
        split: TFDS syntax (`train[:90%]`); a folder has the single split `train`.
        data_dir: where TFDS datasets lie (None for TFDS's own default), or the folder.
        download: whether TFDS may download and prepare a dataset that is not in `data_dir`.

    Raises:
        UserError: the dataset, the split or the folder does not exist, or holds no pictures.
    """
    if dataset == "folder":
        return _open_folder(split, data_dir)
    return _open_tfds(dataset, split, data_dir, download)


def _open_folder(split: str, data_dir: str | None) -> Source:
    if not data_dir:
        raise UserError("The dataset folder needs --data_dir, the folder of photographs.")
    if files.is_url(data_dir):
        raise UserError(
            f"--data_dir={data_dir} is a URL: photographs are read from a folder of this machine, "
            "so copy or mount it."
        )
    folder = os.path.expanduser(data_dir)
    if not os.path.isdir(folder):
        raise UserError(f"The folder of photographs {data_dir} does not exist.")
    paths = list_pictures(folder)
    if not paths:
        raise UserError(
            f"The folder {data_dir} holds no pictures ({', '.join(PICTURE_EXTENSIONS)})."
        )
    paths.sort(key=lambda path: hashlib.sha256(os.fsencode(path)).digest())
    info = tfds.core.SplitInfo(name="train", shard_lengths=[len(paths)], num_bytes=0)
    parts = _resolve(split, {"train": info}, f"the folder {data_dir}")
    selected = [path for _, start, stop in parts for path in paths[start:stop]]

    digest, dangling = hashlib.sha256(), set()
    for path, (size, content) in content_hashes(folder, selected).items():
        if not os.path.exists(os.path.join(folder, path)):
            dangling.add(path)  # A link to nothing, which `records` turns into a bad picture.
        digest.update(os.fsencode(path) + f"\0{size}\0{content}\0".encode())

    def records() -> Iterator[tuple[str, bytes]]:
        for path in selected:
            yield path, _read(os.path.join(folder, path), existed=path not in dangling)

    identity = {"dataset": "folder", "split": parts, "files": digest.hexdigest()}
    return Source("folder", split, len(selected), identity, records)


def _read(path: str, existed: bool) -> bytes:
    """Reads a file; gives no bytes if it cannot be read, so that it counts as one bad picture.

    Args:
        path: the file.
        existed: whether the file was there when the source was opened. If it is gone now, it is not
            a bad picture.

    Raises:
        OSError: the file, or the disk that held it, is gone.
    """
    try:
        return picture_file.read(path)
    except picture_file.BadPicture as error:
        if existed and isinstance(error.__cause__, OSError) and not os.access(path, os.F_OK):
            raise error.__cause__ from None
        logging.warning("%s", error)
        return b""


def _open_tfds(dataset: str, split: str, data_dir: str | None, download: bool) -> Source:
    data_dir = os.path.expanduser(data_dir) if data_dir else None
    builder = tfds_datasets.prepared_builder(dataset, data_dir, download)
    info = builder.info
    image = tfds_datasets.image_feature(dataset, info.features)
    named_by = tfds_datasets.id_feature(info.features)
    name_wanted = {named_by: True} if named_by else {}
    # Nothing else is read: parsing COCO's boxes takes longer than reading its pictures.
    pictures_wanted = tfds.decode.PartialDecoding(
        {image: True, **name_wanted}, decoders={image: tfds.decode.SkipDecoding()}
    )
    splits = {name: info.splits[name] for name in info.splits}
    parts = _resolve(split, splits, f"the dataset {info.full_name}")

    def rows(wanted: tfds.decode.PartialDecoding) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, start, stop in parts:
            pictures = builder.as_dataset(
                split=tfds.core.ReadInstruction(name, from_=start, to=stop, unit="abs"),
                decoders=wanted,
                # One file after the other: if interleaved, the order would depend on the slice.
                read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
                shuffle_files=False,
            )
            try:
                for index, row in enumerate(pictures.as_numpy_iterator(), start):
                    picture = row[named_by] if named_by else f"{name}-{index}"
                    if isinstance(picture, bytes):
                        picture = picture.decode(errors="replace")
                    yield str(picture), row
            except tf.errors.OpError as error:
                raise UserError(
                    f"The dataset {info.full_name} in {builder.data_path} is damaged: "
                    f"{one_line(error.message)}."
                ) from error

    def records() -> Iterator[tuple[str, bytes]]:
        for picture, row in rows(pictures_wanted):
            yield picture, row[image]

    marked = objects_feature(info.features)

    def read_objects() -> dict[str, Objects]:
        wanted = tfds.decode.PartialDecoding({**marked.wanted, **name_wanted})
        return {picture: marked.read(row) for picture, row in rows(wanted)}

    identity = {
        "dataset": info.full_name,
        "split": parts,
        "files": {
            name: {
                "shard_lengths": list(splits[name].shard_lengths),
                "num_bytes": int(splits[name].num_bytes),
            }
            for name in sorted({part[0] for part in parts})
        },
    }
    count = sum(stop - start for _, start, stop in parts)
    return Source(info.full_name, split, count, identity, records, read_objects if marked else None)


def _resolve(split: str, infos: dict[str, tfds.core.SplitInfo], owner: str) -> list[list]:
    """Converts a split to [name, start, stop] parts, in absolute numbers and not all empty."""
    existing = ", ".join(f"{name} ({info.num_examples} pictures)" for name, info in infos.items())
    try:
        instructions = tfds.core.ReadInstruction.from_spec(split)
    except (ValueError, NotImplementedError):
        raise UserError(
            f"The split {split!r} is malformed: write it like train, train[:90%] or train[10:20]; "
            f"{owner} has {existing}."
        ) from None
    try:
        absolute = instructions.to_absolute(infos)
    except ValueError:
        raise UserError(f"There is no split {split!r}: {owner} has {existing}.") from None
    parts = []
    for part in absolute:
        stop = infos[part.splitname].num_examples if part.to is None else part.to
        if stop > (part.from_ or 0):
            parts.append([part.splitname, part.from_ or 0, stop])
    if not parts:
        raise UserError(f"The split {split!r} is empty: {owner} has {existing}.")
    return parts
