# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The conditional GAN: a generator that colours, a discriminator that judges, and their steps.

A batch is `{"L": [B,H,W,1], "ab": [B,H,W,2]}`, float32, normalised (see `koalagan.color.lab`), with
`"embedding"` [B,1001] and `"segmentation"` [B,h,w,21] where the generator takes them;
`ColorizationGAN` trains on it through `fit` or `train_step`. No file IO here.

Two phases, chosen by `compile`: L1 pretraining of the generator alone (`adversarial=False`), then
the GAN. An adversarial step, in the order of pix2pix (Isola et al. 2017, section 3.3): the
generator colours once; if it is the discriminator's turn, it learns from the real and the detached
fake picture; then the generator learns from the updated discriminator.
"""

import keras
import tensorflow as tf

from koalagan.color import lab
from koalagan.evaluation import metrics
from koalagan.training import losses

LOSSES = ("loss_D_fake", "loss_D_real", "loss_D", "loss_G_GAN", "loss_G_L1", "loss_G")
PRETRAINING_LOSSES = ("loss_G_L1", "loss_G")
# What else of a training step is worth a curve: how strongly each network is pulled, and how often
# the discriminator, patch by patch, is right.
FACTS = ("gradient_norm_G", "gradient_norm_D", "accuracy_D_fake", "accuracy_D_real")


class NotFinite(ArithmeticError):
    """A step of training gave losses or gradients that are no numbers.

    Attributes:
        step: its number, from 0.
        losses: the step's losses by name.
    """

    def __init__(self, step: int, losses: dict[str, float]):
        shown = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        super().__init__(f"losses or gradients of step {step} are no numbers: {shown}")
        self.step = step
        self.losses = losses


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
        bad_step, bad_losses: the first step, from 0, whose losses or gradients were no numbers, and
            its losses in the order of `LOSSES`; -1 while there is none.
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
        self.bad_step = tf.Variable(-1, dtype=tf.int64, trainable=False, name="bad_step")
        self.bad_losses = tf.Variable(tf.zeros([len(LOSSES)]), trainable=False, name="bad_losses")
        self.training_losses = {name: keras.metrics.Mean(name) for name in LOSSES}
        self.training_facts = {name: keras.metrics.Mean(name) for name in FACTS}
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

    def current_losses(self) -> dict[str, keras.metrics.Mean]:
        """The running means of the losses that the current phase has, by name."""
        names = LOSSES if self.adversarial else PRETRAINING_LOSSES
        return {name: self.training_losses[name] for name in names}

    @property
    def metrics(self):
        return [
            *self.current_losses().values(),
            *self.training_facts.values(),
            *self.validation_metrics.values(),
        ]

    def call(self, batch, training=False):
        """ab [B,H,W,2] of a batch; what it holds beyond the generator's inputs is ignored."""
        inputs = {name: batch[name] for name in self.generator.input}
        return self.generator(inputs, training=training)

    def judge(self, L: tf.Tensor, ab: tf.Tensor, training: bool) -> tf.Tensor:
        """Patch logits [B,h,w,1]; a discriminator that takes ab alone is not shown L."""
        conditional = self.discriminator.input.shape[-1] == 3
        picture = tf.concat([L, ab], axis=-1) if conditional else ab
        return self.discriminator(picture, training=training)

    def learning_rates(self) -> dict[str, float]:
        """Those of the current phase, for G and, where it learns, D."""
        if not self.adversarial:
            return {"G": float(self.pretraining_optimizer.learning_rate)}
        return {
            "G": float(self.generator_optimizer.learning_rate),
            "D": float(self.discriminator_optimizer.learning_rate),
        }

    def sums(self) -> dict[str, list[float]]:
        """The epoch's losses and facts so far, by name: their sum and how many steps had them."""
        return {
            name: [float(mean.total), float(mean.count)]
            for name, mean in {**self.training_losses, **self.training_facts}.items()
        }

    def set_sums(self, sums: dict[str, list[float]]) -> None:
        """Goes on with what `sums` gave, in an epoch that is continued."""
        means = {**self.training_losses, **self.training_facts}
        for name, (total, count) in sums.items():
            means[name].total.assign(total)
            means[name].count.assign(count)

    def check_finite(self) -> None:
        """Raises NotFinite once a step has given losses or gradients that are no numbers.

        With loss scaling (float16) gradients may: such a step is skipped, and the scale lowered.
        """
        step = int(self.bad_step)
        if step >= 0:
            values = dict(zip(LOSSES, self.bad_losses.numpy().tolist(), strict=True))
            raise NotFinite(step, {name: values[name] for name in self.current_losses()})

    def train_step(self, batch):
        """One step of the current phase; returns the epoch's running means by the papers' names."""
        L, ab = batch["L"], batch["ab"]
        values = dict.fromkeys(LOSSES, tf.constant(0.0))
        finite = tf.constant(True)
        with tf.GradientTape() as tape:
            fake = self(batch, training=True)
            if self.adversarial:
                with tape.stop_recording():
                    turn, finite = self._discriminator_turn(L, ab, tf.stop_gradient(fake))
                    values |= turn
                logits = self.judge(L, fake, training=True)
                values["loss_G_GAN"] = losses.gan_loss(logits, True, self.gan_loss)
            pixel_loss = losses.pixel_loss(fake, ab, self.pixel_loss)
            values["loss_G_L1"] = self.l1_weight * pixel_loss
            values["loss_G"] = values["loss_G_GAN"] + values["loss_G_L1"]
            optimizer = self.generator_optimizer if self.adversarial else self.pretraining_optimizer
            scaled_loss = optimizer.scale_loss(values["loss_G"])
        variables = self.generator.trainable_variables
        learned, norm = self._learn(optimizer, tape.gradient(scaled_loss, variables), variables)
        self._note_bad(values, finite & learned)
        self.step.assign_add(1)
        if self.adversarial:
            self.adversarial_step.assign_add(1)
            self._update(loss_G_GAN=values["loss_G_GAN"])
        self._update(loss_G_L1=values["loss_G_L1"], loss_G=values["loss_G"], gradient_norm_G=norm)
        return self._results(self.current_losses())

    def _discriminator_turn(
        self, L: tf.Tensor, ab: tf.Tensor, fake: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Its losses, zero where it is not its turn, and whether its gradients are numbers."""
        names = ("loss_D_fake", "loss_D_real", "loss_D")
        turn = tf.equal(self.adversarial_step % self.discriminator_every, 0)
        return tf.cond(
            turn,
            lambda: self._train_discriminator(L, ab, fake),
            lambda: (dict.fromkeys(names, tf.constant(0.0)), tf.constant(True)),
        )

    def _train_discriminator(
        self, L: tf.Tensor, ab: tf.Tensor, fake: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        with tf.GradientTape() as tape:
            # Two passes, so that batch norm sees real and fake pictures apart.
            fake_logits = self.judge(L, fake, training=True)
            real_logits = self.judge(L, ab, training=True)
            loss_fake = losses.gan_loss(fake_logits, False, self.gan_loss)
            loss_real = losses.gan_loss(real_logits, True, self.gan_loss)
            loss = 0.5 * (loss_fake + loss_real)
            scaled_loss = self.discriminator_optimizer.scale_loss(loss)
        variables = self.discriminator.trainable_variables
        gradients = tape.gradient(scaled_loss, variables)
        finite, norm = self._learn(self.discriminator_optimizer, gradients, variables)
        values = {"loss_D_fake": loss_fake, "loss_D_real": loss_real, "loss_D": loss}
        # What lies above is more real than fake: logits, or numbers that are to be 0 and 1.
        middle = 0.5 if self.gan_loss == "lsgan" else 0.0
        self._update(
            **values,
            gradient_norm_D=norm,
            accuracy_D_fake=tf.reduce_mean(tf.cast(fake_logits < middle, tf.float32)),
            accuracy_D_real=tf.reduce_mean(tf.cast(real_logits > middle, tf.float32)),
        )
        return values, finite

    @staticmethod
    def _learn(
        optimizer: keras.optimizers.Optimizer, gradients: list, variables: list
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Applies the gradients; returns whether they are numbers, where they have to be, and their
        norm."""
        norm = tf.cast(tf.linalg.global_norm(gradients), tf.float32)
        if isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer):
            norm = norm / tf.convert_to_tensor(optimizer.dynamic_scale)
            # A step whose gradients are no numbers is skipped: it moves nothing.
            norm = tf.where(tf.math.is_finite(norm), norm, 0.0)
            finite = tf.constant(True)
        else:
            finite = tf.math.is_finite(norm)
        optimizer.apply(gradients, variables)
        return finite, norm

    def _note_bad(self, values: dict[str, tf.Tensor], gradients_finite: tf.Tensor) -> None:
        """Keeps the first step whose losses or gradients are no numbers, for `check_finite`."""
        row = tf.stack([values[name] for name in LOSSES])
        finite = gradients_finite & tf.reduce_all(tf.math.is_finite(row))
        first = ~finite & (self.bad_step < 0)
        self.bad_losses.assign(tf.where(first, row, self.bad_losses))
        self.bad_step.assign(tf.where(first, self.step, self.bad_step))

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
        return {**self._results(self.current_losses()), **self._results(self.validation_metrics)}

    def _measure(self, true: tf.Tensor, predicted: tf.Tensor, true_ab: tf.Tensor) -> None:
        error = metrics.squared_error(true, predicted)
        coloured = tf.cast(metrics.chroma(true_ab) >= metrics.MIN_CHROMA, tf.float32)
        self.validation_metrics["psnr"].update_state(metrics.decibels(error), coloured)
        self.validation_metrics["psnr_pooled"].update_state(error)
        self.validation_metrics["ssim"].update_state(metrics.ssim(true, predicted))
        self.validation_metrics["colorfulness"].update_state(metrics.colorfulness(predicted))

    def _update(self, weight=None, **values) -> None:
        means = {**self.training_losses, **self.training_facts}
        for name, value in values.items():
            means[name].update_state(value, sample_weight=weight)

    def _results(self, trackers: dict) -> dict:
        return {name: tracker.result() for name, tracker in trackers.items()}
