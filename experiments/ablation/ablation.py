# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Trains several experiments alike and measures them side by side.

    python experiments/ablation.py --experiments=paper,no_inception --workdir=runs/ablation \\
        [--pretrain_epochs=9 --epochs=6] [any other flag of koalagan.train, for all of them]

Each experiment is a flagfile in experiments/ and is trained by `koalagan.train` in
WORKDIR/NAME; the same command continues what was interrupted and does not train again what is
finished. Then all are measured on the same pictures by the protocol of `koalagan.evaluation.metrics`:

    WORKDIR/ablation.md    our tables, and the papers' (experiments/published.json) beside them
    WORKDIR/metrics.json   the same numbers, with the data, flags and versions that made them
    WORKDIR/grid.png       grey | each system | true

A flag given here goes to every experiment and replaces its own, with two exceptions: a branch that
an experiment leaves out stays out, and an experiment of one phase gives all passes,
--pretrain_epochs and --epochs together, to its own phase.
"""

import concurrent.futures
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

from ablation_report import epoch_losses, format_report
from absl import flags

from koalagan import errors, evaluate, files, train
from koalagan.data import flags as data_flags
from koalagan.data import sources, store
from koalagan.errors import UserError
from koalagan.inference import saved_model
from koalagan.training import run_flags, run_folder

_FOLDER = "experiments"
# What all experiments must share to be measured on the same pictures.
_PICTURES = ("dataset", "eval_split", "image_size", "resize")


def experiment_flags(name: str) -> flags.FlagValues:
    """The flags of experiments/NAME.flags.

    Raises:
        UserError: there is no such experiment.
    """
    path = Path(_FOLDER) / f"{name}.flags"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in Path(_FOLDER).glob("*.flags")))
        raise UserError(
            f"there is no {path}: name experiments among {known or 'none'}, and run this from the "
            "repository's root."
        )
    return run_flags.parse([f"--flagfile={path}"])


def arguments(name: str, given: Mapping[str, flags.Flag], folder: str) -> list[str]:
    """The arguments of `koalagan.train` for one experiment.

    Args:
        name: of the experiment.
        given: the flags that go to all experiments.
        folder: the ablation's; the run gets a folder of its own in it.

    Raises:
        UserError: there is no such experiment, or its number of passes is not said.
    """
    own = experiment_flags(name)
    own.workdir = f"{folder}/{name}"
    run_flags.resolve(own)
    passes = {
        phase: given[phase].value for phase in ("pretrain_epochs", "epochs") if phase in given
    }
    if len(passes) == 1:
        raise UserError(
            "--pretrain_epochs and --epochs shorten all alike only when both are given."
        )
    overrides = []
    for flag in given.values():
        if flag.name in passes or (
            flag.name.endswith("_weights") and own[flag.name].value == "none"
        ):
            continue
        overrides.append(flag.serialize())
    if passes:
        alone = own.pretrain_epochs == 0 or own.epochs == 0
        for phase, count in passes.items():
            if alone:
                count = sum(passes.values()) if own[phase].value else 0
            overrides.append(f"--{phase}={count}")
    return [f"--flagfile={_FOLDER}/{name}.flags", *overrides, f"--workdir={own.workdir}"]


def train_in_process(command: Sequence[str]) -> int:
    """Runs `koalagan.train` in a process of its own; returns its exit status.

    What asks this process to stop is passed on: the run saves, and both end.
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
        if signal.getsignal(number) != signal.SIG_IGN  # nohup has SIGHUP ignored
    }
    try:
        # In a session of its own, so that a Ctrl-C reaches it once, from here, and not twice.
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


def check(commands: Mapping[str, Sequence[str]]) -> None:
    """Finds what would stop one of the runs after the first hours of the others.

    Args:
        commands: their arguments by name, as `arguments` gives them.

    Raises:
        UserError: one of them cannot be trained (see `train.open_run`), weights cannot be had, or
            they are not to be validated on the same pictures.
    """
    runs = {name: run_flags.parse(command) for name, command in commands.items()}
    for run in runs.values():
        run_flags.resolve(run)
    first, *_ = runs.values()
    for name, run in runs.items():
        for flag in _PICTURES:
            if run[flag].value != first[flag].value:
                raise UserError(
                    f"{name} is validated on other pictures than {next(iter(runs))} (--{flag}="
                    f"{run[flag].value}, not {first[flag].value}): give --{flag} for all."
                )
    for run in runs.values():
        run_flags.fetch_weights(run)
        run_flags.frozen_fingerprints(run)  # reads weights that are files
        train.open_run(run)


def measure(names: Sequence[str], given: flags.FlagValues) -> dict[str, Any]:
    """Measures the exports of finished runs on one set of pictures; writes metrics.json, grid.png.

    Returns:
        What `evaluate.evaluate_models` returns, and under "experiments", by name, each run's flags,
        trainable parameters and losses of its first and last adversarial epoch.

    Raises:
        UserError: the runs were not validated on the same pictures, or they are gone.
    """
    runs = {name: run_folder.read_flags(f"{given.workdir}/{name}") for name in names}
    first, *_ = runs.values()
    pictures = {
        (run_folder.read_data(run.workdir) or {}).get("eval_split") for run in runs.values()
    }
    if len(pictures) > 1:
        raise UserError(
            f"the runs in {given.workdir} were not all validated on the same pictures: train those "
            "of one dataset in a workdir of their own."
        )
    source = sources.open_source(
        first.dataset, first.eval_split, data_dir=given.data_dir or first.data_dir
    )
    prepared = store.prepare(
        source,
        store_dir=given.store_dir,
        image_size=(first.image_size, first.image_size),
        resize=first.resize,
        on_bad_picture=first.on_bad_picture,
    )
    paths = evaluate.names([f"{given.workdir}/{name}/export" for name in names])
    result = evaluate.evaluate_models(
        {shown: saved_model.predictor(path) for shown, path in paths.items()},
        prepared.pictures,
        data=evaluate.describe(prepared.manifest, paths),
        output_dir=given.workdir,
    )
    result["experiments"] = {name: _facts(run) for name, run in runs.items()}
    return result


def _facts(run: flags.FlagValues) -> dict[str, Any]:
    adversarial = [losses for losses in epoch_losses(run.workdir) if "loss_D" in losses]
    generator = run_flags.build_generator(run, (None, None))
    return {
        "flags": {name: run[name].value for name in run_folder.kept_names()},
        "parameters": sum(math.prod(weight.shape) for weight in generator.trainable_weights),
        "losses": {"first": adversarial[0], "last": adversarial[-1]} if adversarial else None,
    }


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    settings = flags.FLAGS
    if len(argv) > 1:
        raise UserError(f"ablation takes only flags, and {argv[1]!r} is none: see --help.")
    if not settings.workdir:
        raise UserError("--workdir is missing: name the folder that all runs are kept in.")
    settings.workdir = os.path.expanduser(settings.workdir)
    names = list(dict.fromkeys(settings.experiments))
    if not names:
        raise UserError("--experiments names none: give some of experiments/*.flags.")
    given = {
        name: settings[name]
        for name in run_flags.parse([])
        if settings[name].present and name not in ("workdir", "flagfile")
    }
    commands = {name: arguments(name, given, settings.workdir) for name in names}
    # In a process of its own: this one would keep the memory of all networks while they train.
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        pool.submit(check, commands).result()
    for number, (name, command) in enumerate(commands.items(), 1):
        print(f"[{number}/{len(names)}] {name}: python -m koalagan.train {' '.join(command)}")
        if os.path.exists(f"{settings.workdir}/{name}/metrics.json"):
            print(f"{name} is finished")
            continue
        sys.stdout.flush()
        status = train_in_process(command)
        if status:
            print(f"{name} ended with status {status}: the same command goes on from there.")
            return status
    result = measure(names, settings)
    published = json.loads((Path(_FOLDER) / "published.json").read_text("utf-8"))
    command = " ".join(
        ["python experiments/ablation.py", f"--experiments={','.join(names)}", "--workdir=DIR"]
        + [
            flag.serialize()
            for name, flag in given.items()
            if name not in ("data_dir", "store_dir")
        ]
    )
    report = format_report(result, published, command)
    folder = Path(settings.workdir)
    text = json.dumps(result, indent=1)
    files.publish(folder / "metrics.json", lambda path: path.write_text(text + "\n"))
    files.publish(folder / "ablation.md", lambda path: path.write_text(report, "utf-8"))
    print(evaluate.format_table(result))
    for name in ("ablation.md", "metrics.json", "grid.png"):
        print(folder / name)
    return 0


if __name__ == "__main__":
    flags.DEFINE_list("experiments", None, "Flagfiles to train and compare.", required=True)
    run_flags.define_run_flags()
    flags.adopt_module_key_flags(run_flags)
    flags.adopt_module_key_flags(data_flags)
    errors.run(main)
