# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Another program's training step, measured beside koalagan's (`--peer` of `benchmark.py`)."""

import re
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from koalagan.errors import UserError, one_line

_RATE = re.compile(r"([\d.]+) pictures/s")


def rate(command: Sequence[str], mode: str | None, settings: Mapping[str, Any]) -> float:
    """Pictures per second of the other program's step, in one of its modes if it has several.

    Raises:
        UserError: it fails, or prints no rate.
    """
    command = [
        *command,
        f"--batch={settings['batch_size']}",
        f"--size={settings['image_size']}",
        f"--dtype={settings['mixed_precision']}",
        f"--discriminator_every={settings['discriminator_every']}",
        f"--threads={settings['cores']}",
        *([f"--mode={mode}"] if mode else []),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise UserError(f"--peer_python={command[0]} cannot be run: {error.strerror}.") from error
    found = _RATE.search(done.stdout)
    if done.returncode or not found:
        raise UserError(
            f"the peer ({' '.join(command)}) ended with status {done.returncode} and printed no "
            f"rate: {one_line(done.stderr or done.stdout)}."
        )
    return float(found[1])


def compare(
    peer: Sequence[str],
    modes: Sequence[str | None],
    settings: Mapping[str, Any],
    alternations: int,
    measure_ours: Callable[[], list[dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Measures the peer's step and ours in alternation.

    Args:
        peer: the command that runs the peer.
        modes: values of its --mode, or None.
        settings: see `benchmark_cases`.
        alternations: how often each is measured.
        measure_ours: measures our step; returns a single result.

    Returns:
        For each mode, our median run with the peer's rate and the ratios.

    Raises:
        UserError: one of them cannot be run.
    """
    runs: list[dict[str, Any]] = []
    theirs: dict[str | None, list[float]] = {mode: [] for mode in modes}
    for _ in range(alternations):
        for mode in modes:
            theirs[mode].append(rate(peer, mode, settings))
        runs += measure_ours()
    ours = [run["pictures_per_second"] for run in runs]
    median = sorted(runs, key=lambda run: run["pictures_per_second"])[len(runs) // 2]
    results = []
    for mode, rates in theirs.items():
        ratios = [mine / other for mine, other in zip(ours, rates, strict=True)]
        results.append(
            {
                **median,
                "peer_mode": mode,
                "peer_pictures_per_second": statistics.median(rates),
                "ratio_to_peer": statistics.median(ratios),
                "ratio_spread": [min(ratios), max(ratios)],
            }
        )
    return results


def is_comparable(case: str, settings: Mapping[str, Any]) -> bool:
    """Whether the peer does the same work."""
    return (
        case == "train_step"
        and settings["generator"] == "inception_fusion"
        and not settings["segmentation"]
        and settings["batches"] == "resident"
    )
