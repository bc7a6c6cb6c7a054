# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Trains several experiments alike and measures them side by side.

    python experiments/ablation.py --experiments=paper,no_inception --workdir=runs/ablation \\
        [--pretrain_epochs=9 --epochs=6] [any other flag of koalagan.train, for all of them]

Each experiment is a flagfile in experiments/ and is trained by `koalagan.train` in
WORKDIR/NAME; the same command continues what was interrupted and does not train again what is
finished. Then all are measured on the same pictures by the protocol of `koalagan.metrics`:

    WORKDIR/ablation.md    our tables, and the papers' (experiments/published.json) beside them
    WORKDIR/metrics.json   the same numbers, with the data, flags and versions that made them
    WORKDIR/grid.png       grey | each system | true

A flag given here goes to every experiment, with two exceptions, so that each stays what it is: a
branch that an experiment leaves out stays out, and an experiment of one phase gives all passes,
--pretrain_epochs and --epochs together, to its own phase.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from koalagan import errors, evaluate, files, workdir
from koalagan.data import flags as data_flags
from koalagan.data import sources, store
from koalagan.errors import UserError
from koalagan.gan import LOSSES

_FOLDER = "experiments"
# What tells one experiment from another, for the table of what was trained.
_SHOWN = ("generator", "pretrain_epochs", "epochs", "batch_size", "discriminator_every")


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
    return workdir.parse([f"--flagfile={path}"])


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
    workdir.resolve(own)
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
    return [f"--flagfile={_FOLDER}/{name}.flags", *overrides, f"--workdir={folder}/{name}"]


def train(command: Sequence[str]) -> int:
    """Runs `koalagan.train` in a process of its own; returns its exit status.

    What asks this process to stop is passed on: the run saves, and both end.
    """
    # In a session of its own, so that a Ctrl-C reaches it once, from here, and not twice.
    process = subprocess.Popen(
        [sys.executable, "-m", "koalagan.train", *command], start_new_session=True
    )
    asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    former = {number: signal.getsignal(number) for number in asked}
    for number in asked:
        signal.signal(number, lambda number, _: process.send_signal(number))
    try:
        return process.wait()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def epoch_losses(run: str) -> list[dict[str, float]]:
    """The training losses of each epoch by the papers' names, from a run's TensorBoard files.

    An epoch's loss is the mean of its points, each weighted by the steps that it stands for.
    """
    points = _scalars(f"{run}/tensorboard/train")
    ends = sorted(_scalars(f"{run}/tensorboard/validation")["psnr"])
    epochs = []
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        losses = {}
        for name in LOSSES:
            steps = [step for step in sorted(points.get(name, {})) if start < step <= end]
            if steps:
                weights = np.diff([start, *steps])
                values = [points[name][step] for step in steps]
                losses[name] = float(np.average(values, weights=weights))
        epochs.append(losses)
    return epochs


def _scalars(folder: str) -> dict[str, dict[int, float]]:
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(folder, size_guidance={"tensors": 0, "images": 1})
    events.Reload()
    return {
        tag: {
            event.step: float(tf.make_ndarray(event.tensor_proto))
            for event in events.Tensors(tag)
            if not event.tensor_proto.tensor_shape.dim
        }
        for tag in events.Tags()["tensors"]
    }


def measure(names: Sequence[str], given: flags.FlagValues) -> dict[str, Any]:
    """Measures the exports of finished runs on one set of pictures; writes metrics.json, grid.png.

    Returns:
        What `evaluate.evaluate_models` returns, and under "experiments", by name, each run's flags,
        parameters and losses of its first and last adversarial epoch.

    Raises:
        UserError: the runs were not validated on the same pictures.
    """
    runs = {name: workdir.read_flags(f"{given.workdir}/{name}") for name in names}
    first = next(iter(runs.values()))
    for name, run in runs.items():
        for flag in ("dataset", "data_dir", "eval_split", "image_size", "resize"):
            if run[flag].value != first[flag].value:
                raise UserError(
                    f"{name} was validated on other pictures than {names[0]} (--{flag}="
                    f"{run[flag].value}, not {first[flag].value}): give --{flag} for all."
                )
    source = sources.open_source(first.dataset, first.eval_split, data_dir=first.data_dir)
    prepared = store.prepare(
        source,
        store_dir=given.store_dir,
        image_size=(first.image_size, first.image_size),
        resize=first.resize,
        on_bad_picture=first.on_bad_picture,
    )
    paths = evaluate.names([f"{given.workdir}/{name}/export" for name in names])
    result = evaluate.evaluate_models(
        {shown: evaluate.saved_model_predictor(path) for shown, path in paths.items()},
        prepared.pictures,
        data=evaluate.describe(prepared.manifest, paths),
        output_dir=given.workdir,
    )
    result["experiments"] = {name: _facts(runs[name], f"{given.workdir}/{name}") for name in names}
    return result


def _facts(run: flags.FlagValues, folder: str) -> dict[str, Any]:
    adversarial = [losses for losses in epoch_losses(folder) if "loss_D" in losses]
    return {
        "flags": {name: run[name].value for name in workdir.kept_names()},
        "parameters": workdir.build_generator(run, (None, None)).count_params(),
        "losses": {"first": adversarial[0], "last": adversarial[-1]} if adversarial else None,
    }


def format_report(result: Mapping[str, Any], published: Sequence[Mapping], command: str) -> str:
    """All tables as Markdown."""
    rows = {row["model"].split(" (random")[0]: row for row in result["rows"]}
    parts = [
        "# Every system side by side",
        f"Written by `{command}`.",
        "## Measured here",
        evaluate.format_table(result),
        "*random* names the networks that were never trained on anything else.",
        "## What was trained",
        _systems_table(result["experiments"]),
        "## Training losses of the adversarial phase, by epoch",
        _losses_table(result["experiments"]),
        "## Published",
    ]
    for table in published:
        parts += [f"### {table['title']}", f"Source: {table['source']}. {table['differs']}"]
        if table["rows"]:
            parts.append(_published_table(table, rows, result["experiments"]))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _systems_table(experiments: Mapping[str, Mapping]) -> str:
    header = [
        "experiment",
        "generator",
        "parameters",
        "L1 passes",
        "GAN passes",
        "batch",
        "D every",
    ]
    rows = []
    for name, facts in experiments.items():
        generator, *numbers = (facts["flags"][flag] for flag in _SHOWN)
        shown = [f"{facts['parameters']:,}", *map(str, numbers)]
        rows.append([name, generator, *shown])
    return _markdown(header, rows)


def _losses_table(experiments: Mapping[str, Mapping]) -> str:
    rows = [
        [name, which, *(f"{losses[loss]:.3f}" for loss in LOSSES)]
        for name, facts in experiments.items()
        if facts["losses"]
        for which, losses in facts["losses"].items()
    ]
    return _markdown(["experiment", "epoch", *LOSSES], rows)


def _published_table(table: Mapping, measured: Mapping, experiments: Mapping) -> str:
    """A paper's table; beside each of its numbers, in brackets, ours for the same experiment."""
    rows = []
    for row in table["rows"]:
        name = row.get("experiment")
        ours = dict(measured.get(name, {}))
        losses = experiments.get(name, {}).get("losses") or {}
        ours |= losses.get(row.get("epoch"), {})
        cells = [row["system"]]
        for key in table["columns"]:
            cell = "-" if row.get(key) is None else f"{row[key]:g}"
            cells.append(f"{cell} ({ours[key]:.4g})" if key in ours else cell)
        rows.append(cells)
    return _markdown(["system", *table["columns"]], rows)


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    settings = flags.FLAGS
    if len(argv) > 1:
        raise UserError(f"ablation takes only flags, and {argv[1]!r} is none: see --help.")
    if not settings.workdir:
        raise UserError("--workdir is missing: name the folder that all runs are kept in.")
    names = list(dict.fromkeys(settings.experiments))
    # A dry run of every experiment's flags before the first hour is spent.
    given = {
        name: settings[name]
        for name in workdir.parse([])
        if settings[name].present and name not in ("workdir", "flagfile")
    }
    commands = {name: arguments(name, given, settings.workdir) for name in names}
    for command in commands.values():
        run = workdir.parse(command)
        workdir.resolve(run)
        workdir.check(run)
    for number, (name, command) in enumerate(commands.items(), 1):
        print(f"[{number}/{len(names)}] {name}: python -m koalagan.train {' '.join(command)}")
        if os.path.exists(f"{settings.workdir}/{name}/metrics.json"):
            print(f"{name} is finished")
            continue
        sys.stdout.flush()
        status = train(command)
        if status:
            print(f"{name} ended with status {status}: the same command goes on from there.")
            return status
    result = measure(names, settings)
    published = json.loads((Path(_FOLDER) / "published.json").read_text())
    command = " ".join(
        ["python experiments/ablation.py", f"--experiments={','.join(names)}"]
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
    files.publish(folder / "ablation.md", lambda path: path.write_text(report))
    print(evaluate.format_table(result))
    for name in ("ablation.md", "metrics.json", "grid.png"):
        print(folder / name)
    return 0


if __name__ == "__main__":
    flags.DEFINE_list("experiments", None, "Flagfiles to train and compare.", required=True)
    workdir.define_run_flags()
    flags.adopt_module_key_flags(workdir)
    flags.adopt_module_key_flags(data_flags)
    errors.run(main)
