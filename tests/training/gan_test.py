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
from koalagan.training import divergence, gan, losses, step_means

# Adam's first step does not depend on its momentum.
STEPS_BY_HAND = 3


def _changed(before, after):
    return [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]


def _stepper(model, batch=None):
    """A function that runs a training step as `fit` does, and returns its logs."""
    model.make_train_function()
    data = iter(tf.data.Dataset.from_tensors(batch or tiny.batch()).repeat())
    return lambda: {name: float(value) for name, value in model.train_function(data).items()}


def _steps(model, count, batch=None):
    """Runs training steps; returns the logs of each alone."""
    step, logs = _stepper(model, batch), []
    for _ in range(count):
        model.reset_metrics()
        logs.append(step())
    return logs


def test_pretraining_moves_the_generator_alone():
    model = tiny.gan()
    model.compile(adversarial=False)
    generator, discriminator = tiny.weights(model.generator), tiny.weights(model.discriminator)
    (logs,) = _steps(model, 1)
    assert all(_changed(generator, tiny.weights(model.generator)))
    assert not any(_changed(discriminator, tiny.weights(model.discriminator)))
    assert set(logs) == set(step_means.PRETRAINING_LOSSES)
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


def test_fast_forms_learn_the_same_as_plain_ones(monkeypatch):
    fast, ran = _curve(), set()

    def recorded(form, plain):
        @functools.wraps(plain)
        def run(*arguments, **named):
            ran.add(form)
            return plain(*arguments, **named)

        return run

    for form, (owner, attribute, plain) in plain_forms.FORMS.items():
        monkeypatch.setattr(owner, attribute, recorded(form, plain))
    learned = np.abs(fast[-1] - fast[0])
    assert (np.abs(fast - _curve()).max(axis=0) < 0.02 * learned).all()
    assert ran == set(plain_forms.FORMS)


def test_pretraining_is_adam_on_the_weighted_l1_by_hand():
    model, batch = tiny.gan(), tiny.batch()
    reference = tiny.generator()
    reference.set_weights(model.generator.get_weights())
    adam = keras.optimizers.Adam(1e-4)
    expected = []
    for _ in range(STEPS_BY_HAND):
        with tf.GradientTape() as tape:
            fake = reference({"L": batch["L"], "embedding": batch["embedding"]}, training=True)
            loss = 100.0 * tf.reduce_mean(tf.abs(fake - batch["ab"]))
        variables = reference.trainable_variables
        adam.apply(tape.gradient(loss, variables), variables)
        expected.append(float(loss))
    model.compile(adversarial=False)
    logs = _steps(model, STEPS_BY_HAND, batch)
    assert [one["loss_G_L1"] for one in logs] == pytest.approx(expected, rel=1e-5)
    for got, want in zip(model.generator.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_adversarial_steps_are_the_papers_by_hand():
    model, batch = tiny.gan(), tiny.batch()
    G, D = tiny.generator(), tiny.discriminator()
    G.set_weights(model.generator.get_weights())
    D.set_weights(model.discriminator.get_weights())
    inputs, L, ab = {"L": batch["L"], "embedding": batch["embedding"]}, batch["L"], batch["ab"]
    adam_G, adam_D = (keras.optimizers.Adam(2e-4, beta_1=0.5) for _ in "GD")
    expected = []
    for _ in range(STEPS_BY_HAND):
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
        values = [loss_fake, loss_real, loss_D, loss_gan, loss_G - loss_gan, loss_G]
        expected.append(dict(zip(step_means.LOSSES, map(float, values), strict=True)))

    model.compile(discriminator_every=1)
    logs = _steps(model, STEPS_BY_HAND, batch)
    for got, want in zip(logs, expected, strict=True):
        assert got == pytest.approx(want, rel=1e-4)
    for got, want in ((model.generator, G), (model.discriminator, D)):
        for a, b in zip(got.get_weights(), want.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-6)


def test_the_discriminator_trains_on_every_nth_adversarial_step_the_first_included():
    model = tiny.gan()
    model.compile(adversarial=False)
    _steps(model, 1)  # The steps of pretraining do not count.
    model.compile(discriminator_every=3)
    step, turns = _stepper(model), []
    kernel = model.discriminator.get_layer("conv").kernel
    for _ in range(7):
        before = np.array(kernel)
        step()
        turns.append(not np.array_equal(before, kernel))
    assert turns == [True, False, False, True, False, False, True]


def test_discriminator_losses_are_means_over_its_own_turns():
    model, seen = tiny.gan(), []
    model.compile(discriminator_every=2)
    step = _stepper(model)
    for _ in range(4):
        seen.append(step()["loss_D"])
    assert seen[0] == seen[1] and seen[2] == seen[3] != seen[0]
    assert float(model.step_means.losses["loss_D"].count) == 2
    assert float(model.step_means.losses["loss_G"].count) == 4


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


@pytest.mark.parametrize("gan_loss, right", [("vanilla", "real"), ("lsgan", "fake")])
def test_accuracy_is_the_share_on_the_right_side_of_the_threshold(gan_loss, right):
    """Logits of 0.3 mean real where the threshold is 0, and fake where it is 0.5."""
    model = tiny.gan(discriminator_learning_rate=0.0)
    logit = model.discriminator.get_layer("logit")
    logit.kernel.assign(tf.zeros_like(logit.kernel))
    logit.bias.assign([0.3])
    model.compile(gan_loss=gan_loss, discriminator_every=1)
    _steps(model, 1)
    sums = model.step_means.sums()
    accuracies = {whose: sums[f"accuracy_D_{whose}"][0] for whose in ("fake", "real")}
    assert accuracies == {"fake": right == "fake", "real": right == "real"}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("adversarial", [False, True])
def test_mixed_precision_learns_close_to_float32(dtype, adversarial):
    rates = {"pretrain_learning_rate": 1e-3, "generator_learning_rate": 1e-3}
    reference = tiny.gan(**rates)
    with precision.policy(dtype):
        model = tiny.gan(**rates)
    assert model.generator.get_layer("conv").compute_dtype == dtype
    assert all(weight.dtype == np.float32 for weight in model.generator.get_weights())
    if dtype == "float16":  # a scale at which no step is skipped
        for optimizer in _optimizers(model):
            optimizer.dynamic_scale.assign(64.0)
    curves, norms = [], []
    for one in (reference, model):
        one.compile(adversarial=adversarial, discriminator_every=1)
        logs = _steps(one, 1)
        sums = one.step_means.sums()
        norms.append([total for name, (total, _) in sums.items() if "gradient" in name])
        curves.append([step["loss_G"] for step in logs + _steps(one, 29)])
    assert curves[1][-1] < 0.9 * curves[1][0]
    # Rounding errors grow: later losses agree on average only.
    np.testing.assert_allclose(curves[1][:6], curves[0][:6], rtol=0.01)
    assert np.mean(curves[1]) == pytest.approx(np.mean(curves[0]), rel=0.05)
    np.testing.assert_allclose(norms[1], norms[0], rtol=0.02)


def _optimizers(model):
    return model.pretraining_optimizer, model.generator_optimizer, model.discriminator_optimizer


def _with_nan_gradient(dtype):
    """A generator of finite colors whose gradient is NaN: the square root's, at 0, times 0."""
    with precision.policy(dtype):
        lightness = keras.Input((None, None, 1), name="L")
        x = keras.layers.Conv2D(2, 3, padding="same", name="conv")(lightness)
        zero = keras.layers.Lambda(lambda x: tf.sqrt(0.0 * x), dtype="float32")(x)
        return gan.ColorizationGAN(keras.Model({"L": lightness}, zero), tiny.discriminator())


@pytest.mark.parametrize("adversarial", [False, True])
def test_gradients_that_are_nan_are_found_although_losses_are_finite(adversarial):
    model = _with_nan_gradient("float32")
    model.compile(adversarial=adversarial)
    (logs,) = _steps(model, 1)
    assert all(np.isfinite(list(logs.values())))
    with pytest.raises(divergence.NotFinite) as info:
        model.check_finite()
    assert info.value.step == 0


@pytest.mark.parametrize("adversarial", [False, True])
def test_float16_whose_gradients_are_never_finite_is_found_once_the_scale_is_below_1(adversarial):
    model = _with_nan_gradient("float16")
    before = tiny.weights(model.generator)
    model.compile(adversarial=adversarial, discriminator_every=1)
    _steps(model, 16)  # from 2^15 to 2^-1
    assert float(_optimizers(model)[1 if adversarial else 0].dynamic_scale) == 0.5
    model.check_finite()
    _steps(model, 1)
    with pytest.raises(divergence.NotFinite) as info:
        model.check_finite()
    assert info.value.step == 16
    assert not any(_changed(before, tiny.weights(model.generator)))


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
    for optimizer in _optimizers(model):
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
    assert set(logs) == {*step_means.LOSSES, "psnr", "psnr_pooled", "ssim", "colorfulness"}


@pytest.mark.parametrize("gan_loss", ["vanilla", "lsgan"])
def test_validation_losses_are_means_over_pictures_by_hand(gan_loss):
    model = tiny.gan()
    model.compile(gan_loss=gan_loss, pixel_loss="l2", l1_weight=7.0)
    sums = dict.fromkeys(step_means.LOSSES, 0.0)
    batches = [tiny.batch(4), tiny.batch(1, seed=1)]
    for batch in batches:
        L, ab = batch["L"], batch["ab"]
        predicted = model.generator({"L": L, "embedding": batch["embedding"]}, training=False)
        fake, real = (
            model.discriminator(tf.concat([L, color], -1), training=False)
            for color in (predicted, ab)
        )
        values = {
            "loss_D_fake": losses.gan_loss(fake, False, gan_loss),
            "loss_D_real": losses.gan_loss(real, True, gan_loss),
            "loss_G_GAN": losses.gan_loss(fake, True, gan_loss),
            "loss_G_L1": 7.0 * tf.reduce_mean(tf.square(predicted - ab)),
        }
        values["loss_D"] = (values["loss_D_fake"] + values["loss_D_real"]) / 2
        values["loss_G"] = values["loss_G_GAN"] + values["loss_G_L1"]
        for name, value in values.items():
            sums[name] += len(L) * float(value) / 5
    pictures = {name: tf.concat([batch[name] for batch in batches], 0) for name in batches[0]}
    data = tf.data.Dataset.from_tensor_slices(pictures).batch(4)
    logs = model.evaluate(data, verbose=0, return_dict=True)
    assert {name: logs[name] for name in step_means.LOSSES} == pytest.approx(sums, rel=1e-5)


def test_fit_reports_epoch_means_under_the_papers_names():
    model = tiny.gan()
    model.compile(discriminator_every=2)
    data = tf.data.Dataset.from_tensors(tiny.batch()).repeat()
    validation = tf.data.Dataset.from_tensors(tiny.batch(seed=1))
    history = model.fit(
        data, steps_per_epoch=3, epochs=2, validation_data=validation, verbose=0, shuffle=False
    ).history
    assert set(step_means.LOSSES) <= set(history) and "val_psnr" in history
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
    assert set(logs) == set(step_means.LOSSES)
    assert all(np.isfinite(value) for value in logs.values())
    for L in (batch["L"], -batch["L"]):
        judged.append(model.judge(L, batch["ab"], training=False).numpy())
    np.testing.assert_array_equal(*judged)
