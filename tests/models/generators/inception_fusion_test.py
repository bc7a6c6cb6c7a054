# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import tensorflow as tf

from koalagan.models import GENERATORS

build = GENERATORS["inception_fusion"]


def _batch(height, width):
    rng = np.random.default_rng(0)
    return {
        "L": tf.constant(rng.uniform(-1, 1, (1, height, width, 1)), tf.float32),
        "embedding": tf.constant(rng.normal(size=(1, 1001)), tf.float32),
    }


@pytest.mark.parametrize(
    "options, parameters",
    [
        ({"segmentation": False}, 6_574_050),
        ({}, 6_592_506),
        ({"segmentation": False, "embedding": False}, 6_317_794),
    ],
)
def test_parameter_counts_of_the_paper(options, parameters):
    assert build(image_size=64, **options).count_params() == parameters
    # Dropout has no weights.
    noisy = build(image_size=64, dropout=0.5, **options)
    assert noisy.count_params() == parameters
    dropouts = [layer.name for layer in noisy.layers if layer.name.startswith("dropout")]
    assert dropouts == [f"dropout_{i}" for i in range(1, 5)]


def test_layers_of_the_papers_table():
    model = build(image_size=256, segmentation=False)
    shapes = {layer.name: layer.output.shape[1:] for layer in model.layers}
    expected = {
        "encoder_1": (128, 128, 64),
        "encoder_2": (128, 128, 128),
        "encoder_3": (64, 64, 128),
        "encoder_4": (64, 64, 256),
        "encoder_5": (32, 32, 256),
        "encoder_6": (32, 32, 512),
        "encoder_7": (32, 32, 512),
        "encoder_8": (32, 32, 256),
        "fusion": (32, 32, 256),
        "decoder_1": (32, 32, 128),
        "decoder_2": (64, 64, 64),
        "decoder_3": (64, 64, 64),
        "decoder_4": (128, 128, 32),
        "decoder_5": (128, 128, 2),
        "ab": (256, 256, 2),
    }
    assert {name: shapes[name] for name in expected} == expected
    assert model.get_layer("fusion").kernel.shape == (1, 1, 1257, 256)


def test_embedding_changes_the_colors():
    model = build(image_size=16, segmentation=False)
    batch = _batch(16, 16)
    other = {**batch, "embedding": -batch["embedding"]}
    assert np.abs(model(batch) - model(other)).max() > 1e-3


def test_segmentation_is_resized_and_used():
    model = build(image_size=(16, 24))
    batch = {**_batch(16, 24), "segmentation": tf.random.stateless_normal((1, 4, 6, 21), (0, 1))}
    changed = {**batch, "segmentation": -batch["segmentation"]}
    assert np.abs(model(batch) - model(changed)).max() > 1e-4
