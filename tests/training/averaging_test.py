# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The average of the generator's weights: by hand, and where it is used."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import tiny

from koalagan.training import averaging, checkpoint, gan

MOMENTUM = 0.5


def averaged_gan(seed=0):
    keras.utils.set_random_seed(seed)
    generator, discriminator = tiny.generator(), tiny.discriminator()
    average = averaging.WeightAverage(generator, tiny.generator(), MOMENTUM)
    return gan.ColorizationGAN(generator, discriminator, average=average)


def train(model, steps, *, adversarial=False, **options):
    model.compile(adversarial=adversarial, **options)
    data = tf.data.Dataset.from_tensors(tiny.batch()).repeat()
    model.fit(data, steps_per_epoch=steps, verbose=0, shuffle=False)


def assert_close(some, others, **limits):
    for one, other in zip(some, others, strict=True):
        np.testing.assert_allclose(one, other, **limits)


@pytest.mark.parametrize("adversarial", [False, True])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_average_by_hand(adversarial, jit_compile):
    model = averaged_gan()
    expected = tiny.weights(model.generator)
    for steps in range(4):
        train(model, 1, adversarial=adversarial, jit_compile=jit_compile)
        momentum = min(MOMENTUM, (1 + steps) / (10 + steps))
        expected = [
            momentum * mean + (1 - momentum) * weight
            for mean, weight in zip(expected, tiny.weights(model.generator), strict=True)
        ]
    assert_close(tiny.weights(model.result), expected, atol=1e-6)
    moved = np.abs(tiny.weights(model.generator)[0] - tiny.weights(model.result)[0])
    assert moved.max() > 1e-6


def test_training_is_the_same_with_it():
    averaged, plain = averaged_gan(), tiny.gan()
    for model in (averaged, plain):
        train(model, 3)
    assert_close(tiny.weights(averaged.generator), tiny.weights(plain.generator), rtol=0)
    assert plain.result is plain.generator


def test_the_average_is_validated():
    model, batch = averaged_gan(), tiny.batch()
    train(model, 3)
    data = tf.data.Dataset.from_tensors(batch)
    values = model.evaluate(data, verbose=0, return_dict=True)
    inputs = {name: batch[name] for name in ("L", "embedding")}
    losses = [
        100 * np.abs(network(inputs) - batch["ab"]).mean()
        for network in (model.result, model.generator)
    ]
    assert values["loss_G_L1"] == pytest.approx(losses[0], rel=1e-5)
    assert abs(losses[0] - losses[1]) > 1e-4 * losses[0]


def test_a_run_continues_with_its_average_and_exports_it(tmp_path):
    uninterrupted, stopped = averaged_gan(1), averaged_gan(1)
    train(uninterrupted, 4)
    train(stopped, 2)
    run = checkpoint.RunCheckpoint(stopped, str(tmp_path))
    run.save_best()
    run.save()
    continued = averaged_gan(2)
    assert checkpoint.RunCheckpoint(continued, str(tmp_path)).restore()
    for best in (False, True):
        exported = tiny.generator()
        checkpoint.restore_generator(exported, str(tmp_path), best=best)
        assert_close(tiny.weights(exported), tiny.weights(stopped.result), rtol=0)
    train(continued, 2)
    assert_close(tiny.weights(continued.generator), tiny.weights(uninterrupted.generator), rtol=0)
    assert_close(tiny.weights(continued.result), tiny.weights(uninterrupted.result), rtol=0)


def test_what_does_not_learn_stays_exactly():
    model = averaged_gan()
    model.generator.get_layer("color").trainable = False
    kept = model.generator.get_layer("color").kernel.numpy()
    for _ in range(3):
        model.average.update(tf.constant(7))
    np.testing.assert_array_equal(model.result.get_layer("color").kernel, kept)
