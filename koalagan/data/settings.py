# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Options for which pictures are used and how they are prepared."""

import dataclasses

from koalagan.options import option


@dataclasses.dataclass(frozen=True)
class PictureSettings:
    """Pictures: where they come from and how they are prepared."""

    dataset: str = option(
        "coco/2017",
        "A TensorFlow Datasets name with an image feature (coco/2017, koala_scenes, ...), or "
        "'folder' for the photographs under --data_dir.",
    )
    data_dir: str | None = option(
        None,
        "Where the dataset lies: a TFDS data_dir (default ~/tensorflow_datasets), or the folder of "
        "photographs.",
        url=True,
    )
    download: bool = option(False, "Let TFDS download a dataset that is absent.")
    resize: str = option(
        "stretch",
        "Stretch pictures to the square, as the papers do, or crop their center.",
        choices=("stretch", "crop"),
    )
    on_bad_picture: str = option(
        "fail", "What to do about a picture that cannot be decoded.", choices=("fail", "skip")
    )
    store_dir: str | None = option(
        None,
        "Where prepared pictures are kept for all later runs (default: koalagan in the user's "
        "cache folder, XDG_CACHE_HOME or ~/.cache).",
    )
