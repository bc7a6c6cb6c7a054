# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The flags of experiments, and those that an ablation gives to all of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from koalagan import options
from koalagan.errors import UserError
from koalagan.models.generators import GENERATORS
from koalagan.training import resolving
from koalagan.training import settings as run_settings
from koalagan.training.settings import RunSettings

_FOLDER = Path("experiments")


def experiment_settings(name: str) -> RunSettings:
    """The settings of experiments/NAME.flags.

    Raises:
        UserError: there is no such experiment.
    """
    path = _FOLDER / f"{name}.flags"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in _FOLDER.glob("*.flags")))
        raise UserError(
            f"there is no {path}: choose from {known or 'none'}, and run this command in the root "
            "folder of the repository."
        )
    return run_settings.parse([f"--flagfile={path}"])


def arguments(name: str, given: Mapping[str, Any], folder: str) -> list[str]:
    """The arguments of `koalagan.train` for one experiment.

    Args:
        name: of the experiment.
        given: values of the flags that go to all experiments, by name.
        folder: the ablation's folder; the run gets a subfolder.

    Raises:
        UserError: there is no such experiment, or only one of the two numbers of epochs is given.
    """
    own = options.replace(experiment_settings(name), workdir=f"{folder}/{name}")
    own = resolving.resolve(own)
    known = options.values(own)
    epochs = {phase: given[phase] for phase in ("pretrain_epochs", "epochs") if phase in given}
    if len(epochs) == 1:
        raise UserError("--pretrain_epochs and --epochs must be given together.")
    of_others = {name for entry in GENERATORS.values() for name in entry.options}
    of_others -= set(GENERATORS[given.get("generator", known["generator"])].options)
    overrides = {
        flag: value
        for flag, value in given.items()
        if not (flag.endswith("_weights") and known[flag] == "none")
        and not (flag == "embedding" and known["embedding_weights"] == "none")
        and flag not in of_others
    }
    if epochs and (known["pretrain_epochs"] == 0 or known["epochs"] == 0):
        total = sum(epochs.values())
        overrides |= {phase: total if known[phase] else 0 for phase in epochs}
    overrides["workdir"] = known["workdir"]
    return [f"--flagfile={_FOLDER}/{name}.flags", *written(overrides)]


def written(values: Mapping[str, Any]) -> list[str]:
    """Values of flags as arguments; a tuple repeats its flag."""
    return [
        f"--{name}={one}"
        for name, value in values.items()
        for one in (value if isinstance(value, tuple) else [value])
    ]


def given(command: Sequence[str]) -> list[str]:
    """The names of the flags in arguments of `koalagan.train`, flagfiles included."""
    values = flags.FlagValues()
    options.define_flags(RunSettings, values)
    values(["koalagan", *command])
    return [name for name in values if values[name].present]
