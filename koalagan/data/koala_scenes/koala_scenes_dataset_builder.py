# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The TFDS builder "koala_scenes": 512 + 64 scenes, drawn locally without a network.

    import koalagan.data.koala_scenes
    builder = tfds.builder("koala_scenes", data_dir=...)
    builder.download_and_prepare()

Picture i of a split depends only on the split and i, so all copies have the same pictures.
"""

import io
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from koalagan.data.koala_scenes import drawing

SEED = 2026
SIZE = 256

_DESCRIPTION = """\
Landscapes drawn from a seed, for learning to color: lakes, beaches, villages and forests by day,
at sunset and under clouds, with houses, boats, flowers and koalas. Every material has its own
texture, so lightness alone tells what a thing is: grass, leaves, water, sand and koalas have one
color each, while walls, roofs, petals, sails and evening skies have several plausible ones.
"""

_LICENSE = "Apache License 2.0, https://www.apache.org/licenses/LICENSE-2.0"


class KoalaScenes(tfds.core.GeneratorBasedBuilder):
    """`image`, uint8 [256, 256, 3] sRGB (a JPEG on disk), and `id`, such as "train-00042"."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "The first release."}
    PICTURES: ClassVar[dict[str, int]] = {"train": 512, "validation": 64}
    # Nothing is downloaded, so there are no checksums to look up. TFDS 4.9.10's own lookup imports
    # importlib_resources, which it does not require.
    url_infos = None

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(
                        shape=(SIZE, SIZE, 3), dtype=np.uint8, encoding_format="jpeg"
                    ),
                }
            ),
            license=_LICENSE,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # Nothing is downloaded.
        return {split: self._generate_examples(split) for split in self.PICTURES}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for index in range(self.PICTURES[split]):
            name = f"{split}-{index:05d}"
            yield name, {"id": name, "image": io.BytesIO(_jpeg(split_picture(split, index)))}


def split_picture(split: str, index: int) -> np.ndarray:
    """Draws picture `index` of a split, uint8 [256, 256, 3].

    Raises:
        ValueError: the split does not exist.
    """
    seeds = [SEED, tuple(KoalaScenes.PICTURES).index(split), index]
    return drawing.draw_scene(np.random.default_rng(seeds), SIZE)


def _jpeg(picture: np.ndarray) -> bytes:
    """Encodes color at full resolution (4:4:4), because color is what is learned from it."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()
