# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Training a run from the step where it stands to its end: both phases, and how it stops."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from koalagan import compilation
from koalagan.color import bins
from koalagan.data import batches, color_prior, pipeline
from koalagan.data.store import Store
from koalagan.errors import UserError
from koalagan.models.layers import batch_norm
from koalagan.training import console, divergence, gan, run_folder, saving, summaries
from koalagan.training.checkpoint import RunCheckpoint
from koalagan.training.settings import RunSettings
from koalagan.training.step_callbacks import StepCallbacks

GRID_PICTURES = 8


def train(
    model: gan.ColorizationGAN,
    checkpoint: RunCheckpoint,
    settings: RunSettings,
    training: Store,
    validation: Store,
) -> int:
    """Trains both phases, pretraining and the GAN.

    Args:
        model: as the newest checkpoint left it, or untrained.
        checkpoint: of `model`, where it is saved.
        settings: resolved.
        training, validation: prepared pictures.

    Returns:
        0, or 128 + the number of the signal that stopped training.

    Raises:
        UserError: training diverged, or the run's folder cannot be written.
    """
    optimization, workdir = settings.optimization, settings.saving.workdir
    steps = pipeline.steps_per_epoch(len(training), optimization.batch_size)
    epochs = optimization.pretrain_epochs + optimization.epochs
    state = checkpoint.state
    jit_compile = compilation.resolve(
        optimization.jit_compile,
        deterministic=optimization.deterministic,
        devices=model.devices.count,
    )
    if jit_compile:
        print("XLA compiles the training step before the first step of each phase", flush=True)
    every = settings.saving.log_every
    line = console.ProgressLine(epochs, optimization.batch_size, steps, every)
    callbacks, before_save = [], lambda: None
    if model.devices.is_chief:
        log = summaries.TensorBoardLog(
            f"{workdir}/tensorboard",
            _grid_batch(validation),
            state,
            batch_size=optimization.batch_size,
            flags=run_folder.kept_values(settings),
            steps=int(model.step),
            validated_steps=state.validated * steps,
            every=every,
        )
        callbacks = [line, console.Watch(state, log.say), log]
        before_save = log.flush
    saver = saving.Saver(checkpoint, steps, settings.saving, before_save=before_save)
    saver.set_model(model)
    # The saver comes last: a checkpoint holds what the others noted in the state at its step.
    callbacks.append(saver)
    if optimization.precise_batch_norm and batch_norm.has_statistics(model.result):
        model.statistics_batches = pipeline.first_batches(
            training,
            batch_size=optimization.batch_size,
            count=optimization.precise_batch_norm,
            cropped=bool(settings.data.crop_from),
        )
    phases = ((False, optimization.pretrain_epochs), (True, epochs))
    try:
        with saver:
            class_weights = None
            if int(model.step) < steps * epochs:
                class_weights = _class_weights(settings, training)
            for adversarial, last_epoch in phases:
                model.compile(
                    adversarial=adversarial,
                    pixel_loss=optimization.pixel_loss,
                    l1_weight=optimization.l1_weight,
                    class_weight=optimization.class_weight,
                    class_weights=class_weights,
                    gan_loss=optimization.gan_loss,
                    discriminator_every=optimization.discriminator_every,
                    learning_rate_schedule=optimization.learning_rate_schedule,
                    steps=steps * (optimization.epochs if adversarial else last_epoch),
                    jit_compile=jit_compile,
                )
                # Only the last phase ends early: the generator of pretraining is not a result yet.
                is_last = last_epoch == epochs
                saver.patience = settings.saving.early_stopping if is_last else 0
                train_phase(
                    model,
                    training,
                    validation,
                    batch_size=optimization.batch_size,
                    seed=optimization.seed,
                    last_epoch=last_epoch,
                    smallest_crop=settings.data.image_size if settings.data.crop_from else 0,
                    saver=saver,
                    callbacks=callbacks,
                )
                if is_last:
                    break
            if saver.stopping():  # after the last step
                raise saving.Stopped
    except saving.Stopped:
        line.close()
        print(
            f"stopped by {saver.stopped_by.name} after step {int(model.step)}, saved in "
            f"{workdir}/checkpoints: the same command continues."
        )
        return 128 + saver.stopped_by
    except divergence.NotFinite as error:
        line.close()
        raise _diverged(error, training, settings) from error
    if saver.out_of_patience:
        best = state.best
        print(
            f"stopped after epoch {state.validated}: --early_stopping={saver.patience} epochs "
            f"without a better {settings.saving.best_metric} than {best.value:.4g} of epoch "
            f"{best.epoch}."
        )
    return 0


def train_phase(
    model: gan.ColorizationGAN,
    training: Store,
    validation: Store,
    *,
    batch_size: int,
    seed: int,
    last_epoch: int,
    smallest_crop: int,
    saver: saving.Saver,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Trains the compiled phase from the current step to the end of epoch `last_epoch`, from 1.

    Args:
        smallest_crop: see `pipeline.training_batches`.
        callbacks: in the order in which they are called; `saver` is the last.
    """
    assert callbacks[-1] is saver, "the saver must come after all that write to the run's state"
    steps = pipeline.steps_per_epoch(len(training), batch_size)
    validation_batches = pipeline.evaluation_batches(validation, batch_size=batch_size)
    done = int(model.step)
    if done <= last_epoch * steps and saver.epoch_unvalidated:
        validate_finished_epoch(model, validation_batches, done // steps - 1, callbacks)
    while int(model.step) < last_epoch * steps and not saver.out_of_patience:
        epoch, done = divmod(int(model.step), steps)
        model.fit(
            pipeline.training_batches(
                training,
                batch_size=batch_size,
                seed=seed,
                first_step=int(model.step),
                smallest_crop=smallest_crop,
                part=(model.devices.worker, model.devices.workers),
            ),
            steps_per_epoch=steps - done,
            initial_epoch=epoch,
            # A continued epoch is shorter: it gets a `fit` of its own.
            epochs=epoch + 1 if done else last_epoch,
            validation_data=validation_batches,
            callbacks=StepCallbacks(list(callbacks), add_history=True, model=model),
            verbose=0,
            shuffle=False,  # the batches are shuffled already; Keras warns that it cannot
        )


def validate_finished_epoch(
    model: gan.ColorizationGAN,
    validation: tf.data.Dataset,
    epoch: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Validates epoch `epoch`, from 0, of a run that was stopped after its last step."""
    everyone = StepCallbacks(list(callbacks), model=model)
    model.reset_metrics()
    everyone.on_epoch_begin(epoch)
    logs = {name: float(mean.result()) for name, mean in model.current_losses().items()}
    values = model.evaluate(validation, verbose=0, return_dict=True, callbacks=everyone)
    everyone.on_epoch_end(epoch, {**logs, **{f"val_{name}": v for name, v in values.items()}})


def _grid_batch(pictures: Store) -> dict:
    """The first few validation pictures, the same after every epoch."""
    first = pipeline.evaluation_batches(pictures, batch_size=min(GRID_PICTURES, len(pictures)))
    return batches.for_networks(next(iter(first)))


def _class_weights(settings: RunSettings, training: Store) -> np.ndarray | None:
    """How much a pixel counts in the cross-entropy of classes by its color; None for all alike."""
    share = settings.optimization.rebalancing_lambda
    if settings.networks.head != "classification" or share == 1.0:
        return None
    return bins.rebalancing(bins.smoothed_prior(color_prior.counts(training)), share)


def _diverged(error: divergence.NotFinite, training: Store, settings: RunSettings) -> UserError:
    """What happened, on which pictures, and what to do."""
    rows = pipeline.training_rows(
        error.step,
        len(training),
        batch_size=settings.optimization.batch_size,
        seed=settings.optimization.seed,
    )
    names = training.ids()
    pictures = ", ".join(f"{row} ({names[row]})" for row in rows)
    return UserError(
        f"training stopped, because {error}, on the pictures in rows {pictures} of "
        f"{training.path}; the newest checkpoint in {settings.saving.workdir} is from before that "
        "step: look at these pictures, or start a new run with lower learning rates or in float32."
    )
