# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Exports of what was trained: of runs, and of the model that comes along."""

import os

import keras

from koalagan import options, precision
from koalagan.errors import UserError
from koalagan.exporting import model_card, savedmodel
from koalagan.exporting.settings import ExportSettings
from koalagan.inference import pretrained, saved_model
from koalagan.training import networks, run_folder
from koalagan.training.checkpoint import restore_generator
from koalagan.training.settings import RunSettings

# Settings of the run that the model's facts repeat.
DESCRIBED = (
    "generator",
    "embedding",
    "embedding_weights",
    "segmentation_weights",
    "backbone_weights",
    "head",
    "temperature",
    "dropout_at_inference",
    "dataset",
    "train_split",
)


def export_run(workdir: str, output_dir: str, settings: ExportSettings | None = None) -> None:
    """Exports the generator of a run's checkpoint, with the frozen networks that it was trained by.

    Args:
        workdir: the run's folder, as `koalagan.train` writes it.
        output_dir: the folder to write.
        settings: which checkpoint, and how to export it.

    Raises:
        UserError: the run has no such checkpoint, a frozen network's weights cannot be read or have
            changed, the generator has no dropout to keep on, `output_dir` cannot be written, or the
            format cannot hold this model.
    """
    settings = settings or ExportSettings()
    savedmodel.check_format(settings)
    trained = exported = run_folder.read_settings(workdir)
    if settings.dropout_at_inference:
        exported = options.replace(trained, dropout_at_inference=True)
    best = settings.checkpoint == "best"
    generator = build_generator(exported)
    restore_generator(generator, workdir, best=best)
    kept = run_folder.read_data(workdir)
    for name, fingerprint in networks.frozen_fingerprints(exported.networks).items():
        if kept is not None and kept.get(name) != fingerprint:
            weights = options.values(exported)[name]
            raise UserError(
                f"the weights of --{name}={weights} are not those that {workdir} was trained with: "
                "restore them."
            )
    output_dir = os.path.expanduser(output_dir)
    export_generator(generator, exported, output_dir, settings)
    # The run's evaluation is of its newest weights in float32, with the run's own settings.
    is_measured = not (best or settings.dropout_at_inference) and settings.export_dtype == "float32"
    model_card.write(
        output_dir,
        run_folder.name(workdir),
        run_folder.kept_values(trained),
        run_folder.read_metrics(workdir) if is_measured else None,
    )


def export_pretrained(output_dir: str, settings: ExportSettings | None = None) -> None:
    """Exports the model that comes along.

    Args:
        output_dir: the folder to write.
        settings: how to export it.

    Raises:
        UserError: it has no such checkpoint and no dropout, `output_dir` cannot be written, or the
            format cannot hold it.
    """
    settings = settings or ExportSettings()
    for name in ("checkpoint", "dropout_at_inference", "frozen_inputs"):
        if getattr(settings, name) != getattr(ExportSettings, name):
            raise UserError(
                f"--{name} is for the export of a run: the model that comes with koalagan has "
                "neither checkpoints nor dropout nor frozen networks; leave the flag out, or pass "
                "--workdir."
            )
    card = pretrained.card()
    facts = dict(card["facts"])
    image_size = tuple(facts.pop("image_size"))
    for written_again in ("koalagan", "tensorflow", "weights"):
        facts.pop(written_again, None)
    output_dir = os.path.expanduser(output_dir)
    savedmodel.export(pretrained.generator(), {}, output_dir, image_size, settings, metadata=facts)
    # It was measured in float32; with the float16 kernels that it comes with, no figure of its
    # table changes by more than 0.01.
    is_measured = settings.export_dtype != "int8"
    model_card.write(
        output_dir, options.PRETRAINED, card["flags"], card["evaluation"] if is_measured else None
    )


def export_generator(
    generator: keras.Model,
    settings: RunSettings,
    output_dir: str,
    export_settings: ExportSettings | None = None,
) -> None:
    """Exports a generator with the frozen networks of its run.

    Args:
        generator: in float32, for any height and width.
        settings: of its run, resolved.
        output_dir: the folder to write.
        export_settings: how.

    Raises:
        UserError: a frozen network's weights cannot be read, or the model cannot be written.
    """
    export_settings = export_settings or ExportSettings()
    outside = export_settings.frozen_inputs
    facts = options.values(settings)
    savedmodel.export(
        generator,
        {} if outside else networks.load_frozen(settings.networks),
        output_dir,
        (settings.data.image_size, settings.data.image_size),
        export_settings,
        given=tuple(networks.frozen_weights(settings.networks)) if outside else (),
        metadata={**{name: facts[name] for name in DESCRIBED}, **started_from(settings)},
    )


def started_from(settings: RunSettings) -> dict[str, str]:
    """What a run's --init_from adds to the facts: the model that it started from, and its license.

    A model that was made from another keeps the other's license.
    """
    origin = settings.networks.init_from
    if not origin:
        return {}
    known = saved_model.facts(saved_model.find(origin))
    licenses = {"license": known["license"]} if "license" in known else {}
    return {"started_from": os.path.basename(os.path.abspath(origin)), **licenses}


def build_generator(settings: RunSettings) -> keras.Model:
    """The run's generator, untrained, for any size."""
    # In float32 whatever the run computed in: its weights are float32.
    with precision.policy("float32"):
        return networks.build_generator(settings.networks, (None, None))
