# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import functools

import keras
import numpy as np
import plain_forms
import pytest
import tensorflow as tf
from helpers import tiny

from koalagan import precision
from koalagan.color import lab
from koalagan.evaluation import metrics
from koalagan.models import patchgan
from koalagan.models.generators import inception_fusion
from koalagan.training import gan, losses


def _changed(before, after):
    return [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]


def _steps(model, count, batch=None):
    """Runs training steps in a graph, as `fit` does; returns the logs of each."""
    step = tf.function(model.train_step)
    batch = batch or tiny.batch()
    logs = []
    for _ in range(count):
        model.reset_metrics()
        logs.append({name: float(value) for name, value in step(batch).items()})
    return logs


def test_pretraining_moves_the_generator_alone():
    model = tiny.gan()
    model.compile(adversarial=False)
    generator, discriminator = tiny.weights(model.generator), tiny.weights(model.discriminator)
    (logs,) = _steps(model, 1)
    assert all(_changed(generator, tiny.weights(model.generator)))
    assert not any(_changed(discriminator, tiny.weights(model.discriminator)))
    assert set(logs) == set(gan.PRETRAINING_LOSSES)
    assert int(model.step) == 1 and int(model.adversarial_step) == 0


def _curve():
    """The losses of the first steps of the paper's networks."""
    keras.utils.set_random_seed(0)
    # Adam makes full steps even for gradients of pure rounding error: its rate must be small.
    model = gan.ColorizationGAN(
        inception_fusion.build(64, segmentation=False),
        patchgan.build(64),
        generator_learning_rate=2e-5,
        discriminator_learning_rate=2e-5,
    )
    model.compile(discriminator_every=1)
    logs = _steps(model, 6, tiny.batch(count=2, size=64))
    return np.array([list(losses.values()) for losses in logs])


@pytest.fixture(scope="module")
def fast_curve():
    return _curve()


@pytest.mark.parametrize("form", plain_forms.FORMS)
def test_fast_forms_learn_the_same_as_plain_ones(monkeypatch, fast_curve, form):
    owner, attribute, plain = plain_forms.FORMS[form]
    ran = []

    @functools.wraps(plain)
    def plain_form(*arguments, **named):
        ran.append(plain)
        return plain(*arguments, **named)

    monkeypatch.setattr(owner, attribute, plain_form)
    learned = np.abs(fast_curve[-1] - fast_curve[0])
    assert (np.abs(fast_curve - _curve()).max(axis=0) < 0.02 * learned).all()
    assert ran


def test_pretraining_is_adam_on_the_weighted_l1_by_hand():
    model, batch = tiny.gan(), tiny.batch()
    reference = tiny.generator()
    reference.set_weights(model.generator.get_weights())
    adam = keras.optimizers.Adam(1e-4)
    with tf.GradientTape() as tape:
        fake = reference({"L": batch["L"], "embedding": batch["embedding"]}, training=True)
        loss = 100.0 * tf.reduce_mean(tf.abs(fake - batch["ab"]))
    adam.apply(tape.gradient(loss, reference.trainable_variables), reference.trainable_variables)
    model.compile(adversarial=False)
    (logs,) = _steps(model, 1, batch)
    assert logs["loss_G_L1"] == pytest.approx(float(loss), rel=1e-5)
    for got, expected in zip(model.generator.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-7)


def test_adversarial_step_is_the_papers_by_hand():
    model, batch = tiny.gan(), tiny.batch()
    G, D = tiny.generator(), tiny.discriminator()
    G.set_weights(model.generator.get_weights())
    D.set_weights(model.discriminator.get_weights())
    inputs, L, ab = {"L": batch["L"], "embedding": batch["embedding"]}, batch["L"], batch["ab"]
    adam_G, adam_D = (keras.optimizers.Adam(2e-4, beta_1=0.5) for _ in "GD")
    with tf.GradientTape() as tape:
        fake = G(inputs, training=True)
        loss_fake = losses.gan_loss(D(tf.concat([L, fake], -1), training=True), False)
        loss_real = losses.gan_loss(D(tf.concat([L, ab], -1), training=True), True)
        loss_D = 0.5 * (loss_fake + loss_real)
    adam_D.apply(tape.gradient(loss_D, D.trainable_variables), D.trainable_variables)
    with tf.GradientTape() as tape:  # against the updated D
        fake = G(inputs, training=True)
        loss_gan = losses.gan_loss(D(tf.concat([L, fake], -1), training=True), True)
        loss_G = loss_gan + 100.0 * losses.pixel_loss(fake, ab)
    adam_G.apply(tape.gradient(loss_G, G.trainable_variables), G.trainable_variables)

    model.compile()
    (logs,) = _steps(model, 1, batch)
    expected = {
        "loss_D_fake": loss_fake,
        "loss_D_real": loss_real,
        "loss_D": loss_D,
        "loss_G_GAN": loss_gan,
        "loss_G_L1": loss_G - loss_gan,
        "loss_G": loss_G,
    }
    assert set(logs) == set(gan.LOSSES)
    for name, value in expected.items():
        assert logs[name] == pytest.approx(float(value), rel=1e-4), name
    for got, want in ((model.generator, G), (model.discriminator, D)):
        for a, b in zip(got.get_weights(), want.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_the_discriminator_trains_on_every_nth_step_the_first_included():
    model = tiny.gan()
    model.compile(discriminator_every=3)
    step, turns = tf.function(model.train_step), []
    kernel = model.discriminator.get_layer("conv").kernel
    for _ in range(7):
        before = np.array(kernel)
        step(tiny.batch())
        turns.append(not np.array_equal(before, kernel))
    assert turns == [True, False, False, True, False, False, True]


def test_discriminator_losses_are_means_over_its_own_turns():
    model, seen = tiny.gan(), []
    model.compile(discriminator_every=2)
    step = tf.function(model.train_step)
    for _ in range(4):
        logs = step(tiny.batch())
        seen.append(float(logs["loss_D"]))
    assert seen[0] == seen[1] and seen[2] == seen[3] != seen[0]
    assert float(model.training_losses["loss_D"].count) == 2
    assert float(model.training_losses["loss_G"].count) == 4


def test_the_discriminators_update_leaves_the_generator_alone():
    model = tiny.gan(generator_learning_rate=0.0)
    model.compile()
    before = tiny.weights(model.generator)
    _steps(model, 2)
    assert not any(_changed(before, tiny.weights(model.generator)))


@pytest.mark.parametrize("kind", ["vanilla", "lsgan"])
def test_both_gan_losses_train(kind):
    model = tiny.gan(generator_learning_rate=0.0, discriminator_learning_rate=1e-2)
    model.compile(gan_loss=kind, discriminator_every=1)
    logs = _steps(model, 30)
    assert logs[-1]["loss_D"] < 0.7 * logs[0]["loss_D"]


@pytest.mark.parametrize("pixel, weight", [("l1", 100.0), ("l2", 10.0)])
def test_pixel_loss_and_its_weight(pixel, weight):
    model, batch = tiny.gan(), tiny.batch()
    expected = weight * float(losses.pixel_loss(model(batch), batch["ab"], pixel))
    model.compile(adversarial=False, pixel_loss=pixel, l1_weight=weight)
    (logs,) = _steps(model, 1, batch)
    assert logs["loss_G_L1"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("adversarial", [False, True])
def test_mixed_precision_learns_close_to_float32(dtype, adversarial):
    rates = {"pretrain_learning_rate": 1e-3, "generator_learning_rate": 1e-3}
    reference = tiny.gan(**rates)
    with precision.policy(dtype):
        model = tiny.gan(**rates)
    assert model.generator.get_layer("conv").compute_dtype == dtype
    assert all(weight.dtype == np.float32 for weight in model.generator.get_weights())
    curves = []
    for one in (reference, model):
        one.compile(adversarial=adversarial, discriminator_every=1)
        curves.append([logs["loss_G"] for logs in _steps(one, 30)])
    assert curves[1][-1] < 0.9 * curves[1][0]
    assert curves[1][0] == pytest.approx(curves[0][0], rel=0.01)
    # float16 skips its first few steps, while the loss scale comes down.
    assert curves[1][-1] == pytest.approx(curves[0][-1], rel=0.3)


def test_generators_see_the_lightness_unrounded_under_mixed_precision():
    with precision.policy("bfloat16"):
        lightness = keras.Input((None, None, 1), name="L")
        ab = keras.layers.Concatenate(dtype="float32", name="ab")([lightness, lightness])
        model = gan.ColorizationGAN(keras.Model({"L": lightness}, ab), tiny.discriminator())
    batch = tiny.batch()
    np.testing.assert_array_equal(model(batch)[..., :1], batch["L"])


def test_float16_scales_all_losses_and_skips_steps_that_overflow():
    with precision.policy("float16"):
        model = tiny.gan()
    for optimizer in (
        model.pretraining_optimizer,
        model.generator_optimizer,
        model.discriminator_optimizer,
    ):
        assert isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer)
    model.compile()
    generator = tiny.weights(model.generator)
    discriminator = [np.array(w) for w in model.discriminator.trainable_weights]
    scale = 2.0**126  # any loss times this is more than float16 or float32 holds
    model.generator_optimizer.dynamic_scale.assign(scale)
    model.discriminator_optimizer.dynamic_scale.assign(scale)
    _steps(model, 1)
    assert not any(_changed(generator, tiny.weights(model.generator)))
    assert not any(
        _changed(discriminator, [np.array(w) for w in model.discriminator.trainable_weights])
    )
    assert float(model.generator_optimizer.dynamic_scale) == scale / 2
    assert float(model.discriminator_optimizer.dynamic_scale) == scale / 2


def test_test_step_measures_without_learning():
    model, batch = tiny.gan(), tiny.batch()
    rgb = lab.lab_to_rgb(batch["L"], batch["ab"])
    batch["L"], batch["ab"] = lab.rgb_to_lab(rgb)
    model.compile()
    before = tiny.weights(model.generator) + tiny.weights(model.discriminator)
    logs = {name: float(value) for name, value in tf.function(model.test_step)(batch).items()}
    assert not any(
        _changed(before, tiny.weights(model.generator) + tiny.weights(model.discriminator))
    )
    row = metrics.aggregate([metrics.measure(rgb, batch["L"], batch["ab"], model(batch))])
    for name in ("psnr", "psnr_pooled", "ssim", "colorfulness"):
        assert logs[name] == pytest.approx(row[name], rel=1e-4), name
    assert set(logs) == {*gan.LOSSES, "psnr", "psnr_pooled", "ssim", "colorfulness"}


def test_fit_reports_epoch_means_under_the_papers_names():
    model = tiny.gan()
    model.compile(discriminator_every=2)
    data = tf.data.Dataset.from_tensors(tiny.batch()).repeat()
    validation = tf.data.Dataset.from_tensors(tiny.batch(seed=1))
    history = model.fit(
        data, steps_per_epoch=3, epochs=2, validation_data=validation, verbose=0, shuffle=False
    ).history
    assert set(gan.LOSSES) <= set(history) and "val_psnr" in history
    assert history["loss_G"][1] < history["loss_G"][0]
    assert int(model.step) == 6


def test_an_unconditional_discriminator_is_not_shown_the_lightness():
    judged = []
    picture = keras.Input((None, None, 2), name="picture")
    logits = keras.layers.Conv2D(1, 4, name="logits")(picture)
    model = gan.ColorizationGAN(tiny.generator(), keras.Model(picture, logits))
    model.compile(discriminator_every=1)
    batch = tiny.batch()
    (logs,) = _steps(model, 1, batch)
    assert set(logs) == set(gan.LOSSES) and all(np.isfinite(value) for value in logs.values())
    for L in (batch["L"], -batch["L"]):
        judged.append(model.judge(L, batch["ab"], training=False).numpy())
    np.testing.assert_array_equal(*judged)
