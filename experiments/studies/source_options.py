# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The flags that name the pictures of a study."""

import dataclasses

from koalagan.options import option


@dataclasses.dataclass(frozen=True)
class SourceOptions:
    """Pictures; see `koalagan.data.sources.open_source`."""

    dataset: str = option("coco/2017", "A TensorFlow Datasets name, or 'folder'.")
    data_dir: str | None = option(None, "A TFDS data_dir, or the folder of photographs.")
    download: bool = option(False, "Let TFDS download a dataset that is absent.")
    split: str = option("validation", "The pictures to measure on.")
