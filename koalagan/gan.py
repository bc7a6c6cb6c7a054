# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The conditional GAN: a generator that colours, a discriminator that judges, and their steps.

A batch is `{"L": [B,H,W,1], "ab": [B,H,W,2]}`, float32, normalised (see `koalagan.lab`), with
`"embedding"` [B,1001] and `"segmentation"` [B,h,w,21] where the generator takes them;
`ColorizationGAN` trains on it through `fit` or `train_step`. No file IO here.

Two phases, chosen by `compile`: L1 pretraining of the generator alone (`adversarial=False`), then
the GAN. An adversarial step, in the order of pix2pix (Isola et al. 2017, section 3.3): the
generator colours once; if it is the discriminator's turn, it learns from the real and the detached
fake picture; then the generator learns from the updated discriminator.
"""

import keras
import tensorflow as tf

from koalagan import lab, losses, metrics

LOSSES = ("loss_D_fake", "loss_D_real", "loss_D", "loss_G_GAN", "loss_G_L1", "loss_G")
PRETRAINING_LOSSES = ("loss_G_L1", "loss_G")


class PooledPSNR(keras.metrics.Mean):
    """PSNR in dB of the error pooled over all pictures; updated with mean squared errors."""

    def result(self):
        return metrics.decibels(super().result())


def loss_scaled(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer, wrapped for float16 where the policy asks for it.

    `keras.Model.compile` wraps only its first optimizer; a GAN has two, and both overflow.
    """
    if keras.mixed_precision.dtype_policy().compute_dtype == "float16":
        return keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer


class ColorizationGAN(keras.Model):
    """A generator and a discriminator trained together.

    Attributes:
        generator: takes a batch's inputs, returns ab.
        discriminator: takes L and ab stacked, or ab alone, returns patch logits.
        generator_optimizer, discriminator_optimizer, pretraining_optimizer: each built on its own
            variables, so that a checkpoint of any step holds the same things in both phases.
        step: int64, training steps done, over both phases.
        adversarial_step: int64, those of the adversarial phase.
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        *,
        pretrain_learning_rate: float = 1e-4,
        generator_learning_rate: float = 2e-4,
        discriminator_learning_rate: float = 2e-4,
    ):
        # In float32: under a mixed policy it would round what it hands to the networks, whose own
        # layers know what to round.
        super().__init__(name="colorization_gan", dtype="float32")
        self.generator = generator
        self.discriminator = discriminator
        adam = keras.optimizers.Adam
        self.pretraining_optimizer = loss_scaled(adam(pretrain_learning_rate))
        self.generator_optimizer = loss_scaled(adam(generator_learning_rate, beta_1=0.5))
        self.discriminator_optimizer = loss_scaled(adam(discriminator_learning_rate, beta_1=0.5))
        self.pretraining_optimizer.build(generator.trainable_variables)
        self.generator_optimizer.build(generator.trainable_variables)
        self.discriminator_optimizer.build(discriminator.trainable_variables)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.adversarial_step = tf.Variable(0, dtype=tf.int64, trainable=False, name="adversarial")
        self.training_losses = {name: keras.metrics.Mean(name) for name in LOSSES}
        self.validation_metrics = {
            "psnr": keras.metrics.Mean("psnr"),
            "psnr_pooled": PooledPSNR("psnr_pooled"),
            "ssim": keras.metrics.Mean("ssim"),
            "colorfulness": keras.metrics.Mean("colorfulness"),
        }
        self.adversarial = False
        self.built = True

    def compile(
        self,
        *,
        adversarial: bool = True,
        pixel_loss: str = "l1",
        l1_weight: float = 100.0,
        gan_loss: str = "vanilla",
        discriminator_every: int = 5,
        **kwargs,
    ) -> None:
        """Chooses the phase and its losses.

        Args:
            adversarial: False pretrains the generator on the pixel loss alone.
            pixel_loss: "l1" or "l2".
            l1_weight: multiplies the pixel loss, in both phases, so that the curves join.
            gan_loss: "vanilla" or "lsgan".
            discriminator_every: the discriminator trains on every so-manieth adversarial step, the
                first included.
            **kwargs: Keras's own, `run_eagerly`, `steps_per_execution`, ...
        """
        # The optimizers are the model's own, wrapped already: Keras gets none.
        super().compile(optimizer=None, loss=None, **kwargs)
        self.adversarial = adversarial
        self.pixel_loss = pixel_loss
        self.l1_weight = l1_weight
        self.gan_loss = gan_loss
        self.discriminator_every = discriminator_every

    @property
    def metrics(self):
        names = LOSSES if self.adversarial else PRETRAINING_LOSSES
        return [self.training_losses[name] for name in names] + list(
            self.validation_metrics.values()
        )

    def call(self, batch, training=False):
        """ab [B,H,W,2] of a batch; what it holds beyond the generator's inputs is ignored."""
        inputs = {name: batch[name] for name in self.generator.input}
        return self.generator(inputs, training=training)

    def judge(self, L: tf.Tensor, ab: tf.Tensor, training: bool) -> tf.Tensor:
        """Patch logits [B,h,w,1]; a discriminator that takes ab alone is not shown L."""
        conditional = self.discriminator.input.shape[-1] == 3
        picture = tf.concat([L, ab], axis=-1) if conditional else ab
        return self.discriminator(picture, training=training)

    def train_step(self, batch):
        """One step of the current phase; returns the epoch's running means by the papers' names."""
        L, ab = batch["L"], batch["ab"]
        with tf.GradientTape() as tape:
            fake = self(batch, training=True)
            if self.adversarial:
                with tape.stop_recording():
                    self._discriminator_turn(L, ab, tf.stop_gradient(fake))
                logits = self.judge(L, fake, training=True)
                adversarial_loss = losses.gan_loss(logits, True, self.gan_loss)
            else:
                adversarial_loss = 0.0
            weighted_pixel_loss = self.l1_weight * losses.pixel_loss(fake, ab, self.pixel_loss)
            loss = adversarial_loss + weighted_pixel_loss
            optimizer = self.generator_optimizer if self.adversarial else self.pretraining_optimizer
            scaled_loss = optimizer.scale_loss(loss)
        variables = self.generator.trainable_variables
        optimizer.apply(tape.gradient(scaled_loss, variables), variables)
        self.step.assign_add(1)
        if self.adversarial:
            self.adversarial_step.assign_add(1)
            self._update(loss_G_GAN=adversarial_loss)
        self._update(loss_G_L1=weighted_pixel_loss, loss_G=loss)
        return self._results(self.training_losses)

    def _discriminator_turn(self, L: tf.Tensor, ab: tf.Tensor, fake: tf.Tensor) -> None:
        turn = tf.equal(self.adversarial_step % self.discriminator_every, 0)
        tf.cond(turn, lambda: self._train_discriminator(L, ab, fake), lambda: 0.0)

    def _train_discriminator(self, L: tf.Tensor, ab: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            # Two passes, so that batch norm sees real and fake pictures apart.
            loss_fake = losses.gan_loss(self.judge(L, fake, training=True), False, self.gan_loss)
            loss_real = losses.gan_loss(self.judge(L, ab, training=True), True, self.gan_loss)
            loss = 0.5 * (loss_fake + loss_real)
            scaled_loss = self.discriminator_optimizer.scale_loss(loss)
        variables = self.discriminator.trainable_variables
        self.discriminator_optimizer.apply(tape.gradient(scaled_loss, variables), variables)
        self._update(loss_D_fake=loss_fake, loss_D_real=loss_real, loss_D=loss)
        return loss

    def test_step(self, batch):
        """Losses without learning, and how the pictures look: PSNR, SSIM, colourfulness.

        The discriminator judges by its moving statistics, which real and fake pictures share, so
        its losses here lie apart from those of training, where each batch has its own.
        """
        L, ab = batch["L"], batch["ab"]
        predicted = self(batch, training=False)
        weight = tf.shape(L)[0]
        weighted_pixel_loss = self.l1_weight * losses.pixel_loss(predicted, ab, self.pixel_loss)
        loss = weighted_pixel_loss
        if self.adversarial:
            logits = self.judge(L, predicted, training=False)
            adversarial_loss = losses.gan_loss(logits, True, self.gan_loss)
            loss_fake = losses.gan_loss(logits, False, self.gan_loss)
            loss_real = losses.gan_loss(self.judge(L, ab, training=False), True, self.gan_loss)
            loss += adversarial_loss
            self._update(
                weight,
                loss_G_GAN=adversarial_loss,
                loss_D_fake=loss_fake,
                loss_D_real=loss_real,
                loss_D=0.5 * (loss_fake + loss_real),
            )
        self._update(weight, loss_G_L1=weighted_pixel_loss, loss_G=loss)
        self._measure(lab.lab_to_rgb(L, ab), lab.lab_to_rgb(L, predicted), ab)
        return {**self._results(self.training_losses), **self._results(self.validation_metrics)}

    def _measure(self, true: tf.Tensor, predicted: tf.Tensor, true_ab: tf.Tensor) -> None:
        error = metrics.squared_error(true, predicted)
        coloured = tf.cast(metrics.chroma(true_ab) >= metrics.MIN_CHROMA, tf.float32)
        self.validation_metrics["psnr"].update_state(metrics.decibels(error), coloured)
        self.validation_metrics["psnr_pooled"].update_state(error)
        self.validation_metrics["ssim"].update_state(metrics.ssim(true, predicted))
        self.validation_metrics["colorfulness"].update_state(metrics.colorfulness(predicted))

    def _update(self, weight=None, **values) -> None:
        for name, value in values.items():
            self.training_losses[name].update_state(value, sample_weight=weight)

    def _results(self, trackers: dict) -> dict:
        current = self.metrics
        return {name: t.result() for name, t in trackers.items() if any(t is m for m in current)}
