# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Trains several experiments with the same settings and measures them side by side.

    python experiments/ablation/ablation.py --experiments=paper,no_inception \\
        --workdir=runs/ablation [--pretrain_epochs=9 --epochs=6] [any other flag of koalagan.train]

Each experiment is a flagfile in experiments/ and is trained by `koalagan.train` in WORKDIR/NAME.
The same command continues an interrupted experiment and skips finished ones. Then all models are
measured on the same pictures by the protocol of `koalagan.evaluation.metrics`:

    WORKDIR/ablation.md    these tables, beside those of the papers (published.json)
    WORKDIR/metrics.json   the same numbers, with the data, flags and versions that made them
    WORKDIR/grid.png       gray | each model | true

Flags given here override those of every experiment, with three exceptions: a branch that an
experiment leaves out stays out, a generator is spared the options that only others have, and an
experiment with a single phase trains for --pretrain_epochs plus --epochs in that phase.

--measure_dataset=... --measure_split=... measures on other pictures than those that the experiments
are validated on, --beside=koala (or a folder of an exported model) measures other models too, and
--measure_image_size lets each model see the pictures at the size that it was exported for.
"""

import concurrent.futures
import dataclasses
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import experiment_flags
from absl import flags

from koalagan import cli, options
from koalagan.errors import UserError
from koalagan.options import option
from koalagan.training import resolving
from koalagan.training import settings as run_settings
from koalagan.training.settings import RunSettings

# What all experiments must share to be measured on the same pictures.
_PICTURES = ("dataset", "eval_split", "image_size", "resize")


@dataclasses.dataclass(frozen=True)
class ExperimentSettings:
    """Experiments."""

    experiments: str = option(
        None, "Names of flagfiles to train and compare, separated by commas.", required=True
    )
    beside: tuple[str, ...] = option(
        (),
        "Another model to measure, the first one of the table: koala or the folder of an exported "
        "model; repeat the flag for several.",
    )
    measure_dataset: str | None = option(
        None, "Measure on this dataset (default: what the experiments are validated on)."
    )
    measure_split: str = option("validation", "--measure_dataset: its pictures.")
    measure_data_dir: str | None = option(None, "--measure_dataset: its --data_dir.")
    measure_image_size: int | None = option(
        None,
        "Measure on pictures of this side, which each model sees at its own size (default: the "
        "experiments' --image_size, which all see).",
        minimum=8,
    )


@dataclasses.dataclass(frozen=True)
class AblationSettings:
    """The flags of this command: the experiments, and what overrides their own flags."""

    selection: ExperimentSettings = ExperimentSettings()
    training: RunSettings = RunSettings()


def train_in_process(command: Sequence[str]) -> int:
    """Runs `koalagan.train` in a process of its own; returns its exit status.

    Signals that ask this process to stop are passed on: the run saves, and both end.
    """
    process, early = None, []

    def pass_on(number, _):
        number = signal.SIGTERM if number == signal.SIGHUP else number
        if process is None:
            early.append(number)
        else:
            process.send_signal(number)

    former = {
        number: signal.signal(number, pass_on)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN  # nohup ignores SIGHUP
    }
    try:
        # In its own session, so that it receives Ctrl-C once, from here, and not twice.
        process = subprocess.Popen(
            [sys.executable, "-m", "koalagan.train", *command], start_new_session=True
        )
        for number in early:
            process.send_signal(number)
        status = process.wait()
        return status if status >= 0 else 128 - status
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def check(commands: Mapping[str, Sequence[str]], selection: ExperimentSettings) -> None:
    """Finds problems that would stop a run only after hours of training the others.

    Args:
        commands: the arguments of each experiment by name, from `experiment_flags`.
        selection: what the experiments are measured on, and beside which models.

    Raises:
        UserError: an experiment cannot be trained (see `koalagan.run.open_run`), its weights are
            not available, the experiments are not validated on the same pictures, or what they are
            to be measured on or beside is not there.
    """
    import koalagan.run
    from koalagan import precision
    from koalagan.data import sources
    from koalagan.inference import saved_model
    from koalagan.training import networks

    for path in selection.beside:
        saved_model.predictor(saved_model.find(os.path.expanduser(path)))
    if selection.measure_dataset:
        sources.open_source(
            selection.measure_dataset,
            selection.measure_split,
            data_dir=selection.measure_data_dir,
        )
    runs = {
        name: resolving.resolve(run_settings.parse(command), experiment_flags.given(command))
        for name, command in commands.items()
    }
    first_name, first = next((name, options.values(run)) for name, run in runs.items())
    for name, run in runs.items():
        for flag in _PICTURES:
            value = options.values(run)[flag]
            if value != first[flag]:
                raise UserError(
                    f"{name} and {first_name} are validated on different pictures (--{flag}="
                    f"{value} and {first[flag]}): give --{flag} for all."
                )
    for run in runs.values():
        networks.fetch_weights(run.networks)
        networks.frozen_fingerprints(run.networks)  # reads weights that are files
        dtype = precision.resolve(run.optimization.mixed_precision)
        koalagan.run.open_run(options.replace(run, mixed_precision=dtype))


def measure(
    names: Sequence[str], selection: ExperimentSettings, settings: RunSettings
) -> dict[str, Any]:
    """Measures the exports of finished runs on the same pictures; writes metrics.json, grid.png.

    Args:
        names: of the experiments.
        selection: the pictures, and models beside the experiments'.
        settings: the workdir that holds their runs, and where pictures and their store are.

    Returns:
        What `protocol.evaluate_models` returns, and under "experiments", by name, each run's flags,
        trainable parameters and losses of its first and last adversarial epoch.

    Raises:
        UserError: the runs were not validated on the same pictures, or the pictures are gone.
    """
    from koalagan.inference import measuring
    from koalagan.training import run_folder

    workdir = settings.saving.workdir
    runs = {name: run_folder.read_settings(f"{workdir}/{name}") for name in names}
    validated_on = {
        (run_folder.read_data(run.saving.workdir) or {}).get("eval_split") for run in runs.values()
    }
    if len(validated_on) > 1:
        raise UserError(
            f"the runs in {workdir} were not all validated on the same pictures: use one workdir "
            "for each dataset."
        )
    data = runs[names[0]].data
    pictures = {
        "dataset": data.dataset,
        "split": data.eval_split,
        "data_dir": settings.data.data_dir or data.data_dir,
    }
    if selection.measure_dataset:
        pictures = {
            "dataset": selection.measure_dataset,
            "split": selection.measure_split,
            "data_dir": selection.measure_data_dir,
        }
    result = measuring.evaluate_saved_models(
        [*selection.beside, *(f"{workdir}/{name}/export" for name in names)],
        **pictures,
        output_dir=workdir,
        store_dir=settings.data.store_dir,
        image_size=selection.measure_image_size or data.image_size,
        own_size=bool(selection.measure_image_size),
        resize=data.resize,
        on_bad_picture=data.on_bad_picture,
    )
    result["experiments"] = {name: _facts(run) for name, run in runs.items()}
    return result


def _facts(run: RunSettings) -> dict[str, Any]:
    """What the report says of a run: its flags, size and losses."""
    import report

    from koalagan.training import networks, run_folder

    epochs = report.epoch_losses(run.saving.workdir, run.optimization.discriminator_every)
    adversarial = [losses for losses in epochs if "loss_D" in losses]
    generator = networks.build_generator(run.networks, (None, None))
    return {
        "flags": run_folder.kept_values(run),
        "parameters": sum(math.prod(weight.shape) for weight in generator.trainable_weights),
        "losses": {"first": adversarial[0], "last": adversarial[-1]} if adversarial else None,
    }


def ablate(
    names: Sequence[str],
    given: Mapping[str, Any],
    selection: ExperimentSettings,
    settings: RunSettings,
) -> int:
    """Trains and measures the experiments; returns the exit status.

    Args:
        names: of the experiments.
        selection: what they are measured on, and beside which models.
        given: values of the flags that override those of all experiments, by name.
        settings: the workdir that holds the runs, and where pictures and their store are.

    Raises:
        UserError: an experiment cannot be trained or measured.
    """
    workdir = settings.saving.workdir
    commands = {name: experiment_flags.arguments(name, given, workdir) for name in names}
    # In a process of its own: this one would keep the memory of all networks while they train.
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        pool.submit(check, commands, selection).result()
    for number, (name, command) in enumerate(commands.items(), 1):
        print(f"[{number}/{len(names)}] {name}: python -m koalagan.train {' '.join(command)}")
        if os.path.exists(f"{workdir}/{name}/metrics.json"):
            print(f"{name} is finished")
            continue
        sys.stdout.flush()
        if status := train_in_process(command):
            print(f"{name} ended with status {status}: the same command continues it.")
            return status
    result = measure(names, selection, settings)
    measured = {
        name: value
        for name, value in dataclasses.asdict(selection).items()
        if name != "experiments" and value != getattr(ExperimentSettings, name)
    }
    _write_report(result, names, {**given, **measured}, Path(workdir))
    return 0


def _write_report(
    result: Mapping[str, Any], names: Sequence[str], given: Mapping[str, Any], folder: Path
) -> None:
    import report

    from koalagan import files
    from koalagan.evaluation import tables

    published = json.loads(Path(__file__).with_name("published.json").read_text("utf-8"))
    shown = {
        name: value for name, value in given.items() if not name.endswith(("data_dir", "store_dir"))
    }
    command = " ".join(
        [
            "python experiments/ablation/ablation.py",
            f"--experiments={','.join(names)}",
            "--workdir=DIR",
            *experiment_flags.written(shown),
        ]
    )
    files.publish_text(folder / "metrics.json", json.dumps(result, indent=1) + "\n")
    files.publish_text(folder / "ablation.md", report.format_report(result, published, command))
    print(tables.format_table(result))
    for name in ("ablation.md", "metrics.json", "grid.png"):
        print(folder / name)


def main(settings: AblationSettings, _: list[str]) -> int:
    """Runs the command; returns the exit status."""
    training = settings.training
    if not training.saving.workdir:
        raise UserError("--workdir is missing: name the folder for all runs.")
    training = options.replace(training, workdir=os.path.expanduser(training.saving.workdir))
    names = list(dict.fromkeys(filter(None, settings.selection.experiments.split(","))))
    for name in ("measure_split", "measure_data_dir"):
        changed = getattr(settings.selection, name) != getattr(ExperimentSettings, name)
        if changed and not settings.selection.measure_dataset:
            raise UserError(f"--{name} is for --measure_dataset: pass that too, or leave it out.")
    if not names:
        raise UserError("--experiments is empty: choose some of experiments/*.flags.")
    given = {
        name: value
        for name, value in options.values(settings.training).items()
        if flags.FLAGS[name].present and name != "workdir"
    }
    return ablate(names, given, settings.selection, training)


COMMAND = cli.Command(__doc__, AblationSettings, main)

if __name__ == "__main__":
    cli.run(COMMAND)
