# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import keras
import numpy as np
import pytest
import tensorflow as tf

from koalagan.errors import UserError
from koalagan.models import GENERATORS
from koalagan.models.generators.inception_fusion import Fusion

build = GENERATORS["inception_fusion"]


def _batch(height, width, count=1):
    rng = np.random.default_rng(0)
    return {
        "L": tf.constant(rng.uniform(-1, 1, (count, height, width, 1)), tf.float32),
        "embedding": tf.constant(rng.normal(size=(count, 1001)), tf.float32),
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


def test_layers_as_in_the_papers_table():
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


def test_factored_fusion_equals_the_concatenated_one():
    rng = np.random.default_rng(1)
    features = tf.constant(rng.normal(size=(2, 4, 5, 256)), tf.float32)
    vector = tf.constant(rng.normal(size=(2, 1001)), tf.float32)
    fusion = Fusion(256)
    factored = fusion([features, vector])
    fusion.bias.assign(rng.normal(size=256))
    factored = fusion([features, vector])
    repeated = tf.tile(vector[:, None, None], [1, 4, 5, 1])
    conv = keras.layers.Conv2D(256, 1, activation="relu")
    conv.build((None, 4, 5, 1257))
    conv.set_weights(fusion.get_weights())  # the same layout
    concatenated = conv(tf.concat([features, repeated], -1))
    np.testing.assert_allclose(factored, concatenated, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(8, 8), (16, 40), (40, 24)])
def test_every_size_that_divides_by_eight(size):
    batch = _batch(*size)
    ab = build(image_size=size, segmentation=False)(batch)
    assert ab.shape == (1, *size, 2) and ab.dtype == tf.float32
    assert np.all(np.abs(ab) <= 1)


def test_one_model_for_any_size_gives_what_the_fixed_one_gives():
    fixed = build(image_size=(16, 24), segmentation=False)
    free = build(image_size=(None, None), segmentation=False)
    free.set_weights(fixed.get_weights())
    batch = _batch(16, 24, 2)
    np.testing.assert_allclose(free(batch), fixed(batch), atol=1e-6)


@pytest.mark.parametrize("size", [100, (64, 60), 0])
def test_other_sizes_end_in_a_sentence(size):
    with pytest.raises(UserError, match="divides by 8"):
        build(image_size=size)


def test_the_embedding_changes_the_colours():
    model = build(image_size=16, segmentation=False)
    batch = _batch(16, 16)
    other = {**batch, "embedding": -batch["embedding"]}
    assert np.abs(model(batch) - model(other)).max() > 1e-3


def test_segmentation_is_resized_and_used():
    model = build(image_size=(16, 24))
    batch = {**_batch(16, 24), "segmentation": tf.random.stateless_normal((1, 4, 6, 21), (0, 1))}
    changed = {**batch, "segmentation": -batch["segmentation"]}
    assert np.abs(model(batch) - model(changed)).max() > 1e-4


def _whole_batch(height, width):
    scores = tf.random.stateless_normal((1, height // 4, width // 4, 21), (0, 1))
    return {**_batch(height, width), "segmentation": scores}


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_returns_float32_near_the_float32_result(policy):
    reference = build(image_size=16)
    former = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        model = build(image_size=16)
    finally:
        keras.mixed_precision.set_dtype_policy(former)
    model.set_weights(reference.get_weights())
    batch = _whole_batch(16, 16)
    ab = model(batch)
    assert ab.dtype == tf.float32
    assert model.get_layer("encoder_1").compute_dtype == policy.removeprefix("mixed_")
    np.testing.assert_allclose(ab, reference(batch), atol=0.05)


def test_save_and_reload(tmp_path):
    model = build(image_size=16, dropout=0.2)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(_whole_batch(16, 16)), model(_whole_batch(16, 16)))


def test_dropout_has_no_weights_and_works_in_training_alone_unless_asked():
    plain = build(image_size=16, segmentation=False)
    noisy = build(image_size=16, segmentation=False, dropout=0.5)
    always = build(image_size=16, segmentation=False, dropout=0.5, dropout_at_inference=True)
    for model in (noisy, always):
        assert model.count_params() == plain.count_params()
        model.set_weights(plain.get_weights())
    assert [layer.rate for layer in noisy.layers if isinstance(layer, keras.layers.Dropout)] == [
        0.5
    ] * 4
    batch = _batch(16, 16)
    np.testing.assert_array_equal(noisy(batch, training=False), plain(batch))
    assert np.abs(noisy(batch, training=True) - plain(batch)).max() > 1e-3
    assert np.abs(always(batch, training=False) - always(batch, training=False)).max() > 1e-3
