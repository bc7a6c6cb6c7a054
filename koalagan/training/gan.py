# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The conditional GAN: a generator that colors, a discriminator that judges, and their steps.

A batch is one of the pipeline's (uint8 pictures, see `koalagan.data.batches`), or what becomes of
it on the device: `{"L": [B,H,W,1], "ab": [B,H,W,2]}`, float32, normalized (see
`koalagan.color.lab`), with `"embedding"` [B,1001] and `"segmentation"` [B,h,w,21] where the
generator takes them. `ColorizationGAN` trains on it through `fit` or `train_step`. No file IO here.

Two phases, chosen by `compile`: pretraining of the generator alone (`adversarial=False`), then
the GAN. An adversarial step, in the order of pix2pix (Isola et al. 2017, section 3.3): the
generator colors once; if it is the discriminator's turn, it learns from the real and the detached
fake picture; then the generator learns from the updated discriminator.

Several devices learn together, each from its share of a batch (see `koalagan.distribution`).
"""

from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from koalagan import distribution
from koalagan.data import batches
from koalagan.models import heads
from koalagan.models.layers import batch_norm
from koalagan.training import averaging, feeding, losses, optimizers, schedules, validation
from koalagan.training.divergence import FirstBadStep
from koalagan.training.step_means import CLASS_LOSS, StepMeans


class ColorizationGAN(keras.Model):
    """A generator and a discriminator trained together.

    Attributes:
        generator: takes a batch's inputs, returns ab.
        average: of the generator's weights, or None.
        discriminator: takes L and ab stacked, or ab alone, returns patch logits.
        devices: that train; the networks' weights are made in their scope.
        generator_optimizer, discriminator_optimizer, pretraining_optimizer: each built on its own
            variables, so that a checkpoint of any step holds the same things in both phases.
        step_means: the epoch's running means of losses and facts.
        step: int64, training steps done, over both phases.
        adversarial_step: int64, those of the adversarial phase.
        steps_done: the same as `step`, counted in Python: nobody waits for a device to read it.
        statistics_batches: batches of the pipeline by which batch norm's statistics are computed
            anew before each validation, or None.
        discriminators_turn: whether `train_step` trains the discriminator too; `fit` sets it.
        first_bad_step: the first one whose losses or gradients were NaN or infinite.
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        *,
        pretrain_learning_rate: float = 1e-4,
        generator_learning_rate: float = 2e-4,
        discriminator_learning_rate: float = 2e-4,
        backbone: Sequence[keras.Variable] = (),
        backbone_factor: float = 1.0,
        average: averaging.WeightAverage | None = None,
        devices: distribution.Devices | None = None,
    ):
        # Under a mixed policy, this model would round the inputs of the networks; their own layers
        # cast what needs casting.
        super().__init__(name="colorization_gan", dtype="float32")
        self.generator = generator
        self.average = average
        self.discriminator = discriminator
        self.devices = devices or distribution.Devices()
        slower = {"others": backbone, "factor": backbone_factor}
        # On every device, as the weights. All other variables are there once.
        with self.devices.scope():
            self.pretraining_optimizer = optimizers.build(
                generator, pretrain_learning_rate, **slower
            )
            self.generator_optimizer = optimizers.build(
                generator, generator_learning_rate, beta_1=0.5, **slower
            )
            self.discriminator_optimizer = optimizers.build(
                discriminator, discriminator_learning_rate, beta_1=0.5
            )
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.adversarial_step = tf.Variable(0, dtype=tf.int64, trainable=False, name="adversarial")
        self._learner, self._shown = heads.outputs(generator), heads.outputs(self.result)
        self.step_means = StepMeans(classes=heads.LOGITS in self._learner.output)
        self.first_bad_step = FirstBadStep(self.step_means.losses)
        self.validation_metrics = validation.means()
        self.adversarial = False
        self.steps_done = self._pretraining_steps = 0
        self.discriminators_turn = False
        self.statistics_batches: tf.data.Dataset | None = None
        self.built = True

    def compile(
        self,
        *,
        adversarial: bool = True,
        pixel_loss: str = "l1",
        l1_weight: float = 100.0,
        class_weight: float = 1.0,
        class_weights: np.ndarray | None = None,
        gan_loss: str = "vanilla",
        discriminator_every: int = 5,
        learning_rate_schedule: str = "constant",
        steps: int = 0,
        jit_compile: bool = False,
        run_eagerly: bool = False,
    ) -> None:
        """Chooses the phase and its losses.

        Args:
            adversarial: False pretrains the generator without the discriminator.
            pixel_loss: "l1" or "l2".
            l1_weight: multiplies the pixel loss, in both phases, so that the curves join.
            class_weight: multiplies the cross-entropy of a generator that classifies colors.
            class_weights: [261], how much a pixel counts in it by its color; None for 1.
            gan_loss: "vanilla" or "lsgan".
            discriminator_every: the discriminator trains on every n-th adversarial step, the first
                included.
            learning_rate_schedule: see `koalagan.training.schedules`.
            steps: the number of steps of the phase, for the schedule.
            jit_compile: whether XLA compiles the training step.
            run_eagerly: see `keras.Model.compile`.
        """
        # The model applies its own optimizers, which are wrapped already: Keras gets none.
        super().compile(optimizer=None, loss=None, jit_compile=jit_compile, run_eagerly=run_eagerly)
        self.adversarial = adversarial
        self.pixel_loss = pixel_loss
        self.l1_weight = l1_weight
        self.class_weight = class_weight
        self.class_weights = class_weights
        self.gan_loss = gan_loss
        self.discriminator_every = discriminator_every
        self._schedule, self._phase_steps = learning_rate_schedule, steps
        self.steps_done = int(self.step)

    def make_train_function(self, force=False):
        """Makes the step of `fit`, which counts `steps_done`.

        It is one of two compiled steps, with and without the discriminator's turn, which comes on
        every `discriminator_every`-th adversarial step, the first included.
        """
        # A checkpoint may have been restored since `compile`.
        self.steps_done = int(self.step)
        self._pretraining_steps = self.steps_done - int(self.adversarial_step)
        if self.train_function is not None and not force:
            return
        functions = {turn: self.train_step for turn in (True, False)}
        if not self.run_eagerly:
            for turn in functions:
                functions[turn] = tf.function(
                    self.train_step,
                    jit_compile=self.jit_compile,
                    autograph=False,  # Its conditions are Python's; converting takes seconds.
                    reduce_retracing=True,
                )
        feed = feeding.Feed(self.devices)

        def step(iterator):
            batch = feed.take(iterator)
            adversarial_steps = self.steps_done - self._pretraining_steps
            self._set_learning_rates(adversarial_steps if self.adversarial else self.steps_done)
            # A function reads this where it is traced, which is in its first call.
            self.discriminators_turn = (
                self.adversarial and adversarial_steps % self.discriminator_every == 0
            )
            results = functions[self.discriminators_turn](batch)
            self.steps_done += 1
            feed.fetch(iterator)
            return results

        self.train_function = step

    def make_test_function(self, force=False):
        """Makes the step of `evaluate`, without XLA: compiling takes longer than a validation."""
        jit_compile, self.jit_compile = self.jit_compile, False
        try:
            super().make_test_function(force)
        finally:
            self.jit_compile = jit_compile

    def evaluate(self, *arguments, **options):
        """Keras's, by the chief alone, which tells the other workers what it found."""
        # By all workers, on the same pictures: their networks stay the same.
        if self.statistics_batches is not None:
            self.recompute_statistics(self.statistics_batches)
        if self.devices.workers == 1:
            return super().evaluate(*arguments, **options)
        names = [*self.current_losses(), *self.validation_metrics]
        values = dict.fromkeys(names, 0.0)
        if self.devices.is_chief:
            values |= super().evaluate(*arguments, **options)
        told = self.devices.from_chief([float(values[name]) for name in names])
        return dict(zip(names, told, strict=True))

    def current_losses(self) -> dict[str, keras.metrics.Mean]:
        """The running means of the losses that the current phase has, by name."""
        return self.step_means.phase(self.adversarial)

    @property
    def metrics(self):
        return [
            *self.current_losses().values(),
            *self.step_means.facts.values(),
            *self.validation_metrics.values(),
        ]

    def call(self, batch, training=False):
        """ab [B,H,W,2] of a batch; keys that the generator does not take are ignored."""
        return self._outputs(batch, training)["ab"]

    def _outputs(self, batch: dict, training: bool) -> dict[str, tf.Tensor]:
        inputs = {name: batch[name] for name in self.generator.input}
        return (self._learner if training else self._shown)(inputs, training=training)

    def _color_losses(self, outputs: dict, true_ab: tf.Tensor) -> dict[str, tf.Tensor]:
        """The weighted losses of predicted colors, without a discriminator, by name."""
        pixel_loss = losses.pixel_loss(outputs["ab"], true_ab, self.pixel_loss)
        values = {"loss_G_L1": self.l1_weight * pixel_loss}
        if heads.LOGITS in outputs:
            class_loss = losses.class_loss(outputs[heads.LOGITS], true_ab, self.class_weights)
            values[CLASS_LOSS] = self.class_weight * class_loss
        return values

    @property
    def result(self) -> keras.Model:
        """The generator that is validated and exported: the average, where there is one."""
        return self.average.network if self.average else self.generator

    def recompute_statistics(self, pictures: Iterable[dict[str, tf.Tensor]]) -> None:
        """Computes batch norm's statistics in `result` anew, for its weights as they are.

        Args:
            pictures: batches of the pipeline.
        """
        side = self.generator.input["L"].shape[1]
        seen = (batches.for_networks(batch, side) for batch in pictures)
        batch_norm.recompute(
            self.result, ({name: batch[name] for name in self.generator.input} for batch in seen)
        )

    def judge(self, L: tf.Tensor, ab: tf.Tensor, training: bool) -> tf.Tensor:
        """Patch logits [B,h,w,1]; an unconditional discriminator is not shown L."""
        conditional = self.discriminator.input.shape[-1] == 3
        picture = tf.concat([L, ab], axis=-1) if conditional else ab
        return self.discriminator(picture, training=training)

    def _set_learning_rates(self, step: int) -> None:
        """Follows the schedule, where there is one, in a step of the phase."""
        if self._schedule != "constant":
            factor = schedules.factor(self._schedule, step, self._phase_steps)
            for optimizer in self._optimizers().values():
                optimizers.scale_rate(optimizer, factor)

    def _optimizers(self) -> dict[str, keras.optimizers.Optimizer]:
        """The optimizers of the current phase, by their networks."""
        if not self.adversarial:
            return {"G": self.pretraining_optimizer}
        return {"G": self.generator_optimizer, "D": self.discriminator_optimizer}

    def learning_rates(self) -> dict[str, float]:
        """The learning rates of the current phase: of G and, in the adversarial phase, of D."""
        return {
            name: float(tf.convert_to_tensor(optimizer.learning_rate))
            for name, optimizer in self._optimizers().items()
        }

    def check_finite(self) -> None:
        """Raises NotFinite after a step whose losses or gradients were NaN or infinite.

        With loss scaling (float16), gradients may be while the scale is 1 or more: the optimizer
        skips such a step and lowers the scale.
        """
        self.first_bad_step.check(self.current_losses())

    def train_step(self, batch):
        """One step of the current phase; returns the epoch's running means by the papers' names."""
        learned = self.devices.run(self._learn, batch)
        finite = learned.pop("finite") == 1.0  # on all devices
        self.step_means.update(**learned)
        values = {name: value for name, value in learned.items() if name in self.step_means.losses}
        self.first_bad_step.note(self.step, values, finite)
        self.step.assign_add(1)
        if self.adversarial:
            self.adversarial_step.assign_add(1)
        return self._results(self.current_losses())

    def _learn(self, batch: dict) -> dict[str, tf.Tensor]:
        """A step of one device, on its share of a batch.

        Returns:
            The losses and facts of the step by name, and "finite": 1 where the gradients are.
        """
        batch = batches.for_networks(batch, self.generator.input["L"].shape[1])
        learn = self._adversarial_step if self.adversarial else self._pretrain_step
        values, finite = learn(batch)
        batch_norm.average(self.generator)
        if self.average:
            self.average.update(self.step)
        return {**values, "finite": tf.cast(finite, tf.float32)}

    def _adversarial_step(self, batch: dict) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """A step of both networks; returns its values, and whether the gradients are finite."""
        L, true_ab = batch["L"], batch["ab"]
        with tf.GradientTape() as tape:
            # Forward: the generator colors the batch once.
            outputs = self._outputs(batch, training=True)
            predicted_ab = outputs["ab"]

            # The discriminator's turn, if it is. The tape does not record it, so that the generator
            # learns from the updated discriminator, but not through its update.
            values_D, finite_D = {}, tf.constant(True)
            if self.discriminators_turn:
                with tape.stop_recording():
                    values_D, finite_D = self._train_discriminator(L, true_ab, predicted_ab)

            # The generator's turn.
            logits = self.judge(L, predicted_ab, training=True)
            loss_G_GAN = losses.gan_loss(logits, True, self.gan_loss)
            losses_color = self._color_losses(outputs, true_ab)
            loss_G = loss_G_GAN + sum(losses_color.values())
            scaled_loss = self.generator_optimizer.scale_loss(loss_G)
        finite_G, norm_G = optimizers.apply_gradients(
            self.generator_optimizer, tape, scaled_loss, self.generator
        )
        batch_norm.average(self.discriminator)
        values_G = {"loss_G_GAN": loss_G_GAN, **losses_color, "loss_G": loss_G}
        return {**values_D, **values_G, "gradient_norm_G": norm_G}, finite_D & finite_G

    def _pretrain_step(self, batch: dict) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """A step of the generator alone; returns what `_adversarial_step` does."""
        with tf.GradientTape() as tape:
            values = self._color_losses(self._outputs(batch, training=True), batch["ab"])
            loss = sum(values.values())
            scaled_loss = self.pretraining_optimizer.scale_loss(loss)
        finite, norm = optimizers.apply_gradients(
            self.pretraining_optimizer, tape, scaled_loss, self.generator
        )
        return {**values, "loss_G": loss, "gradient_norm_G": norm}, finite

    def _train_discriminator(
        self, L: tf.Tensor, true_ab: tf.Tensor, predicted_ab: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """The discriminator's turn; returns its values, and whether its gradients are finite."""
        with tf.GradientTape() as tape:
            # Two passes, so that batch norm sees real and fake pictures apart.
            fake_logits = self.judge(L, predicted_ab, training=True)
            real_logits = self.judge(L, true_ab, training=True)
            loss_D_fake = losses.gan_loss(fake_logits, False, self.gan_loss)
            loss_D_real = losses.gan_loss(real_logits, True, self.gan_loss)
            loss_D = 0.5 * (loss_D_fake + loss_D_real)
            scaled_loss = self.discriminator_optimizer.scale_loss(loss_D)
        finite, norm = optimizers.apply_gradients(
            self.discriminator_optimizer, tape, scaled_loss, self.discriminator
        )
        # The threshold between fake and real: logits of 0, or halfway between the targets 0 and 1.
        threshold = 0.5 if self.gan_loss == "lsgan" else 0.0
        values = {
            "loss_D_fake": loss_D_fake,
            "loss_D_real": loss_D_real,
            "loss_D": loss_D,
            "gradient_norm_D": norm,
            "accuracy_D_fake": tf.reduce_mean(tf.cast(fake_logits < threshold, tf.float32)),
            "accuracy_D_real": tf.reduce_mean(tf.cast(real_logits > threshold, tf.float32)),
        }
        return values, finite

    def test_step(self, batch):
        """Losses without training, and measures of the pictures: PSNR, SSIM, colorfulness.

        The discriminator uses its moving statistics here, which real and fake pictures share, so
        its losses differ from those of training, where each batch is normalized by its own.
        """
        batch = batches.for_networks(batch)
        L, ab = batch["L"], batch["ab"]
        outputs = self._outputs(batch, training=False)
        predicted = outputs["ab"]
        weight = tf.shape(L)[0]
        losses_color = self._color_losses(outputs, ab)
        loss = sum(losses_color.values())
        if self.adversarial:
            logits = self.judge(L, predicted, training=False)
            adversarial_loss = losses.gan_loss(logits, True, self.gan_loss)
            loss_fake = losses.gan_loss(logits, False, self.gan_loss)
            loss_real = losses.gan_loss(self.judge(L, ab, training=False), True, self.gan_loss)
            loss += adversarial_loss
            self.step_means.update(
                weight,
                loss_G_GAN=adversarial_loss,
                loss_D_fake=loss_fake,
                loss_D_real=loss_real,
                loss_D=0.5 * (loss_fake + loss_real),
            )
        self.step_means.update(weight, **losses_color, loss_G=loss)
        validation.update(self.validation_metrics, L, ab, predicted)
        return {**self._results(self.current_losses()), **self._results(self.validation_metrics)}

    def _results(self, trackers: dict) -> dict:
        return {name: tracker.result() for name, tracker in trackers.items()}
