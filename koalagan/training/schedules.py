# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Learning rates over the steps of a phase."""

import math

SCHEDULES = ("constant", "cosine")
# The share of the steps in which "cosine" rises. Layers that start from nothing would otherwise
# spoil what pretrained ones know in the first steps.
WARMUP = 0.03


def factor(schedule: str, step: int, steps: int) -> float:
    """What the learning rate is multiplied by in a step of a phase.

    Args:
        schedule: "constant", or "cosine": a linear rise over the first 3 % of the steps, then half
            a cosine towards 0 (Loshchilov and Hutter 2017, SGDR, equation 5, without restarts).
        step: the number of the step in its phase, from 0.
        steps: the number of steps of the phase.

    Raises:
        ValueError: `schedule` is neither.
    """
    if schedule == "constant":
        return 1.0
    if schedule != "cosine":
        raise ValueError(f"schedule must be one of {SCHEDULES}, not {schedule!r}.")
    warmup = math.ceil(WARMUP * steps)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
