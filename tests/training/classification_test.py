# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Training a generator that classifies colors."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import tiny

from koalagan.models import heads
from koalagan.training import averaging, divergence, gan, losses, step_means

COLOR_FEATURES = ("color", 1)


def _generator():
    return heads.classification(tiny.generator(), COLOR_FEATURES)


def _gan(**options):
    keras.utils.set_random_seed(0)
    return gan.ColorizationGAN(_generator(), tiny.discriminator(), **options)


def _step(model, batch):
    model.make_train_function()
    logs = model.train_function(iter(tf.data.Dataset.from_tensors(batch)))
    return {name: float(value) for name, value in logs.items()}


@pytest.mark.parametrize("adversarial", [False, True])
def test_a_step_is_adam_on_the_sum_of_the_losses_by_hand(adversarial):
    model, batch = _gan(), tiny.batch()
    reference, D = _generator(), model.discriminator
    reference.set_weights(model.generator.get_weights())
    network = heads.outputs(reference)
    weights = np.linspace(0.5, 2.0, 261)
    model.compile(
        adversarial=adversarial,
        pixel_loss="l2",
        l1_weight=10.0,
        class_weight=0.3,
        class_weights=weights,
        discriminator_every=1,
    )
    logs = _step(model, batch)
    inputs = {"L": batch["L"], "embedding": batch["embedding"]}
    with tf.GradientTape() as tape:
        outputs = network(inputs, training=True)
        pixel = 10.0 * tf.reduce_mean(tf.square(outputs["ab"] - batch["ab"]))
        classes = 0.3 * losses.class_loss(outputs["class_logits"], batch["ab"], weights)
        loss = pixel + classes
        if adversarial:  # G learned from the updated D
            fake = D(tf.concat([batch["L"], outputs["ab"]], -1), training=True)
            loss += losses.gan_loss(fake, True)
    variables = reference.trainable_variables
    rate, beta = (2e-4, 0.5) if adversarial else (1e-4, 0.9)
    keras.optimizers.Adam(rate, beta_1=beta).apply(tape.gradient(loss, variables), variables)
    assert logs["loss_G_L1"] == pytest.approx(float(pixel), rel=1e-5)
    assert logs["loss_G_class"] == pytest.approx(float(classes), rel=1e-5)
    assert logs["loss_G"] == pytest.approx(float(loss), rel=1e-5)
    for got, want in zip(model.generator.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_only_classes_train_where_the_pixel_loss_has_no_weight():
    model = _gan()
    model.compile(adversarial=False, l1_weight=0.0)
    logs = _step(model, tiny.batch())
    assert logs["loss_G_L1"] == 0.0 and logs["loss_G"] == logs["loss_G_class"] > 1.0


def test_validation_has_the_loss_of_classes_too_and_of_the_average():
    learner, shown = _generator(), _generator()
    average = averaging.WeightAverage(learner, shown, 0.999)
    model = gan.ColorizationGAN(learner, tiny.discriminator(), average=average)
    shown.set_weights([weight + 0.01 for weight in learner.get_weights()])
    model.compile(adversarial=False, class_weight=2.0)
    batch = tiny.batch()
    logs = {name: float(value) for name, value in model.test_step(batch).items()}
    inputs = {"L": batch["L"], "embedding": batch["embedding"]}
    logits = heads.outputs(shown)(inputs)["class_logits"]
    expected = 2.0 * float(losses.class_loss(logits, batch["ab"]))
    assert logs["loss_G_class"] == pytest.approx(expected, rel=1e-5)
    assert logs["loss_G"] == pytest.approx(logs["loss_G_L1"] + expected, rel=1e-5)


def test_the_losses_of_each_phase():
    model = _gan()
    for adversarial, names in ((False, step_means.PRETRAINING_LOSSES), (True, step_means.LOSSES)):
        model.compile(adversarial=adversarial)
        assert set(model.current_losses()) == {*names, "loss_G_class"}
        assert list(model.current_losses())[-1] == "loss_G"


def test_losses_that_are_not_finite_are_named():
    model = _gan()
    model.compile(adversarial=False)
    kernel = model.generator.get_layer("class_logits").kernel
    kernel.assign(tf.fill(kernel.shape, np.nan))
    _step(model, tiny.batch())
    with pytest.raises(divergence.NotFinite, match="loss_G_class nan") as error:
        model.check_finite()
    assert set(error.value.losses) == {"loss_G_L1", "loss_G_class", "loss_G"}
