# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Where pictures come from: a TensorFlow Datasets name, or a folder of photographs.

`open_source` gives a `Source`: how many pictures there are, an identity that changes whenever they
do, and an iterator of (picture id, encoded bytes) in an order that never changes. TFDS already
orders its records by a hash and a folder is ordered by one, so a prefix of a split is a fixed
random subset.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import hashlib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from absl import logging

from koalagan import lazy
from koalagan.data import decoding
from koalagan.errors import UserError, one_line

tf = lazy.module("tensorflow")
tfds = lazy.module("tensorflow_datasets")
naming = lazy.module("tensorflow_datasets.core.naming")
read_only_builder = lazy.module("tensorflow_datasets.core.read_only_builder")
registered = lazy.module("tensorflow_datasets.core.registered")

PICTURE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")

# Features that name a picture, best first.
_ID_FEATURES = ("image/id", "id", "image/filename", "file_name")


@dataclasses.dataclass(frozen=True)
class Source:
    """A split of pictures.

    Attributes:
        name: the full dataset name with its version, or `folder`.
        split: the split as it was asked for.
        count: number of pictures.
        identity: JSON-able; differs whenever the pictures or their order do.
        records: starts a new iterator of (picture id, encoded bytes), always in the same order.
            Raises UserError where the data on disk is damaged.
    """

    name: str
    split: str
    count: int
    identity: dict[str, Any]
    records: Callable[[], Iterator[tuple[str, bytes]]]


def open_source(
    dataset: str, split: str, data_dir: str | None = None, download: bool = False
) -> Source:
    """Opens a split of a TFDS dataset or of a folder of photographs.

    Args:
        dataset: a TFDS name with an image feature (`coco/2017`, `koala_scenes`), or `folder`.
        split: TFDS syntax (`train[:90%]`); a folder has the one split `train`.
        data_dir: where TFDS datasets lie (None: TFDS's own default), or the folder.
        download: allow TFDS to download and prepare a dataset that is not in `data_dir`.

    Raises:
        UserError: the dataset, the split or the folder does not exist, or holds no pictures.
    """
    if dataset == "folder":
        return _open_folder(split, data_dir)
    return _open_tfds(dataset, split, data_dir, download)


def list_pictures(folder: str) -> list[str]:
    """Relative posix paths of the pictures under `folder`, sorted; hidden files are left out.

    Hidden names are skipped because macOS keeps a `._photo.jpg` without a picture beside each file
    it copies to other disks. Links to files are followed, links to folders are not.

    Raises:
        UserError: `folder` or a folder in it cannot be listed.
    """

    def fail(error: OSError) -> None:
        raise UserError(f"The folder {error.filename} cannot be read: {error.strerror}.")

    found = []
    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(PICTURE_EXTENSIONS) and not name.startswith("."):
                path = os.path.relpath(os.path.join(parent, name), folder)
                found.append(path.replace(os.sep, "/"))
    return sorted(found)


def _open_folder(split: str, data_dir: str | None) -> Source:
    if not data_dir:
        raise UserError("The dataset folder needs --data_dir, the folder of photographs.")
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

    digest, nowhere = hashlib.sha256(), set()
    for path in selected:
        try:
            stat = os.stat(os.path.join(folder, path))
            size, modified = stat.st_size, stat.st_mtime_ns
        except OSError:  # a link to nowhere, which `records` makes a bad picture of
            size = modified = 0
            nowhere.add(path)
        digest.update(os.fsencode(path) + f"\0{size}\0{modified}\0".encode())

    def records() -> Iterator[tuple[str, bytes]]:
        for path in selected:
            yield path, _read(os.path.join(folder, path), existed=path not in nowhere)

    identity = {"dataset": "folder", "split": parts, "files": digest.hexdigest()}
    return Source("folder", split, len(selected), identity, records)


def _read(path: str, existed: bool) -> bytes:
    """A file's bytes; none where it cannot be read, so that it counts as one bad picture.

    Args:
        path: the file.
        existed: it has been there, so that it is no bad picture where it is gone.

    Raises:
        OSError: it or the disk that it lay on is gone.
    """
    try:
        return decoding.read(path)
    except decoding.BadPicture as error:
        if existed and isinstance(error.__cause__, OSError) and not os.access(path, os.F_OK):
            raise error.__cause__ from None
        logging.warning("%s", error)
        return b""


def _resolve(split: str, infos: dict[str, tfds.core.SplitInfo], owner: str) -> list[list]:
    """The split as [name, start, stop] parts, absolute and never empty together."""
    exist = ", ".join(f"{name} ({info.num_examples} pictures)" for name, info in infos.items())
    try:
        instructions = tfds.core.ReadInstruction.from_spec(split)
    except (ValueError, NotImplementedError):
        raise UserError(
            f"The split {split!r} is malformed: write it like train, train[:90%] or train[10:20]; "
            f"{owner} has {exist}."
        ) from None
    try:
        absolute = instructions.to_absolute(infos)
    except ValueError:
        raise UserError(f"There is no split {split!r}: {owner} has {exist}.") from None
    parts = []
    for part in absolute:
        stop = infos[part.splitname].num_examples if part.to is None else part.to
        if stop > (part.from_ or 0):
            parts.append([part.splitname, part.from_ or 0, stop])
    if not parts:
        raise UserError(f"The split {split!r} is empty: {owner} has {exist}.")
    return parts


def _open_tfds(dataset: str, split: str, data_dir: str | None, download: bool) -> Source:
    data_dir = os.path.expanduser(data_dir) if data_dir else None
    builder = _prepared_builder(dataset, data_dir, download)
    info = builder.info
    image = _image_feature(dataset, info.features)
    named_by = _id_feature(info.features)
    encoded = {
        name: tfds.decode.SkipDecoding()
        for name, feature in info.features.items()
        if isinstance(feature, tfds.features.Image)
    }
    splits = {name: info.splits[name] for name in info.splits}
    parts = _resolve(split, splits, f"the dataset {info.full_name}")

    def records() -> Iterator[tuple[str, bytes]]:
        for name, start, stop in parts:
            pictures = builder.as_dataset(
                split=tfds.core.ReadInstruction(name, from_=start, to=stop, unit="abs"),
                decoders=encoded,
                # One file after the other: interleaved, the order would depend on the slice.
                read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
                shuffle_files=False,
            )
            try:
                for index, row in enumerate(pictures.as_numpy_iterator(), start):
                    picture = row[named_by] if named_by else f"{name}-{index}"
                    if isinstance(picture, bytes):
                        picture = picture.decode(errors="replace")
                    yield str(picture), row[image]
            except tf.errors.OpError as error:
                raise UserError(
                    f"The dataset {info.full_name} in {builder.data_path} is damaged: "
                    f"{one_line(error.message)}."
                ) from error

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
    return Source(info.full_name, split, count, identity, records)


def _prepared_builder(
    dataset: str, data_dir: str | None, download: bool
) -> tfds.core.DatasetBuilder:
    """The builder of a dataset that lies ready on disk, prepared first where that is allowed."""
    ours = dataset.split("/")[0].split(":")[0] == "koala_scenes"
    if ours:
        importlib.import_module("koalagan.data.koala_scenes")  # Registers the builder with TFDS.
    if data_dir and not download and not ours and not os.path.isdir(data_dir):
        raise UserError(
            f"The data folder {data_dir} does not exist: correct --data_dir, or pass --download "
            f"to download {dataset} into it."
        )
    kwargs = {"data_dir": data_dir} if data_dir else {}
    builder = _builder(dataset, kwargs)
    if builder.info.splits:
        return builder
    _image_feature(dataset, builder.info.features)  # Better said before a download than after.
    if not ours:
        with contextlib.suppress(registered.DatasetNotFoundError):
            # The data on disk may be of another version than the installed code writes.
            return read_only_builder.builder_from_files(dataset, **kwargs)
        if not download:
            raise UserError(
                f"The dataset {dataset} is not in {builder.data_path}: pass --download to "
                "download it, or the --data_dir that holds it."
            )
    else:
        print(
            f"koalagan: drawing the 576 scenes of koala_scenes into {builder.data_path}.",
            file=sys.stderr,
        )
    try:
        builder.download_and_prepare()
    except Exception as error:  # Each of TFDS's hundreds of datasets fails in its own way.
        raise UserError(
            f"The dataset {dataset} could not be prepared in {builder.data_path}: "
            f"{one_line(error)}."
        ) from error
    return builder


def _builder(dataset: str, kwargs: dict[str, str]) -> tfds.core.DatasetBuilder:
    try:
        base, asked = naming.parse_builder_name_kwargs(dataset)
    except ValueError:
        raise UserError(
            f"{dataset!r} is no dataset name: write NAME, NAME/CONFIG or NAME/CONFIG:1.2.3."
        ) from None
    try:
        return tfds.builder(dataset, **kwargs)
    except registered.DatasetNotFoundError:
        names = [*tfds.list_builders(with_community_datasets=False), "folder", "koala_scenes"]
        close = difflib.get_close_matches(base.name, names)
        hint = f"did you mean {' or '.join(close)}?" if close else "name one of the TFDS catalog."
        raise UserError(f"There is no dataset {dataset!r}: {hint}") from None
    except Exception as error:  # An unknown configuration or version, or a package it lacks.
        reason = re.sub(r"^Failed to construct .*?}\": ", "", one_line(error))
        with contextlib.suppress(ValueError):
            configs = tfds.builder_cls(base.name).builder_configs
            if configs and asked.get("config") not in configs:
                close = difflib.get_close_matches(str(asked.get("config")), configs, n=5, cutoff=0)
                reason = f"its configurations are {', '.join(close)}" + (
                    " and others" if len(configs) > len(close) else ""
                )
        raise UserError(f"The dataset {dataset!r} cannot be opened: {reason}.") from error


def _image_feature(dataset: str, features: tfds.features.FeaturesDict) -> str:
    """The name of the feature that holds the picture."""
    names = [
        name
        for name, feature in features.items()
        if isinstance(feature, tfds.features.Image)
        and not isinstance(feature, tfds.features.LabeledImage)
        and feature.np_dtype in (np.uint8, np.uint16)
    ]
    if "image" in names:
        return "image"
    if len(names) == 1:
        return names[0]
    if names:
        raise UserError(
            f"The dataset {dataset} has several pictures a record ({', '.join(names)}) and none "
            "of them is called image."
        )
    raise UserError(f"The dataset {dataset} has no image feature (it has {', '.join(features)}).")


def _id_feature(features: tfds.features.FeaturesDict) -> str | None:
    """The name of the feature that names the picture, where there is one."""
    for name in _ID_FEATURES:
        if name in features and features[name].shape == ():
            if isinstance(features[name], tfds.features.Text) or np.issubdtype(
                features[name].np_dtype, np.integer
            ):
                return name
    return None
