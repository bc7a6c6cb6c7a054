# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Trains a colorization model: `python -m koalagan.train --flagfile=experiments/NAME.flags`.

Prepares the pictures (once), pretrains the generator, trains it against the discriminator, exports
a SavedModel and evaluates it. The same command continues a run that was stopped.
"""

import time
from collections.abc import Sequence

import keras
import tensorflow as tf
from absl import flags

from koalagan import (
    checkpoint,
    evaluate,
    export,
    precision,
    progress,
    run_flags,
    summaries,
    workdir,
)
from koalagan.data import flags as data_flags
from koalagan.data import pipeline, sources, store
from koalagan.errors import UserError, run
from koalagan.gan import ColorizationGAN
from koalagan.models import BACKBONES, patchgan

GRID_PICTURES = 8


class ProgressLine(keras.callbacks.Callback):
    """One bar an epoch with losses, pictures/s and time left; one line at its end.

    Args:
        epochs: of the whole run, both phases.
        batch_size: pictures in a step.
        steps: steps in an epoch.
    """

    def __init__(self, epochs: int, batch_size: int, steps: int):
        super().__init__()
        self._epochs = epochs
        self._batch_size = batch_size
        self._steps = steps
        self._bar = None

    def close(self) -> None:
        """Ends the bar of an epoch that is not going to end."""
        if self._bar is not None:
            self._bar.close()

    def on_epoch_begin(self, epoch, logs=None):
        done = int(self.model.step) % self._steps
        self._trained, self._started = 0, time.monotonic()
        self._name = f"epoch {epoch + 1}/{self._epochs}"
        self._bar = progress.bar(
            self._name, self._steps * self._batch_size, initial=done * self._batch_size
        )

    def on_train_batch_end(self, batch, logs=None):
        self._bar.set_postfix_str(
            " ".join(f"{name} {float(value):.3g}" for name, value in logs.items()), refresh=False
        )
        self._bar.update(self._batch_size)
        self._trained += self._batch_size

    def on_test_begin(self, logs=None):
        # Validation is not training: its time must not enter the rate.
        self._rate = self._trained / (time.monotonic() - self._started)
        self._bar.close()

    def on_epoch_end(self, epoch, logs=None):
        phase = "adversarial" if self.model.adversarial else "pretraining"
        shown = {name: float(value) for name, value in logs.items()}
        validation = {name[4:]: value for name, value in shown.items() if name.startswith("val_")}
        training = {name: value for name, value in shown.items() if not name.startswith("val_")}
        print(
            f"{self._name} {phase}: "
            + " ".join(f"{name} {value:.4g}" for name, value in training.items())
            + f" | validation: loss_G_L1 {validation['loss_G_L1']:.4g}"
            + "".join(
                f" {name} {validation[name]:.4g}"
                for name in ("psnr", "psnr_pooled", "ssim", "colorfulness")
            )
            + f" | {self._rate:.1f} pictures/s",
            flush=True,
        )


def _open(settings: flags.FlagValues, split: str) -> sources.Source:
    return sources.open_source(
        settings.dataset, split, data_dir=settings.data_dir, download=settings.download
    )


def _check_batch(settings: flags.FlagValues, pictures: int) -> None:
    if settings.batch_size > pictures:
        raise UserError(
            f"--batch_size={settings.batch_size} is larger than the {pictures} pictures of "
            f"{settings.train_split}: lower it, or train on more pictures."
        )


def _prepare(settings: flags.FlagValues, source: sources.Source) -> store.Store:
    return store.prepare(
        source,
        store_dir=settings.store_dir,
        image_size=(settings.image_size, settings.image_size),
        resize=settings.resize,
        on_bad_picture=settings.on_bad_picture,
        embedding_weights=settings.embedding_weights,
        segmentation_weights=settings.segmentation_weights,
    )


def _grid_batch(pictures: store.Store) -> dict:
    """The first few validation pictures, the same after every epoch."""
    batches = pipeline.evaluation_batches(pictures, batch_size=min(GRID_PICTURES, len(pictures)))
    return next(iter(batches))


def _fit(
    gan: ColorizationGAN,
    training: store.Store,
    validation: store.Store,
    settings: flags.FlagValues,
    *,
    last_epoch: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Trains the compiled phase from the current step to the end of `last_epoch` (from 1)."""
    steps = pipeline.steps_per_epoch(len(training), settings.batch_size)
    validation_batches = pipeline.evaluation_batches(validation, batch_size=settings.batch_size)
    while int(gan.step) < last_epoch * steps:
        epoch, done = divmod(int(gan.step), steps)
        gan.fit(
            pipeline.training_batches(
                training,
                batch_size=settings.batch_size,
                seed=settings.seed,
                first_step=int(gan.step),
            ),
            steps_per_epoch=steps - done,
            initial_epoch=epoch,
            # A continued epoch is shorter: it gets a `fit` of its own.
            epochs=epoch + 1 if done else last_epoch,
            validation_data=validation_batches,
            callbacks=list(callbacks),
            verbose=0,
            shuffle=False,  # the batches come in their order; Keras warns that it cannot shuffle
        )


def _build(settings: flags.FlagValues) -> ColorizationGAN:
    return ColorizationGAN(
        run_flags.build_generator(settings, settings.image_size),
        patchgan.build(settings.image_size, conditional=settings.conditional_discriminator),
        pretrain_learning_rate=settings.pretrain_learning_rate,
        generator_learning_rate=settings.generator_learning_rate,
        discriminator_learning_rate=settings.discriminator_learning_rate,
    )


def _train(
    gan: ColorizationGAN,
    run_checkpoint: checkpoint.RunCheckpoint,
    settings: flags.FlagValues,
    training: store.Store,
    validation: store.Store,
) -> int:
    """Trains both phases; returns 0, or 128 + the signal that stopped it."""
    steps = pipeline.steps_per_epoch(len(training), settings.batch_size)
    epochs = settings.pretrain_epochs + settings.epochs
    saver = checkpoint.Saver(run_checkpoint)
    line = ProgressLine(epochs, settings.batch_size, steps)
    log = summaries.TensorBoardLog(f"{settings.workdir}/tensorboard", _grid_batch(validation))
    callbacks = [log, line, saver]
    try:
        with saver:
            for adversarial, last_epoch in ((False, settings.pretrain_epochs), (True, epochs)):
                gan.compile(
                    adversarial=adversarial,
                    pixel_loss=settings.pixel_loss,
                    l1_weight=settings.l1_weight,
                    gan_loss=settings.gan_loss,
                    discriminator_every=settings.discriminator_every,
                )
                _fit(
                    gan, training, validation, settings, last_epoch=last_epoch, callbacks=callbacks
                )
    except checkpoint.Stopped:
        line.close()
        log.write_losses()
        print(
            f"stopped by {saver.stopped_by.name} after step {int(gan.step)}, saved as "
            f"{run_checkpoint.save()}: the same command continues."
        )
        return 128 + saver.stopped_by
    return 0


def open_run(
    settings: flags.FlagValues,
) -> tuple[ColorizationGAN, checkpoint.RunCheckpoint, sources.Source, sources.Source]:
    """The run as it stands: its networks with their weights, its checkpoints, its two splits.

    Whatever is impossible is said here, before any long work.

    Args:
        settings: resolved (see `run_flags.resolve`).

    Raises:
        UserError: the folder belongs to another run, the networks cannot be built or restored, or
            the pictures are not there or fewer than a batch.
    """
    workdir.check(settings)
    with precision.policy(settings.mixed_precision):
        gan = _build(settings)
    run_checkpoint = checkpoint.RunCheckpoint(gan, settings.workdir)
    if not run_checkpoint.restore():
        if settings.init_from:
            checkpoint.restore_generator(gan.generator, settings.init_from)
        elif settings.generator in BACKBONES:
            BACKBONES[settings.generator].load_backbone(gan.generator, settings.backbone_weights)
    training_source = _open(settings, settings.train_split)
    validation_source = _open(settings, settings.eval_split)
    _check_batch(settings, training_source.count)
    return gan, run_checkpoint, training_source, validation_source


def train(settings: flags.FlagValues) -> int:
    """Does all that the command does, as `settings` (see `run_flags.define_run_flags`) say.

    Returns:
        0, or 128 + the signal that stopped training.

    Raises:
        UserError: a setting is impossible, or what it names is not there.
    """
    started = time.monotonic()
    run_flags.resolve(settings)
    keras.utils.set_random_seed(settings.seed)
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    gan, run_checkpoint, training_source, validation_source = open_run(settings)
    if int(gan.step):
        print(f"continuing {settings.workdir} at step {int(gan.step)}")
    workdir.make(settings.workdir)
    print(f"prepared pictures are kept in {settings.store_dir} (--store_dir)")
    training = _prepare(settings, training_source)
    _check_batch(settings, len(training))  # some may have been skipped
    validation = _prepare(settings, validation_source)
    workdir.compare_data(
        settings.workdir,
        {
            "train_split": training.manifest["fingerprint"],
            "eval_split": validation.manifest["fingerprint"],
            **run_flags.frozen_fingerprints(settings),
        },
    )
    workdir.write_flags(settings)
    print(
        f"training {settings.generator} on {len(training)} pictures, validating on "
        f"{len(validation)}, in {settings.mixed_precision}; watch it with\n"
        f"    tensorboard --logdir={settings.workdir}/tensorboard",
        flush=True,
    )
    status = _train(gan, run_checkpoint, settings, training, validation)
    if status:
        return status
    saved_model = f"{settings.workdir}/export"
    export.export_run(settings.workdir, saved_model)
    paths = evaluate.names([saved_model])
    result = evaluate.evaluate_models(
        {name: evaluate.saved_model_predictor(path) for name, path in paths.items()},
        validation.pictures,
        data=evaluate.describe(validation.manifest, paths),
        output_dir=settings.workdir,
    )
    print(evaluate.format_table(result))
    print(
        f"pictures:    {settings.workdir}/grid.png\n"
        f"SavedModel:  {saved_model}\n"
        f"TensorBoard: tensorboard --logdir={settings.workdir}/tensorboard\n"
        f"time:        {(time.monotonic() - started) / 60:.1f} minutes"
    )
    return 0


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    if len(argv) > 1:
        raise UserError(f"train takes only flags, and {argv[1]!r} is none: see --help.")
    return train(flags.FLAGS)


if __name__ == "__main__":
    run_flags.define_run_flags()
    # --help lists the flags of this module; these are as much its own.
    flags.adopt_module_key_flags(run_flags)
    flags.adopt_module_key_flags(data_flags)
    run(main)
