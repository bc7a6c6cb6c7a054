# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Mistakes that the tests must notice; `mutation.py` plants them."""

import dataclasses
import functools


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A mistake.

    Attributes:
        name: what is wrong with it.
        file: where it is planted, below koalagan/.
        right, wrong: the text that is replaced, which occurs once, and what replaces it.
        tests: the test file that should notice, below tests/.
    """

    name: str
    file: str
    right: str
    wrong: str
    tests: str


_gan = functools.partial(Mistake, file="training/gan.py", tests="training/gan_test.py")
_optimizers = functools.partial(
    Mistake, file="training/optimizers.py", tests="training/gan_test.py"
)
_losses = functools.partial(Mistake, file="training/losses.py", tests="training/losses_test.py")
_metrics = functools.partial(
    Mistake, file="evaluation/metrics.py", tests="evaluation/metrics_test.py"
)
_pipeline = functools.partial(Mistake, file="data/pipeline.py", tests="data/pipeline_test.py")
_batches = functools.partial(Mistake, file="data/batches.py", tests="data/pipeline_test.py")
_checkpoint = functools.partial(
    Mistake, file="training/checkpoint.py", tests="training/checkpoint_test.py"
)
_console = functools.partial(Mistake, file="training/console.py", tests="training/console_test.py")
_detection = functools.partial(Mistake, file="color/detection.py", tests="color/detection_test.py")
_exif = functools.partial(Mistake, file="photos/exif.py", tests="photos/exif_test.py")
_batch_norm = functools.partial(
    Mistake, file="models/layers/batch_norm.py", tests="models/layers/batch_norm_test.py"
)
_decoding = functools.partial(Mistake, file="data/decoding.py", tests="data/decoding_test.py")

MISTAKES = (
    _gan(
        name="beta_1 of the generator's optimizer",
        right="generator, generator_learning_rate, beta_1=0.5, **slower",
        wrong="generator, generator_learning_rate, **slower",
    ),
    _gan(
        name="beta_1 of the discriminator's optimizer",
        right="discriminator, discriminator_learning_rate, beta_1=0.5",
        wrong="discriminator, discriminator_learning_rate",
    ),
    _gan(
        name="beta_1 of pretraining's optimizer",
        right="generator, pretrain_learning_rate, **slower",
        wrong="generator, pretrain_learning_rate, beta_1=0.5, **slower",
    ),
    Mistake(
        name="gradients of one device",
        file="training/optimizers.py",
        right="distribution.mean(tape.gradient(scaled_loss, variables))",
        wrong="tape.gradient(scaled_loss, variables)",
        tests="training/distribution_test.py",
    ),
    Mistake(
        name="all devices drop alike",
        file="models/layers/dropout.py",
        right="noise[own * size : (own + 1) * size]",
        wrong="noise[:size]",
        tests="training/distribution_test.py",
    ),
    Mistake(
        name="synchronized variance without the means' own",
        file="models/layers/batch_norm.py",
        right="own_variance + tf.square(own_mean - mean)",
        wrong="own_variance",
        tests="training/distribution_test.py",
    ),
    _gan(
        name="val_loss_D_real of the predicted picture",
        right="losses.gan_loss(self.judge(L, ab, training=False), True",
        wrong="losses.gan_loss(self.judge(L, predicted, training=False), True",
    ),
    _optimizers(
        name="NaN gradients under a finite loss are not seen",
        right="finite = tf.math.is_finite(norm)\n",
        wrong="finite = tf.constant(True)\n",
    ),
    _optimizers(
        name="float16's gradient norm is not unscaled",
        right="tf.where(finite, norm / scale, 0.0)",
        wrong="tf.where(finite, norm, 0.0)",
    ),
    _optimizers(
        name="float16 that is never finite goes on",
        right="finite | (scale >= 1.0)",
        wrong="finite | (scale >= 0.0)",
    ),
    _gan(
        name="lsgan's accuracy has its threshold at 0",
        right='0.5 if self.gan_loss == "lsgan" else 0.0',
        wrong="0.0",
    ),
    _gan(
        name="validation's loss_D without its half",
        right="loss_D=0.5 * (loss_fake + loss_real)",
        wrong="loss_D=loss_fake + loss_real",
    ),
    _gan(
        name="l1_weight is ignored",
        right="self.l1_weight * pixel_loss",
        wrong="100.0 * pixel_loss",
    ),
    Mistake(
        name="rebalancing looks at the fifth class instead of the nearest",
        file="training/losses.py",
        right="nearest[..., 0]",
        wrong="nearest[..., -1]",
        tests="training/losses_test.py",
    ),
    Mistake(
        name="the soft classes' Gaussian is too wide",
        file="color/bins.py",
        right="negative / (2.0 * SIGMA**2)",
        wrong="negative / SIGMA**2 / 4.0",
        tests="color/bins_test.py",
    ),
    _gan(
        name="validation's last partial batch counts as a whole one",
        right="weight = tf.shape(L)[0]",
        wrong="weight = None",
    ),
    _gan(
        name="the discriminator's turn is counted on all steps",
        right="adversarial_steps = self.steps_done - self._pretraining_steps",
        wrong="adversarial_steps = self.steps_done",
    ),
    _gan(
        name="the schedule of the adversarial phase starts with pretraining",
        right="adversarial_steps if self.adversarial else self.steps_done)",
        wrong="self.steps_done)",
        tests="training/schedules_test.py",
    ),
    _optimizers(
        name="the backbone learns as fast as the rest",
        right="learning_rate = learning_rate * self._factor",
        wrong="pass",
        tests="training/networks_test.py",
    ),
    Mistake(
        name="a checkpoint may name anything",
        file="models/torch_checkpoint.py",
        right='raise pickle.UnpicklingError(f"it names {module}.{name}, which no tensor needs")',
        wrong="return super().find_class(module, name)",
        tests="models/torch_checkpoint_test.py",
    ),
    Mistake(
        name="a tensor may begin before its storage",
        file="models/torch_checkpoint.py",
        right="min(tensor.offset, *tensor.shape, *tensor.strides, 0) < 0",
        wrong="False",
        tests="models/torch_checkpoint_test.py",
    ),
    Mistake(
        name="the constant logit comes last",
        file="models/frozen/efficientnet_lite2.py",
        right="ZeroPadding1D((1, 0)",
        wrong="ZeroPadding1D((0, 1)",
        tests="models/frozen/efficientnet_lite2_test.py",
    ),
    _gan(
        name="the discriminator is shown fake pictures as real ones",
        right="losses.gan_loss(fake_logits, False,",
        wrong="losses.gan_loss(fake_logits, True,",
    ),
    _gan(
        name="the generator learns to be found out",
        right="loss_G_GAN = losses.gan_loss(logits, True,",
        wrong="loss_G_GAN = losses.gan_loss(logits, False,",
    ),
    _gan(
        name="the discriminator is not updated",
        right="self.discriminator_optimizer, tape, scaled_loss, self.discriminator\n",
        wrong="self.generator_optimizer, tape, scaled_loss, self.generator\n",
    ),
    _gan(
        name="an unconditional discriminator is shown L",
        right="if conditional else ab",
        wrong="if True else ab",
    ),
    _losses(
        name="the signs of cross-entropy",
        right="-logits if real else logits",
        wrong="logits if real else -logits",
    ),
    _losses(name="lsgan's target", right="1.0 if real else 0.0", wrong="0.9 if real else 0.0"),
    _losses(
        name="l2 is l1",
        right="tf.reduce_mean(tf.square(difference))",
        wrong="tf.reduce_mean(tf.abs(difference))",
    ),
    _metrics(name="PSNR's peak", right="ratio = 255.0**2 /", wrong="ratio = 256.0**2 /"),
    _metrics(name="the range of ab in SSIM", right="max_val=2.0", wrong="max_val=1.0"),
    _metrics(
        name="colorfulness without its mean", right="+ 0.3 * tf.norm", wrong="+ 0.0 * tf.norm"
    ),
    _metrics(
        name="pooled PSNR is a mean of PSNRs",
        right='float(decibels(joined["squared_error"].mean()))',
        wrong='float(np.mean(decibels(joined["squared_error"])))',
    ),
    _metrics(
        name="gray pictures count in the mean PSNR",
        right="float(psnrs[colored].mean())",
        wrong="float(psnrs.mean())",
    ),
    _pipeline(
        name="row 0's flip is that of the permutation",
        right="[seed, epoch, row + 1]",
        wrong="[seed, epoch, row]",
    ),
    _pipeline(
        name="a mirrored picture gets the other's embedding",
        right="array[rows, mirrored.astype(int)]",
        wrong="array[rows, 0]",
    ),
    _batches(
        name="pictures are flipped upside down",
        right="rgb[:, :, ::-1]",
        wrong="rgb[:, ::-1]",
    ),
    _batches(
        name="no picture is flipped",
        right="tf.where(mirrored[:, None, None, None], rgb[:, :, ::-1], rgb)",
        wrong="rgb",
    ),
    Mistake(
        name="the last weights are validated in place of their average",
        file="training/gan.py",
        tests="training/averaging_test.py",
        right="heads.outputs(self.result)",
        wrong="heads.outputs(generator)",
    ),
    Mistake(
        name="parts are cut from the top left",
        file="data/crops.py",
        tests="data/crops_test.py",
        right="drawn[:, 1:] * (whole - side)",
        wrong="0.0 * drawn[:, 1:]",
    ),
    Mistake(
        name="every epoch takes the same parts",
        file="data/crops.py",
        tests="data/crops_test.py",
        right="[seed, epoch, row + 1]",
        wrong="[seed, 0, row + 1]",
    ),
    _pipeline(
        name="every epoch has the same order",
        right="np.random.default_rng([seed, epoch]).permutation",
        wrong="np.random.default_rng([seed, 0]).permutation",
    ),
    _checkpoint(
        name="the discriminator's optimizer is not saved",
        right="            discriminator_optimizer=gan.discriminator_optimizer,\n",
        wrong="",
    ),
    _checkpoint(
        name="adversarial steps are not saved",
        right="            adversarial_step=gan.adversarial_step,\n",
        wrong="",
    ),
    _checkpoint(
        name="the oldest is kept", right="found[self._keep :]", wrong="found[: -self._keep]"
    ),
    _checkpoint(
        name="a model that is not finite is saved",
        right="        self._gan.check_finite()\n",
        wrong="",
    ),
    _console(
        name="epochs without a turn count as won",
        right="        if turns:\n",
        wrong="        if True:\n            turns = max(turns, 1)\n",
    ),
    _console(
        name="lsgan has the balance of cross-entropy", right='"lsgan": 0.018', wrong='"lsgan": 0.05'
    ),
    _detection(name="a stamp decides", right="_SOME = 0.08", wrong="_SOME = 0.02"),
    _detection(name="yellowed edges decide", right="(colored & ~aged)", wrong="(colored)"),
    _exif(name="the orientation is kept", right="    ORIENTATION,\n", wrong=""),
    _exif(
        name="resolutions are not exchanged",
        right="                _exchange(block, offset)\n",
        wrong="                pass\n",
    ),
    _exif(
        name="values keep the byte order of the file",
        right="turned = own if order == own_order else _turned(own)",
        wrong="turned = own",
    ),
    _decoding(
        name="16-bit grays ignore their profile",
        right="if (converted := _to_srgb(deep)) is not deep:",
        wrong="if (converted := deep) is not deep:",
    ),
    Mistake(
        file="training/feeding.py",
        tests="training/feeding_test.py",
        name="the batch that was copied ahead is thrown away",
        right="or self._next is None:",
        wrong="or True:",
    ),
    Mistake(
        file="training/feeding.py",
        tests="training/feeding_test.py",
        name="batches stay where they are",
        right="        if not self._device:\n            return batch\n",
        wrong="        return batch\n",
    ),
    Mistake(
        file="data/resized_pictures.py",
        tests="data/resized_pictures_test.py",
        name="pictures come in the order in which they are handed out last",
        right="            while pending and is_full(group):\n",
        wrong="            while pending and is_full(group):\n                pending.rotate()\n",
    ),
    Mistake(
        file="data/resized_pictures.py",
        tests="data/store_test.py",
        name="any number of pixels is decoded at once",
        right="at_work + group.pixels > DECODED_AT_ONCE",
        wrong="False",
    ),
    Mistake(
        file="data/resized_pictures.py",
        tests="data/resized_pictures_test.py",
        name="processes outlive a killed program",
        right="        os._exit(1)\n",
        wrong="        pass\n",
    ),
    Mistake(
        file="data/features.py",
        tests="data/features_test.py",
        name="both precisions share their rows",
        right='facts["precision"] = precision',
        wrong="pass",
    ),
    _batch_norm(
        name="recomputed statistics are those of the last batch",
        right="tf.constant(number / (number + 1))",
        wrong="tf.constant(0.0)",
    ),
    _batch_norm(
        name="batch norm of an encoder in a network",
        right="            found += _layers(layer)",
        wrong="            pass",
    ),
    Mistake(
        name="photographs compared with themselves in KID",
        file="evaluation/distributions.py",
        right="values.sum() - np.trace(values)) / (len(some) * (len(some) - 1))",
        wrong="values.sum()) / (len(some) * len(some))",
        tests="evaluation/distributions_test.py",
    ),
    Mistake(
        name="plain percentiles of few pictures",
        file="evaluation/intervals.py",
        right="confidence_level=min(1 - 2 * beyond, 1 - 1e-9)",
        wrong="confidence_level=CONFIDENCE",
        tests="evaluation/intervals_test.py",
    ),
)
