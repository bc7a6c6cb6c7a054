# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The whole chain behind the command `train`: prepare, train, export, measure.

This composes the rooms; the work is done in them.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from koalagan import compilation, distribution, files, options, precision
from koalagan.data import sources, store, store_parts
from koalagan.errors import UserError
from koalagan.evaluation import protocol, tables
from koalagan.exporting import model_card, trained
from koalagan.inference import measuring, pretrained, saved_model
from koalagan.training import loop, networks, resolving, run_folder, summaries
from koalagan.training.checkpoint import RunCheckpoint, restore_generator
from koalagan.training.gan import ColorizationGAN
from koalagan.training.settings import DataSettings, RunSettings


def train(settings: RunSettings, given: Sequence[str] = ()) -> int:
    """Prepares the pictures, trains, exports and measures: all that `koalagan.train` does.

    Args:
        settings: as the flags give them.
        given: names of the flags that the user gave (see `resolving.resolve`).

    Returns:
        0, or 128 + the number of the signal that stopped training.

    Raises:
        UserError: a setting is impossible, or what it names does not exist.
    """
    started = time.monotonic()
    settings = resolving.resolve(settings, given)
    devices = distribution.choose(settings.optimization.strategy)
    keras.utils.set_random_seed(settings.optimization.seed)
    if settings.optimization.deterministic:
        tf.config.experimental.enable_op_determinism()
    workdir = settings.saving.workdir
    again = f"the run in {workdir} continues from its newest checkpoint"
    with distribution.together(devices, again), _as_worker(devices, workdir):
        settings = options.replace(settings, mixed_precision=_choose_dtype(settings))
        model, checkpoint, training_source, validation_source = open_run(settings, devices)
        _check_same_step(model, workdir)
        if devices.count > 1:
            print(f"training on {devices.count} devices")
        if int(model.step):
            print(f"continuing {workdir} at step {int(model.step)}")
        if devices.is_chief:
            files.delete_unfinished(workdir)
        checkpoint.tidy()
        checkpoint.drop_former_best()
        prepare_parts(settings, training_source, devices, settings.data.crop_from)
        prepare_parts(settings, validation_source, devices)
        if not devices.is_chief:
            devices.wait()  # until the chief has prepared what is missing
        training, validation = prepare_run(
            settings, training_source, validation_source, writes=devices.is_chief
        )
        if devices.is_chief:
            devices.wait()
        if status := loop.train(model, checkpoint, settings, training, validation):
            return status
        if devices.is_chief:
            result = export_and_measure(model.result, settings, validation)
        devices.wait()
        if not devices.is_chief:
            return 0
    print(tables.format_summary(result))
    print(
        f"all figures: {workdir}/table.md\n"
        f"pictures:    {workdir}/grid.png\n"
        f"SavedModel:  {workdir}/export\n"
        f"TensorBoard: tensorboard --logdir={workdir}/tensorboard\n"
        f"time:        {(time.monotonic() - started) / 60:.1f} minutes"
    )
    return 0


@contextlib.contextmanager
def _as_worker(devices: distribution.Devices, workdir: str) -> Iterator[None]:
    """Holds the run's folder as the chief; another worker neither writes there nor speaks.

    Raises:
        UserError: another process is training there, or the folder cannot be written.
    """
    if devices.is_chief:
        run_folder.make(workdir)
        # Before anything of the run is read: another process could be changing it.
        with run_folder.locked(workdir):
            yield
        return
    print(f"worker {devices.worker + 1} of {devices.workers}: the first one tells what is done")
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _check_same_step(model: ColorizationGAN, workdir: str) -> None:
    """Raises UserError on all workers where they do not continue from the same step."""
    (chiefs,) = model.devices.from_chief([float(model.step)])
    if model.devices.any_of(int(int(model.step) != chiefs)):
        raise UserError(
            f"the workers do not see the same checkpoints in {workdir}, which the first one would "
            f"continue at step {int(chiefs)}: name a --workdir in a file system that all of them "
            "share."
        )


def _choose_dtype(settings: RunSettings) -> str:
    """The compute dtype of a run: where it is "auto", that which the run began with, if it did."""
    choice = settings.optimization.mixed_precision
    dtype = precision.resolve(choice)
    if choice != "auto" or not run_folder.exists(settings.saving.workdir):
        return dtype
    kept = run_folder.read_settings(settings.saving.workdir).optimization.mixed_precision
    if kept != dtype:
        print(f"computing in {kept}, as the run began; a new run would choose {dtype} here")
    return kept


def open_run(
    settings: RunSettings, devices: distribution.Devices | None = None
) -> tuple[ColorizationGAN, RunCheckpoint, sources.Source, sources.Source]:
    """The run as it stands: its networks with their weights, its checkpoints, its two splits.

    Whatever is impossible is found here, before any long work.

    Args:
        settings: resolved.
        devices: that train; None for one.

    Raises:
        UserError: the folder belongs to another run, the networks cannot be built or restored, the
            pictures are missing or fewer than a batch, or the devices cannot share a batch.
    """
    devices = devices or distribution.Devices()
    optimization = settings.optimization
    devices.share(optimization.batch_size)
    compilation.resolve(
        optimization.jit_compile, deterministic=optimization.deterministic, devices=devices.count
    )
    run_folder.check(settings)
    with precision.policy(optimization.mixed_precision):
        model = networks.build_gan(settings, devices)
    saving = settings.saving
    checkpoint = RunCheckpoint(model, saving.workdir, keep=saving.keep_checkpoints)
    if not checkpoint.restore():
        if settings.networks.init_from == options.PRETRAINED:
            pretrained.restore(model.generator)
        elif settings.networks.init_from:
            restore_generator(model.generator, settings.networks.init_from)
        else:
            networks.load_backbone(model.generator, settings.networks)
        if model.average:
            model.average.restart()
    training_source = open_split(settings.data, settings.data.train_split)
    validation_source = open_split(settings.data, settings.data.eval_split)
    check_batch(settings, training_source.count)
    return model, checkpoint, training_source, validation_source


def open_split(data: DataSettings, split: str) -> sources.Source:
    """The pictures of a split of the run's dataset."""
    return sources.open_source(data.dataset, split, data_dir=data.data_dir, download=data.download)


def check_batch(settings: RunSettings, pictures: int) -> None:
    """Raises UserError where the training pictures do not fill a batch."""
    batch_size = settings.optimization.batch_size
    if batch_size > pictures:
        raise UserError(
            f"--batch_size={batch_size} is larger than the {pictures} pictures of "
            f"{settings.data.train_split}: lower it, or train on more pictures."
        )


def prepare_run(
    settings: RunSettings,
    training_source: sources.Source,
    validation_source: sources.Source,
    *,
    writes: bool = True,
) -> tuple[store.Store, store.Store]:
    """The prepared splits of a run, whose settings and data are noted in its folder.

    Args:
        writes: False where another worker has noted them.

    Raises:
        UserError: a split cannot be prepared, or the data is not what the run began with.
    """
    data, workdir = settings.data, settings.saving.workdir
    print(f"prepared pictures are kept in {data.store_dir} (--store_dir)")
    training = prepare_split(settings, training_source, settings.data.crop_from)
    check_batch(settings, len(training))  # some may have been skipped
    validation = prepare_split(settings, validation_source)
    if writes:
        run_folder.compare_data(
            workdir,
            {
                "train_split": training.manifest["fingerprint"],
                "eval_split": validation.manifest["fingerprint"],
                **networks.frozen_fingerprints(settings.networks),
            },
        )
        run_folder.write_settings(settings)
    print(
        f"training {settings.networks.generator} on {len(training)} pictures, validating on "
        f"{len(validation)}, in {settings.optimization.mixed_precision}; watch it with\n"
        f"    tensorboard --logdir={workdir}/tensorboard",
        flush=True,
    )
    return training, validation


def prepare_parts(
    settings: RunSettings, source: sources.Source, devices: distribution.Devices, side: int = 0
) -> None:
    """Prepares a split that is not there yet, each worker a part of it; the chief joins them.

    Args:
        side: as that of `prepare_split`.
    """
    if devices.workers == 1 or source.count < devices.workers:
        return
    data = settings.data
    side = side or data.image_size
    places = {"store_dir": data.store_dir, "image_size": (side, side), "resize": data.resize}
    missing = not store.place(source, *places.values()).path.exists()
    # The chief decides: it may have begun to write what another one sees already.
    if not devices.from_chief([float(missing)])[0]:
        return
    parts = [store_parts.part(source, n, devices.workers) for n in range(devices.workers)]
    prepare_split(settings, parts[devices.worker], side)
    devices.wait()
    if devices.is_chief:
        prepared = [prepare_split(settings, one, side) for one in parts]
        store_parts.join(prepared, source, **places)
    devices.wait()


def prepare_split(settings: RunSettings, source: sources.Source, side: int = 0) -> store.Store:
    """The store of a split, with the outputs of the run's frozen networks.

    Args:
        side: of the pictures; 0 for that of the run's networks.
    """
    data = settings.data
    side = side or data.image_size
    return store.prepare(
        source,
        store_dir=data.store_dir,
        image_size=(side, side),
        resize=data.resize,
        on_bad_picture=data.on_bad_picture,
        embedding=settings.networks.embedding,
        embedding_weights=settings.networks.embedding_weights,
        segmentation_weights=settings.networks.segmentation_weights,
        frozen_precision=settings.networks.frozen_precision,
    )


def export_and_measure(
    network: keras.Model, settings: RunSettings, validation: store.Store
) -> dict[str, Any]:
    """Exports the trained generator into the run's folder, measures the export, writes its card.

    Returns:
        The content of metrics.json.
    """
    workdir = settings.saving.workdir
    exported = f"{workdir}/export"
    generator = trained.build_generator(settings)
    for variable, value in zip(generator.variables, network.variables, strict=True):
        variable.assign(value)
    trained.export_generator(generator, settings, exported)
    paths = saved_model.names([exported])
    result = protocol.evaluate_models(
        {name: saved_model.predictor(path) for name, path in paths.items()},
        validation.pictures,
        data=measuring.describe(validation.manifest, paths),
        output_dir=workdir,
        ids=validation.ids(),
    )
    name = run_folder.name(workdir)
    kept = run_folder.kept_values(settings)
    model_card.write(exported, name, kept, result)
    summaries.write_result(f"{workdir}/tensorboard", name, kept, result["rows"][1])
    return result
