# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Which of the papers' short claims hold, from ablations with several seeds.

    python experiments/ablation/claims.py --metrics=runs/seed_0/metrics.json \\
        --metrics=runs/seed_1/metrics.json --output=claims.md

Each file is that of an `ablation.py` of the same experiments with another --seed. A claim of
claims.json says that one experiment has more of a measure than another. Their difference in each
training pair of the same seed, and a 95 % interval of its mean by Student's t, tell whether it
holds: it does where the interval lies above 0, it does not where it lies below, and else cannot be
told.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

from koalagan import cli, files
from koalagan.errors import UserError
from koalagan.evaluation.intervals import CONFIDENCE
from koalagan.options import option

_NAMES = {"psnr_pooled": "pooled (dB)", "colorfulness": "colorfulness", "loss_D": "last loss_D"}


@dataclasses.dataclass(frozen=True)
class Settings:
    """The trainings, and the table."""

    metrics: tuple[str, ...] = option(
        (), "A metrics.json of ablation.py; repeat the flag, once for each seed.", required=True
    )
    output: str = option(None, "The Markdown file to write.", required=True)


def value(result: Mapping[str, Any], experiment: str, measure: str) -> float | None:
    """A measure of an experiment: of its row, or of the losses of its last adversarial epoch.

    None if the result does not have it.
    """
    rows = {row["model"].split(" (")[0]: row for row in result["rows"]}
    losses = result["experiments"].get(experiment, {}).get("losses") or {}
    return {**rows.get(experiment, {}), **losses.get("last", {})}.get(measure)


def verdict(differences: Sequence[float]) -> tuple[float, float, str]:
    """The limits of the interval of the mean difference, and what they say.

    Args:
        differences: one for each seed, at least two.
    """
    spread = np.std(differences, ddof=1) / math.sqrt(len(differences))
    reach = scipy.stats.t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1) * spread
    low, high = np.mean(differences) - reach, np.mean(differences) + reach
    said = "holds" if low > 0 else "does not hold" if high < 0 else "cannot be told"
    return float(low), float(high), said


def table(claims: Sequence[Mapping[str, str]], results: Sequence[Mapping[str, Any]]) -> str:
    """The claims with what was measured, as Markdown.

    Args:
        claims: the content of claims.json.
        results: the content of a metrics.json for each seed.

    Raises:
        UserError: there are fewer than two seeds, two results are of the same seed or differ in
            more than that, a result lacks an experiment of a claim, or flags that were given to
            all experiments have made two of a claim the same.
    """
    seeds = [_seed(result) for result in results]
    if len(set(seeds)) < 2 or len(set(seeds)) < len(seeds):
        raise UserError(
            f"the results are of the seeds {', '.join(map(str, seeds))}: pass those of two or more "
            "different ones."
        )
    for result in results[1:]:
        _check_alike(results[0], result)
    lines = [
        "| claim | in the paper | measure | one | other | one more than the other | |",
        "| :--- | :--- | :--- | ---: | ---: | ---: | :--- |",
    ]
    for claim in claims:
        measure = claim["measure"]
        names = (claim["higher"], claim["lower"])
        pairs = [[value(result, name, measure) for name in names] for result in results]
        if any(one is None for pair in pairs for one in pair):
            raise UserError(
                f"a result lacks {measure} of {' or '.join(names)}: measure both for every seed."
            )
        if any(_flags(result, names[0]) == _flags(result, names[1]) for result in results):
            raise UserError(
                f"{names[0]} and {names[1]} were trained with the same flags: a flag that was "
                "given to all experiments has replaced what they differ in."
            )
        one, other = np.mean(pairs, axis=0)
        low, high, said = verdict([first - second for first, second in pairs])
        lines.append(
            f"| {claim['claim']} ({claim['source']}) | {claim['published']} | {_NAMES[measure]} | "
            f"{one:.2f}, {names[0]} | {other:.2f}, {names[1]} | "
            f"{one - other:+.2f} ({low:+.2f} to {high:+.2f}) | {said} |"
        )
    return "\n".join(lines) + "\n"


def _flags(result: Mapping[str, Any], experiment: str) -> dict[str, Any]:
    """All flags of an experiment but its seed."""
    flags = result["experiments"].get(experiment, {}).get("flags", {})
    return {name: value for name, value in flags.items() if name != "seed"}


def _check_alike(first: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Raises UserError where two results differ in more than the seed of their trainings."""
    both = f"the results of the seeds {_seed(first)} and {_seed(other)}"
    if first["data"]["fingerprint"] != other["data"]["fingerprint"]:
        raise UserError(f"{both} are of different pictures: measure both on the same ones.")
    for name in sorted(set(first["experiments"]) & set(other["experiments"])):
        if _flags(first, name) != _flags(other, name):
            raise UserError(
                f"{both} differ in other flags of {name} too: train it with another --seed alone."
            )


def _seed(result: Mapping[str, Any]) -> int:
    seeds = {facts["flags"]["seed"] for facts in result["experiments"].values()}
    if len(seeds) != 1:
        raise UserError(
            "a result has experiments of several seeds: measure those of one at a time."
        )
    return seeds.pop()


def main(settings: Settings, _: list[str]) -> None:
    """Runs the script."""
    claims = json.loads(Path(__file__).with_name("claims.json").read_text("utf-8"))
    results = []
    for path in settings.metrics:
        try:
            result = json.loads(Path(path).expanduser().read_text("utf-8"))
            results.append({name: result[name] for name in ("rows", "data", "experiments")})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is no metrics.json of ablation.py ({error}).") from error
    text = table(claims, results)
    print(text, end="")
    try:
        files.publish_text(Path(settings.output).expanduser(), text)
    except OSError as error:
        raise UserError(
            f"--output={settings.output} cannot be written ({error.strerror or error}): name "
            "another file."
        ) from error


COMMAND = cli.Command(__doc__, Settings, main)

if __name__ == "__main__":
    cli.run(COMMAND)
