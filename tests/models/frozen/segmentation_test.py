# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The segmentation network at its real size; presets_test compares it to keras-hub's."""

import keras_hub
import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from helpers.published import graph, pictures

from koalagan.color import lab
from koalagan.models.frozen import segmentation

PRESET = "deeplab_v3_plus_resnet50_pascalvoc"


@pytest.fixture(scope="module")
def model():
    """With random weights, which no test changes."""
    model = segmentation.build()
    segmentation.load_weights(model, "random")
    return model


@pytest.fixture(scope="module")
def forward(model):
    return graph(model)


def test_is_the_published_network_frozen(model):
    assert model.input_shape == (None, None, None, 1)
    assert model.output_shape == (None, None, None, 21)
    published = keras_hub.models.DeepLabV3Backbone.presets[PRESET]
    assert published["metadata"]["params"] == 39_190_656
    handle = published["kaggle_handle"].removeprefix("kaggle://")
    assert handle.rpartition("/")[0] == segmentation.PRESET.handle.rpartition("/")[0]
    # Plus the head, which has no bias, and the converter's scale and offset.
    assert model.count_params() == 39_190_656 + 256 * 21 + 2 * 3
    assert not model.trainable and not model.trainable_weights


@pytest.mark.parametrize("height,width", [(1, 1), (32, 96), (65, 100), (75, 31)])
def test_any_size_is_resized_to_multiples_of_32(model, forward, height, width):
    lightness = pictures(height=128, width=128)[:, :height, :width]
    size = {1: 32, 32: 32, 65: 96, 75: 96, 96: 96, 100: 128, 31: 32}
    resized = tf.image.resize(lightness, (size[height], size[width]), "bilinear")
    scores = forward(lightness)
    assert scores.shape[1:] == (size[height] // 4, size[width] // 4, 21)
    assert scores.shape[1:] == segmentation.scores_shape(height, width)
    np.testing.assert_allclose(scores, forward(resized), atol=1e-4)
    np.testing.assert_allclose(scores, model(lightness), atol=1e-4)


def test_training_changes_nothing(model, forward):
    lightness = pictures(width=96)
    expected = forward(lightness)
    np.testing.assert_allclose(model(lightness, training=True), expected, atol=1e-4)
    np.testing.assert_array_equal(forward(lightness), expected)


def photographs():
    rgb = np.stack(
        [
            tf.image.resize(picture, (256, 256), antialias=True).numpy().round().astype(np.uint8)
            for picture in (skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee())
        ]
    )
    return lab.rgb_to_lab(rgb)[0].numpy()


def test_random_scores_are_of_order_one_and_vary(model, forward):
    scores = forward(photographs())
    assert np.isfinite(scores).all() and np.abs(scores).max() < 50.0
    assert ((scores.std(axis=(1, 2, 3)) > 1.0) & (scores.std(axis=(1, 2, 3)) < 5.0)).all()
    # Each class varies over each picture, and each position from picture to picture.
    assert scores.std(axis=(1, 2)).min() > 0.2
    assert scores.std(axis=0).mean() > 0.5
    # No class has the highest score everywhere.
    assert all(len(np.unique(picture.argmax(-1))) > 5 for picture in scores)


def test_mirrored_scores_differ_from_the_scores_of_the_mirror_image(model, forward):
    """The reason why the store keeps both.

    The network is not symmetric: at 1/32 of the size, its strides sample 31 pixels further left
    than in the mirror image, and its kernels are not symmetric. Training on mirrored pictures
    compensates for both as far as possible. `random` is untrained, so that the two maps differ
    about as much as those of two pictures (1.26 and 1.34 standard deviations on 24 COCO pictures;
    1.15 and 1.31 if its kernels were symmetric).
    """
    lightness = photographs()
    scores = forward(lightness)
    mirrored = forward(lightness[:, :, ::-1])[:, :, ::-1]
    deviation = scores.std(axis=(1, 2, 3))
    difference = np.sqrt(np.mean((mirrored - scores) ** 2, axis=(1, 2, 3))) / deviation
    assert (difference < 1.45).all()
    assert (difference > 1.0).all()


def test_random_has_these_weights(model):
    """Golden values: a change here changes every prepared store and needs a new "random-v.."."""
    weights = {"/".join(w.path.split("/")[-2:]): w.numpy() for w in model.weights}
    np.testing.assert_allclose(
        weights["conv1_conv/kernel"][0, 0, 0, :3], [-0.14799654, 0.18061049, 0.016747214], rtol=1e-6
    )
    np.testing.assert_allclose(
        weights["segmentation_output/kernel"][0, 0, 0, :3],
        [-0.21099794, 0.058085568, 0.0059691560],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        weights["preprocessing/scale"] * 255.0 * [0.485, 0.456, 0.406]
        + weights["preprocessing/offset"],
        0.0,
        atol=1e-6,
    )
