# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Objects of a TFDS dataset that is written here, with boxes like COCO's."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from helpers.pictures import picture

from koalagan.data import sources
from koalagan.data.objects import objects_feature

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


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("tfds"))
    MarkedPictures(data_dir=folder).download_and_prepare()
    return sources.open_source("marked_pictures", "train", data_dir=folder)


def test_boxes_and_classes_by_picture(source):
    found = source.objects()
    assert set(found) == {picture for picture, _ in source.records()} == set(BOXES)
    assert found["a"].classes == found["c"].classes == ["koala"] and found["b"].classes == []
    np.testing.assert_allclose(found["a"].boxes, BOXES["a"][:1], atol=1e-6)
    np.testing.assert_allclose(found["c"].boxes, BOXES["c"], atol=1e-6)
    assert found["b"].boxes.shape == (0, 4)


def test_a_dataset_without_objects(tmp_path):
    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(), "tags": tfds.features.Sequence(tfds.features.Text())}
    )
    assert objects_feature(features) is None
    (tmp_path / "x.png").write_bytes(b"")
    assert sources.open_source("folder", "train", data_dir=str(tmp_path)).objects is None
