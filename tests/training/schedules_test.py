# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import tiny

from koalagan.training import schedules


def test_constant():
    assert {schedules.factor("constant", step, 100) for step in range(100)} == {1.0}


@pytest.mark.parametrize("steps", [1, 2, 10, 1000])
def test_cosine_is_keras_with_a_warmup(steps):
    """Half a cosine from the end of the rise to 0 after the last step."""
    warmup = -(-3 * steps // 100)
    decay = keras.optimizers.schedules.CosineDecay(1.0, max(1, steps - warmup))
    factors = [schedules.factor("cosine", step, steps) for step in range(steps)]
    np.testing.assert_allclose(factors[:warmup], (np.arange(warmup) + 1) / warmup)
    expected = [float(decay(step)) for step in range(steps - warmup)]
    np.testing.assert_allclose(factors[warmup:], expected, atol=1e-6)


def test_other_names():
    with pytest.raises(ValueError, match="schedule must be one of"):
        schedules.factor("linear", 0, 10)


def test_training_follows_it_in_each_phase():
    rates = {"pretrain_learning_rate": 0.1, "generator_learning_rate": 0.2}
    model = tiny.gan(**rates, discriminator_learning_rate=0.4)
    batches = iter(tf.data.Dataset.from_tensors(tiny.batch()).repeat())
    for adversarial, names in ((False, {"G": 0.1}), (True, {"G": 0.2, "D": 0.4})):
        model.compile(adversarial=adversarial, learning_rate_schedule="cosine", steps=4)
        model.make_train_function()
        for step in range(4):
            model.train_function(batches)
            factor = schedules.factor("cosine", step, 4)
            expected = {name: pytest.approx(rate * factor) for name, rate in names.items()}
            assert model.learning_rates() == expected


def test_a_restored_run_continues_where_it_stood():
    model = tiny.gan(pretrain_learning_rate=0.1)
    model.step.assign(3)
    model.compile(adversarial=False, learning_rate_schedule="cosine", steps=4)
    model.make_train_function()
    model.train_function(iter(tf.data.Dataset.from_tensors(tiny.batch())))
    assert model.learning_rates()["G"] == pytest.approx(0.1 * schedules.factor("cosine", 3, 4))
