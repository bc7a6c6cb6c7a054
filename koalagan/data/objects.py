# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Objects that a TFDS dataset marks in its pictures: boxes and classes, as COCO has them.

Boxes are those of the dataset: of whole pictures, as they are stored. A picture that is turned by
its EXIF orientation does not fit its boxes any more.
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds


@dataclasses.dataclass(frozen=True)
class Objects:
    """The objects of one picture.

    Attributes:
        boxes: float32 [K, 4], top, left, bottom, right, from 0 to 1.
        classes: the name of each object's class.
    """

    boxes: np.ndarray
    classes: list[str]


@dataclasses.dataclass(frozen=True)
class ObjectsFeature:
    """Where a dataset keeps its objects.

    Attributes:
        name: the feature, a sequence of dicts.
        box, label: their entries for the box and the class.
        crowd: the entry that marks a box around many objects, or None.
    """

    name: str
    box: str
    label: str
    crowd: str | None
    _names: tuple[str, ...]

    @property
    def wanted(self) -> dict[str, dict[str, bool]]:
        """What of a record has to be read, for TFDS's partial decoding."""
        entries = [self.box, self.label, *([self.crowd] if self.crowd else [])]
        return {self.name: dict.fromkeys(entries, True)}

    def read(self, row: dict) -> Objects:
        """The objects of a record; boxes around crowds are left out."""
        found = row[self.name]
        kept = ~found[self.crowd] if self.crowd else np.ones(len(found[self.label]), bool)
        classes = [self._names[label] for label in found[self.label][kept]]
        return Objects(found[self.box][kept], classes)


def objects_feature(features: tfds.features.FeaturesDict) -> ObjectsFeature | None:
    """The feature with boxes and classes, or None where a dataset has none."""
    for name, sequence in features.items():
        entries = getattr(sequence, "feature", None)
        if not isinstance(entries, tfds.features.FeaturesDict):
            continue
        box, label = (
            next((entry for entry, kind in entries.items() if isinstance(kind, wanted)), None)
            for wanted in (tfds.features.BBoxFeature, tfds.features.ClassLabel)
        )
        if box and label:
            crowd = "is_crowd" if "is_crowd" in entries else None
            return ObjectsFeature(name, box, label, crowd, tuple(entries[label].names))
    return None
