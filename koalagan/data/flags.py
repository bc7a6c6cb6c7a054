# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The flags for which pictures and how they are prepared, shared by `train` and `evaluate`."""

import os

from absl import flags


def define_source_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines where pictures come from."""
    flags.DEFINE_string(
        "dataset",
        "coco/2017",
        "A TensorFlow Datasets name with an image feature (coco/2017, koala_scenes, ...), or "
        "'folder' for the photographs under --data_dir.",
        flag_values=flag_values,
    )
    flags.DEFINE_string(
        "data_dir",
        None,
        "Where the dataset lies: a TFDS data_dir (default ~/tensorflow_datasets), or the folder.",
        flag_values=flag_values,
    )
    flags.DEFINE_boolean(
        "download", False, "Let TFDS download a dataset that is absent.", flag_values=flag_values
    )


def define_store_flag(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines where prepared pictures are kept."""
    flags.DEFINE_string(
        "store_dir",
        default_store_dir(),
        "Where prepared pictures are kept for every later run.",
        flag_values=flag_values,
    )


def define_data_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines all data flags on `flag_values`."""
    define_source_flags(flag_values)
    flags.DEFINE_integer(
        "image_size",
        256,
        "Side of the square pictures the model sees.",
        lower_bound=8,
        flag_values=flag_values,
    )
    flags.DEFINE_enum(
        "resize",
        "stretch",
        ["stretch", "crop"],
        "Stretch pictures to the square, as the papers do, or crop their centre.",
        flag_values=flag_values,
    )
    flags.DEFINE_enum(
        "on_bad_picture",
        "fail",
        ["fail", "skip"],
        "What to do about a picture that cannot be decoded.",
        flag_values=flag_values,
    )
    define_store_flag(flag_values)


def default_store_dir() -> str:
    """koalagan's folder in the user's cache folder (XDG_CACHE_HOME, or ~/.cache)."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "koalagan")
