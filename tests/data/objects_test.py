# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Objects of a TFDS dataset that is written here, with boxes like COCO's."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from helpers.marked_pictures import BOXES, write_marked_pictures

from koalagan.data import sources
from koalagan.data.objects import objects_feature


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("tfds"))
    write_marked_pictures(folder)
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
