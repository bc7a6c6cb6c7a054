# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Trains a colorization model: `python -m koalagan.train --flagfile=experiments/NAME.flags`.

Prepares the pictures (once), pretrains the generator, trains it against the discriminator, exports
a SavedModel and evaluates it. The same command continues a run that was stopped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from absl import flags

from koalagan import evaluate, export, lazy, precision
from koalagan.data import flags as data_flags
from koalagan.data import sources, store
from koalagan.errors import UserError, run
from koalagan.exporting import model_card
from koalagan.inference import saved_model
from koalagan.models import BACKBONES
from koalagan.training import run_flags, run_folder

# What asks for TensorFlow is imported when it is used: flags and mistakes in them need not wait.
keras = lazy.module("keras")
tf = lazy.module("tensorflow")
console = lazy.module("koalagan.training.console")
checkpoint = lazy.module("koalagan.training.checkpoint")
gan = lazy.module("koalagan.training.gan")
saving = lazy.module("koalagan.training.saving")
summaries = lazy.module("koalagan.training.summaries")
pipeline = lazy.module("koalagan.data.pipeline")
patchgan = lazy.module("koalagan.models.patchgan")

GRID_PICTURES = 8


def open_split(settings: flags.FlagValues, split: str) -> sources.Source:
    """The pictures of a split, of the data that the run's flags name."""
    return sources.open_source(
        settings.dataset, split, data_dir=settings.data_dir, download=settings.download
    )


def check_batch(settings: flags.FlagValues, pictures: int) -> None:
    """Raises UserError where the training pictures do not fill a batch."""
    if settings.batch_size > pictures:
        raise UserError(
            f"--batch_size={settings.batch_size} is larger than the {pictures} pictures of "
            f"{settings.train_split}: lower it, or train on more pictures."
        )


def prepare(settings: flags.FlagValues, source: sources.Source) -> store.Store:
    """The store of a split, with what the run's frozen networks say; made where it is not there."""
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
    model: gan.ColorizationGAN,
    training: store.Store,
    validation: store.Store,
    settings: flags.FlagValues,
    *,
    last_epoch: int,
    saver: saving.Saver,
    listeners: Sequence[keras.callbacks.Callback],
) -> None:
    """Trains the compiled phase from the current step to the end of `last_epoch` (from 1)."""
    steps = pipeline.steps_per_epoch(len(training), settings.batch_size)
    validation_batches = pipeline.evaluation_batches(validation, batch_size=settings.batch_size)
    done = int(model.step)
    if done <= last_epoch * steps and saver.epoch_unvalidated:
        _validate(model, validation_batches, done // steps - 1, listeners)
    while int(model.step) < last_epoch * steps and not saver.out_of_patience:
        epoch, done = divmod(int(model.step), steps)
        model.fit(
            pipeline.training_batches(
                training,
                batch_size=settings.batch_size,
                seed=settings.seed,
                first_step=int(model.step),
            ),
            steps_per_epoch=steps - done,
            initial_epoch=epoch,
            # A continued epoch is shorter: it gets a `fit` of its own.
            epochs=epoch + 1 if done else last_epoch,
            validation_data=validation_batches,
            callbacks=list(listeners),
            verbose=0,
            shuffle=False,  # the batches come in their order; Keras warns that it cannot shuffle
        )


def _validate(
    model: gan.ColorizationGAN,
    batches: tf.data.Dataset,
    epoch: int,
    listeners: Sequence[keras.callbacks.Callback],
) -> None:
    """What was left of an epoch (from 0) when the run was stopped: validation, and its end."""
    everyone = keras.callbacks.CallbackList(list(listeners), model=model)
    model.reset_metrics()
    everyone.on_epoch_begin(epoch)
    logs = {name: float(mean.result()) for name, mean in model.current_losses().items()}
    values = model.evaluate(batches, verbose=0, return_dict=True, callbacks=everyone)
    everyone.on_epoch_end(epoch, {**logs, **{f"val_{name}": v for name, v in values.items()}})


def build(settings: flags.FlagValues) -> gan.ColorizationGAN:
    """The networks and optimizers that resolved flags describe, untrained."""
    return gan.ColorizationGAN(
        run_flags.build_generator(settings, settings.image_size),
        patchgan.build(settings.image_size, conditional=settings.conditional_discriminator),
        pretrain_learning_rate=settings.pretrain_learning_rate,
        generator_learning_rate=settings.generator_learning_rate,
        discriminator_learning_rate=settings.discriminator_learning_rate,
    )


def _train(
    model: gan.ColorizationGAN,
    run_checkpoint: checkpoint.RunCheckpoint,
    settings: flags.FlagValues,
    training: store.Store,
    validation: store.Store,
) -> int:
    """Trains both phases; returns 0, or 128 + the signal that stopped it."""
    steps = pipeline.steps_per_epoch(len(training), settings.batch_size)
    epochs = settings.pretrain_epochs + settings.epochs
    progress = run_checkpoint.progress
    line = console.ProgressLine(epochs, settings.batch_size, steps)
    log = summaries.TensorBoardLog(
        f"{settings.workdir}/tensorboard",
        _grid_batch(validation),
        progress,
        batch_size=settings.batch_size,
        flags=run_folder.kept_values(settings),
        steps=int(model.step),
        validated_steps=progress.get("validated", 0) * steps,
    )
    saver = saving.Saver(
        run_checkpoint,
        steps,
        every_steps=settings.checkpoint_every_steps,
        every_minutes=settings.checkpoint_every_minutes,
        check_every=settings.check_every,
        best_metric=settings.best_metric,
        before_save=log.flush,
    )
    saver.set_model(model)
    watch = console.Watch(progress, log.say)
    try:
        with saver:
            for adversarial, last_epoch in ((False, settings.pretrain_epochs), (True, epochs)):
                model.compile(
                    adversarial=adversarial,
                    pixel_loss=settings.pixel_loss,
                    l1_weight=settings.l1_weight,
                    gan_loss=settings.gan_loss,
                    discriminator_every=settings.discriminator_every,
                )
                # The generator that pretraining ends with is not a result yet.
                is_last = last_epoch == epochs
                saver.patience = settings.early_stopping if is_last else 0
                _fit(
                    model,
                    training,
                    validation,
                    settings,
                    last_epoch=last_epoch,
                    saver=saver,
                    listeners=[line, watch, log, saver],
                )
                if is_last:
                    break
            if saver.stopped_by:  # after the last step
                raise saving.Stopped
    except saving.Stopped:
        line.close()
        print(
            f"stopped by {saver.stopped_by.name} after step {int(model.step)}, saved in "
            f"{settings.workdir}/checkpoints: the same command continues."
        )
        return 128 + saver.stopped_by
    except gan.NotFinite as error:
        line.close()
        raise _went_wrong(error, training, settings) from error
    if saver.out_of_patience:
        best = progress["best"]
        print(
            f"stopped after epoch {progress['validated']}: --early_stopping={saver.patience} "
            f"epochs without a better {settings.best_metric} than {best['value']:.4g} of epoch "
            f"{best['epoch']}."
        )
    return 0


def _went_wrong(
    error: gan.NotFinite, training: store.Store, settings: flags.FlagValues
) -> UserError:
    """What a user can do about losses that are no numbers, and what they came from."""
    rows = pipeline.training_rows(
        error.step, len(training), batch_size=settings.batch_size, seed=settings.seed
    )
    names = training.ids()
    pictures = ", ".join(f"{row} ({names[row]})" for row in rows)
    return UserError(
        f"training stopped, because {error}, on the pictures in rows {pictures} of "
        f"{training.path}; the newest checkpoint in {settings.workdir} is from before it: look at "
        "these pictures, or start anew with lower learning rates or in float32."
    )


def open_run(
    settings: flags.FlagValues,
) -> tuple[gan.ColorizationGAN, checkpoint.RunCheckpoint, sources.Source, sources.Source]:
    """The run as it stands: its networks with their weights, its checkpoints, its two splits.

    Whatever is impossible is said here, before any long work.

    Args:
        settings: resolved (see `run_flags.resolve`).

    Raises:
        UserError: the folder belongs to another run, the networks cannot be built or restored, or
            the pictures are not there or fewer than a batch.
    """
    run_folder.check(settings)
    with precision.policy(settings.mixed_precision):
        model = build(settings)
    run_checkpoint = checkpoint.RunCheckpoint(
        model, settings.workdir, keep=settings.keep_checkpoints
    )
    if not run_checkpoint.restore():
        if settings.init_from:
            checkpoint.restore_generator(model.generator, settings.init_from)
        elif settings.generator in BACKBONES:
            BACKBONES[settings.generator].load_backbone(model.generator, settings.backbone_weights)
    training_source = open_split(settings, settings.train_split)
    validation_source = open_split(settings, settings.eval_split)
    check_batch(settings, training_source.count)
    return model, run_checkpoint, training_source, validation_source


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
    run_folder.make(settings.workdir)
    # Before anything of the run is read: another process would go on with it meanwhile.
    with run_folder.alone(settings.workdir):
        model, run_checkpoint, training_source, validation_source = open_run(settings)
        if int(model.step):
            print(f"continuing {settings.workdir} at step {int(model.step)}")
        return _run(settings, model, run_checkpoint, training_source, validation_source, started)


def _run(
    settings: flags.FlagValues,
    model: gan.ColorizationGAN,
    run_checkpoint: checkpoint.RunCheckpoint,
    training_source: sources.Source,
    validation_source: sources.Source,
    started: float,
) -> int:
    """Prepares, trains, exports and measures, where nobody else works in the folder."""
    run_folder.tidy(settings.workdir)
    run_checkpoint.tidy()
    run_checkpoint.drop_former_best()
    print(f"prepared pictures are kept in {settings.store_dir} (--store_dir)")
    training = prepare(settings, training_source)
    check_batch(settings, len(training))  # some may have been skipped
    validation = prepare(settings, validation_source)
    run_folder.compare_data(
        settings.workdir,
        {
            "train_split": training.manifest["fingerprint"],
            "eval_split": validation.manifest["fingerprint"],
            **run_flags.frozen_fingerprints(settings),
        },
    )
    run_folder.write_flags(settings)
    print(
        f"training {settings.generator} on {len(training)} pictures, validating on "
        f"{len(validation)}, in {settings.mixed_precision}; watch it with\n"
        f"    tensorboard --logdir={settings.workdir}/tensorboard",
        flush=True,
    )
    status = _train(model, run_checkpoint, settings, training, validation)
    if status:
        return status
    exported = f"{settings.workdir}/export"
    export.export_run(settings.workdir, exported)
    paths = evaluate.names([exported])
    result = evaluate.evaluate_models(
        {name: saved_model.predictor(path) for name, path in paths.items()},
        validation.pictures,
        data=evaluate.describe(validation.manifest, paths),
        output_dir=settings.workdir,
    )
    model_card.write(exported, settings, result)
    summaries.write_result(
        f"{settings.workdir}/tensorboard",
        os.path.basename(os.path.abspath(settings.workdir)),
        run_folder.kept_values(settings),
        result["rows"][1],
    )
    print(evaluate.format_table(result))
    print(
        f"pictures:    {settings.workdir}/grid.png\n"
        f"SavedModel:  {exported}\n"
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
