# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.layers import output_and_gradients

from koalagan.models import GENERATORS
from koalagan.models.layers import batch_norm
from koalagan.models.layers.batch_norm import FusedBatchNormalization
from koalagan.models.layers.dropout import Dropout

SHAPE = (3, 5, 4, 6)


def layer_and_keras_layer(dtype="float32"):
    """Both with the same weights and statistics, none of them initial values."""
    rng = np.random.default_rng(0)
    values = [rng.uniform(0.5, 2, SHAPE[-1]), *rng.normal(size=(2, SHAPE[-1]))]
    values.append(rng.uniform(0.5, 2, SHAPE[-1]))
    fused = FusedBatchNormalization(momentum=0.9, epsilon=1e-5, dtype=dtype)
    plain = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    for layer in (fused, plain):
        layer.build(SHAPE)
        layer.set_weights(values)
    return fused, plain


def picture():
    return tf.constant(np.random.default_rng(1).normal(2, 3, SHAPE), tf.float32)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("trainable", [True, False])
def test_equals_keras_batch_normalization(training, trainable):
    fused, plain = layer_and_keras_layer()
    fused.trainable = plain.trainable = trainable
    for got, expected in zip(
        output_and_gradients(fused, picture(), training=training),
        output_and_gradients(plain, picture(), training=training),
        strict=True,
    ):
        np.testing.assert_allclose(got, expected, atol=1e-4)


def test_moving_statistics_follow_the_mean_and_the_unbiased_variance():
    fused, _ = layer_and_keras_layer()
    mean, variance = fused.moving_mean.numpy(), fused.moving_variance.numpy()
    fused(picture(), training=False)
    np.testing.assert_array_equal(fused.moving_mean, mean)
    flat = picture().numpy().reshape(-1, SHAPE[-1])
    fused(picture(), training=True)
    np.testing.assert_allclose(fused.moving_mean, 0.9 * mean + 0.1 * flat.mean(0), rtol=1e-5)
    unbiased = flat.var(0, ddof=1)
    np.testing.assert_allclose(fused.moving_variance, 0.9 * variance + 0.1 * unbiased, rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_half_with_float32_statistics(dtype, training):
    fused, plain = layer_and_keras_layer(f"mixed_{dtype}")
    inputs = tf.cast(picture(), dtype)
    outputs, *gradients = output_and_gradients(fused, inputs, training=training)
    expected, *wanted = output_and_gradients(plain, tf.cast(inputs, tf.float32), training=training)
    assert outputs.dtype == dtype and gradients[0].dtype == dtype
    assert all(weight.dtype == "float32" for weight in fused.weights)
    step = {"bfloat16": 2**-7, "float16": 2**-10}[dtype]  # between 1 and the next number
    got, want = [tf.cast(outputs, tf.float32), *gradients[1:]], [expected, *wanted[1:]]
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=step * np.abs(other).max())


def test_save_and_reload(tmp_path):
    inputs = keras.Input(SHAPE[1:])
    model = keras.Model(inputs, FusedBatchNormalization(momentum=0.9)(inputs))
    model(picture(), training=True)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(picture()), model(picture()))


@pytest.mark.parametrize("name, count", [("unet", 13), ("resnet18_unet", 30), ("koala", 59)])
def test_all_of_a_network_are_synchronized(name, count):
    """Also those of an encoder that is a network in the network."""
    generator = GENERATORS[name](256)
    batch_norm.synchronize(generator)
    statistics = [weight for weight in generator.weights if weight.path.endswith("moving_mean")]
    assert len(statistics) == count
    synchronized = [layer for layer in batch_norm._layers(generator) if layer.synchronized]
    assert {layer.moving_mean.path for layer in synchronized} == {one.path for one in statistics}


def test_recomputed_statistics_are_means_over_batches():
    """Of batches that are normalized by their own; dropout is off, and frozen layers stay."""
    inputs = keras.Input(SHAPE[1:], name="x")
    first = FusedBatchNormalization(momentum=0.9, epsilon=1e-5, name="first")
    second = FusedBatchNormalization(momentum=0.9, epsilon=1e-5, name="second")
    frozen = FusedBatchNormalization(momentum=0.9, name="frozen", trainable=False)
    x = Dropout(0.5)(first(inputs))
    x = frozen(keras.layers.Conv2D(4, 1)(x))
    network = keras.Model({"x": inputs}, second(x))
    batches = np.random.default_rng(0).normal(2, 3, (3, *SHAPE)).astype(np.float32)
    batch_norm.recompute(network, ({"x": tf.constant(batch)} for batch in batches))

    def expected(values):
        flat = values.reshape(len(batches), -1, values.shape[-1])
        return flat.mean(axis=(0, 1)), flat.var(axis=1, ddof=1).mean(axis=0)

    def normalized(values):
        centered = values - values.mean(axis=(1, 2, 3), keepdims=True)
        return centered / np.sqrt(values.var(axis=(1, 2, 3), keepdims=True) + 1e-5)

    convolved = np.stack([network.layers[3](batch).numpy() for batch in normalized(batches)])
    for layer, seen in ((first, batches), (second, convolved / np.sqrt(1 + 1e-3))):
        mean, variance = expected(seen)
        np.testing.assert_allclose(layer.moving_mean, mean, atol=1e-5)
        np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-4)
    assert np.all(frozen.moving_mean == 0) and np.all(frozen.moving_variance == 1)
    # Afterwards, all is as before.
    outputs = network({"x": batches[0]}, training=False)
    np.testing.assert_array_equal(outputs, network({"x": batches[0]}, training=False))
    network({"x": batches[0]}, training=True)
    flat = batches[0].reshape(-1, SHAPE[-1])
    np.testing.assert_allclose(
        first.moving_mean, 0.9 * expected(batches)[0] + 0.1 * flat.mean(axis=0), rtol=1e-4
    )


def test_networks_without_statistics_of_their_own():
    assert not batch_norm.has_statistics(GENERATORS["inception_fusion"](64, segmentation=False))
    assert batch_norm.has_statistics(GENERATORS["unet"](32, levels=5))
