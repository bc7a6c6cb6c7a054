# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""A TFDS dataset that marks objects as COCO does."""

import numpy as np
import tensorflow_datasets as tfds

from helpers.pictures import picture

BOXES = {"a": [(0.0, 0.25, 0.5, 0.75), (0.5, 0.0, 1.0, 1.0)], "b": [], "c": [(0.1, 0.1, 0.2, 0.9)]}


class MarkedPictures(tfds.core.GeneratorBasedBuilder):
    """Three pictures; the second box of the first is around a crowd."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        objects = {
            "is_crowd": np.bool_,
            "bbox": tfds.features.BBoxFeature(),
            "label": tfds.features.ClassLabel(names=["koala", "tree"]),
        }
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "image/filename": tfds.features.Text(),
            "objects": tfds.features.Sequence(objects),
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for name, boxes in BOXES.items():
            objects = [
                {"is_crowd": number == 1, "bbox": tfds.features.BBox(*box), "label": number % 2}
                for number, box in enumerate(boxes)
            ]
            yield name, {"image": picture(0, 8, 8), "image/filename": name, "objects": objects}


def write_marked_pictures(folder: str) -> None:
    """Writes the dataset into a folder."""
    MarkedPictures(data_dir=folder).download_and_prepare()
