# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Finding and preparing a TensorFlow Datasets (TFDS) dataset, and which of its features to use."""

import contextlib
import difflib
import importlib
import os
import re
import sys

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core import naming, read_only_builder, registered

from koalagan import files
from koalagan.errors import UserError, one_line

# Features that name a picture, best first.
_ID_FEATURES = ("image/id", "id", "image/filename", "file_name")


def prepared_builder(
    dataset: str, data_dir: str | None, download: bool
) -> tfds.core.DatasetBuilder:
    """The builder of a dataset whose data is on disk, after preparing it where that is allowed.

    `koala_scenes` is always drawn where it is absent, because that needs no download.

    Args:
        dataset: a TFDS name.
        data_dir: where TFDS datasets lie; None for TFDS's own default.
        download: whether TFDS may download and prepare a dataset that is absent.

    Raises:
        UserError: the dataset does not exist, has no image feature, is absent, or cannot be
            prepared.
    """
    ours = dataset.split("/")[0].split(":")[0] == "koala_scenes"
    if ours:
        importlib.import_module("koalagan.data.koala_scenes")  # Registers the builder with TFDS.
    if data_dir and not download and not ours and not _is_folder(data_dir):
        raise UserError(
            f"The data folder {data_dir} does not exist: correct --data_dir, or pass --download "
            f"to download {dataset} into it."
        )
    kwargs = {"data_dir": data_dir} if data_dir else {}
    builder = _builder(dataset, kwargs)
    if builder.info.splits:
        return builder
    image_feature(dataset, builder.info.features)  # Fail before a download, not after it.
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


def _is_folder(path: str) -> bool:
    """Whether there is such a folder, on this machine or where a URL says.

    Raises:
        UserError: TensorFlow cannot reach what the URL names.
    """
    if not files.is_url(path):
        return os.path.isdir(path)
    try:
        return tf.io.gfile.isdir(path)
    except tf.errors.OpError as error:
        raise UserError(
            f"--data_dir={path} cannot be reached by TensorFlow ({one_line(error.message)}): copy "
            "the dataset to this machine."
        ) from error


def image_feature(dataset: str, features: tfds.features.FeaturesDict) -> str:
    """The name of the feature that holds the picture.

    Raises:
        UserError: there is none, or it is unclear which one.
    """
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
            f"The dataset {dataset} has several pictures per record ({', '.join(names)}), and none "
            "of them is called image."
        )
    raise UserError(f"The dataset {dataset} has no image feature (it has {', '.join(features)}).")


def id_feature(features: tfds.features.FeaturesDict) -> str | None:
    """The name of the feature that names the picture, or None."""
    for name in _ID_FEATURES:
        if name in features and features[name].shape == ():
            if isinstance(features[name], tfds.features.Text) or np.issubdtype(
                features[name].np_dtype, np.integer
            ):
                return name
    return None


def _builder(dataset: str, kwargs: dict[str, str]) -> tfds.core.DatasetBuilder:
    try:
        base, asked = naming.parse_builder_name_kwargs(dataset)
    except ValueError:
        raise UserError(
            f"{dataset!r} is not a valid dataset name: write NAME, NAME/CONFIG or "
            "NAME/CONFIG:1.2.3."
        ) from None
    try:
        return tfds.builder(dataset, **kwargs)
    except registered.DatasetNotFoundError:
        names = [*tfds.list_builders(with_community_datasets=False), "folder", "koala_scenes"]
        close = difflib.get_close_matches(base.name, names)
        hint = "pass a name in the TFDS catalog."
        if close:
            hint = f"did you mean {' or '.join(close)}?"
        raise UserError(f"There is no dataset {dataset!r}: {hint}") from None
    except Exception as error:  # An unknown configuration or version, or a missing package.
        reason = re.sub(r"^Failed to construct .*?}\": ", "", one_line(error))
        with contextlib.suppress(ValueError):
            configs = tfds.builder_cls(base.name).builder_configs
            if configs and asked.get("config") not in configs:
                close = difflib.get_close_matches(str(asked.get("config")), configs, n=5, cutoff=0)
                reason = f"its configurations are {', '.join(close)}" + (
                    " and others" if len(configs) > len(close) else ""
                )
        raise UserError(f"The dataset {dataset!r} cannot be opened: {reason}.") from error
