# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Whether the settings of a run go together, and what they become on this machine.

Needs no TensorFlow: mistakes are told at once.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from koalagan import files, options
from koalagan.errors import UserError
from koalagan.inference import pretrained
from koalagan.models.frozen import CLASSES
from koalagan.models.generators import GENERATORS
from koalagan.options import PRETRAINED
from koalagan.training.settings import NetworkSettings, RunSettings, parse

# Weights that are never paths, even where a folder of that name exists.
_NAMED_WEIGHTS = ("imagenet", "pascalvoc", "random", "none")
_WEIGHTS_FLAGS = tuple(f"{network}_weights" for network in (*CLASSES, "backbone"))


def resolve(settings: RunSettings, given: Sequence[str] = ()) -> RunSettings:
    """Settings that no longer depend on the machine or on the current folder, to be kept.

    Paths become absolute. Branches that the generator does not have get the weights "none".
    "auto" for `mixed_precision` stays: see `koalagan.precision.resolve`.

    Args:
        settings: as the flags give them.
        given: names of flags that the user gave; a branch's weights that were given for a generator
            without that branch are a mistake, defaults are not.

    Raises:
        UserError: the workdir is missing, a number is NaN or infinite, the generator lacks what is
            asked of it, or there is nothing to train.
    """
    if not settings.saving.workdir:
        raise UserError("--workdir is missing: name the folder to keep the run in.")
    if settings.optimization.pretrain_epochs + settings.optimization.epochs == 0:
        raise UserError("--pretrain_epochs and --epochs are both 0: there is nothing to train.")
    for name, value in options.values(settings).items():
        _check_value(name, value)
    networks = _resolve_head(settings.networks, given)
    settings = dataclasses.replace(settings, networks=networks)
    _check_losses(settings)
    check_generator_options(settings.networks)
    _check_head(settings)
    _check_crops(settings)
    factor = settings.optimization.backbone_learning_rate_factor
    if factor != 1.0 and not GENERATORS[settings.networks.generator].pretrained:
        raise UserError(
            f"--backbone_learning_rate_factor={factor} is for a generator with a pretrained "
            f"encoder, which {settings.networks.generator} does not have: leave it out."
        )
    if settings.networks.init_from == PRETRAINED != settings.networks.generator:
        raise UserError(
            f"--init_from={PRETRAINED} starts from the model that comes with koalagan, whose "
            f"generator is {PRETRAINED}: pass --generator={PRETRAINED}, or name a run's folder."
        )
    changes: dict[str, Any] = {
        "workdir": os.path.expanduser(settings.saving.workdir),
        "store_dir": os.path.expanduser(settings.data.store_dir or files.cache_folder()),
    }
    for name in ("data_dir", "init_from"):
        path = options.values(settings)[name]
        if path and (name, path) != ("init_from", PRETRAINED):
            changes[name] = _absolute(path)
    settings = options.replace(settings, **changes)
    networks = _resolve_weights(settings.networks, given)
    return dataclasses.replace(settings, networks=networks)


def _check_value(name: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"--{name}={value} is not a finite number.")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            # Reports and flags.txt are UTF-8.
            raise UserError(f"--{name}={value!r} is not valid UTF-8: rename it.") from None


def _resolve_head(networks: NetworkSettings, given: Sequence[str]) -> NetworkSettings:
    """The networks with the head of what they start from; another one is a mistake."""
    former = _former_networks(networks.init_from)
    if former is None:
        return networks
    taken = {name for name in ("head", "temperature") if name not in given}
    networks = dataclasses.replace(networks, **{name: getattr(former, name) for name in taken})
    if networks.head != former.head:
        raise UserError(
            f"--init_from={networks.init_from} starts from a model of --head={former.head}, not of "
            f"--head={networks.head}: leave --head out, or --init_from."
        )
    return networks


def _former_networks(init_from: str | None) -> NetworkSettings | None:
    """The networks of what a run starts from; None if it starts anew or that is not known."""
    if init_from == PRETRAINED:
        flags = pretrained.card()["flags"]
        names = ("head", "temperature", "backbone_weights")
        return NetworkSettings(**{name: flags[name] for name in names})
    if init_from and (flags := Path(init_from).expanduser() / "flags.txt").is_file():
        return parse([f"--flagfile={flags}"]).networks
    return None


def _check_losses(settings: RunSettings) -> None:
    rates = settings.optimization
    classifies = settings.networks.head == "classification"
    if rates.pretrain_epochs and not (rates.l1_weight or (classifies and rates.class_weight)):
        raise UserError(
            "pretraining has no loss to learn from: raise --l1_weight, or pass --pretrain_epochs=0."
        )


def _check_head(settings: RunSettings) -> None:
    networks, optimization = settings.networks, settings.optimization
    if networks.head == "classification":
        if networks.output_activation != NetworkSettings.output_activation:
            raise UserError(
                f"--output_activation={networks.output_activation} is of the other head, and "
                "--head=classification replaces it: leave one of them out."
            )
        return
    for group, name in (
        (networks, "temperature"),
        (optimization, "class_weight"),
        (optimization, "rebalancing_lambda"),
    ):
        if (value := getattr(group, name)) != getattr(type(group), name):
            raise UserError(
                f"--{name}={value} is for --head=classification: pass that too, or leave it out."
            )


def _check_crops(settings: RunSettings) -> None:
    whole, size = settings.data.crop_from, settings.data.image_size
    if 0 < whole <= size:
        raise UserError(
            f"--crop_from={whole} leaves no parts of --image_size={size} to choose from: pass a "
            "larger one, or leave it out."
        )
    if whole and "segmentation" in GENERATORS[settings.networks.generator].branches:
        if settings.networks.segmentation_weights != "none":
            raise UserError(
                "--crop_from takes parts of pictures, which have no segmentation of their own: "
                "pass --segmentation_weights=none, or leave it out."
            )


def _resolve_weights(networks: NetworkSettings, given: Sequence[str]) -> NetworkSettings:
    generator = GENERATORS[networks.generator]
    branches = {*generator.branches, *(["backbone"] if generator.pretrained else [])}
    if "embedding" not in branches and networks.embedding != NetworkSettings.embedding:
        raise UserError(
            f"--generator={networks.generator} does not use an embedding: leave --embedding out."
        )
    changes = {}
    for name in _WEIGHTS_FLAGS:
        weights = getattr(networks, name)
        if name.removesuffix("_weights") not in branches:
            if name in given and weights != "none":
                raise UserError(
                    f"--generator={networks.generator} has no branch that --{name}={weights} could "
                    f"be used for: pass --{name}=none."
                )
            weights = "none"
        changes[name] = weights
    former = _former_networks(networks.init_from)
    if former and generator.pretrained:
        # The encoder comes from there, and so does what its weights started from.
        changes["backbone_weights"] = former.backbone_weights
    absolute = {name: _absolute_weights(weights) for name, weights in changes.items()}
    return dataclasses.replace(networks, **absolute)


def _absolute_weights(weights: str) -> str:
    kind = "slim:" if weights.startswith("slim:") else ""
    path = weights.removeprefix(kind)
    is_path = kind or path.endswith(".h5") or os.path.isdir(os.path.expanduser(path))
    if is_path and path not in _NAMED_WEIGHTS:
        return f"{kind}{_absolute(path)}"
    return weights


def check_generator_options(networks: NetworkSettings) -> None:
    """Checks that the generator has the options that are not at their defaults.

    Raises:
        UserError: it does not have one.
    """
    for name in generator_options(networks):
        if name not in GENERATORS[networks.generator].options:
            raise UserError(
                f"--{name} is not an option of --generator={networks.generator}: leave it out."
            )


def generator_options(networks: NetworkSettings) -> dict[str, Any]:
    """The generators' options that are not at their defaults, which are those of the builders."""
    names = dict.fromkeys(name for entry in GENERATORS.values() for name in entry.options)
    chosen = {name: getattr(networks, name) for name in names}
    return {
        name: value for name, value in chosen.items() if value != getattr(NetworkSettings, name)
    }


def _absolute(path: str) -> str:
    return path if files.is_url(path) else os.path.abspath(os.path.expanduser(path))
