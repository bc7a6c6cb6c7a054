# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Another program's training step, measured beside koalagan's (`--peer` of `benchmark.py`)."""

import re
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from koalagan.errors import UserError, one_line

_RATE = re.compile(r"([\d.]+) pictures/s")


def rate(command: Sequence[str], settings: Mapping[str, Any]) -> float:
    """Pictures per second of the other program's step.

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
    settings: Mapping[str, Any],
    alternations: int,
    measure_ours: Callable[[], list[dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Measures the peer's step and ours in alternation.

    Args:
        peer: the command that runs the peer.
        settings: see `benchmark_cases`.
        alternations: how often each is measured.
        measure_ours: measures our step; returns a single result.

    Returns:
        Our median run, with the peer's rate and the ratios.

    Raises:
        UserError: one of them cannot be run.
    """
    runs, ratios, theirs = [], [], []
    for _ in range(alternations):
        theirs.append(rate(peer, settings))
        (run,) = measure_ours()
        runs.append(run)
        ratios.append(run["pictures_per_second"] / theirs[-1])
    runs.sort(key=lambda run: run["pictures_per_second"])
    return [
        {
            **runs[len(runs) // 2],
            "peer_pictures_per_second": statistics.median(theirs),
            "ratio_to_peer": statistics.median(ratios),
            "ratio_spread": [min(ratios), max(ratios)],
        }
    ]


def is_comparable(case: str, settings: Mapping[str, Any]) -> bool:
    """Whether the peer does the same work."""
    return (
        case == "train_step"
        and settings["generator"] == "inception_fusion"
        and not settings["segmentation"]
        and settings["mixed_precision"] in ("float32", "bfloat16")
    )
