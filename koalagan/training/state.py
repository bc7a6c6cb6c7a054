# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What a run remembers besides its weights, kept in each of its checkpoints.

`RunCheckpoint` owns the one `RunState` of a run and saves and restores it. Each part of training
writes its own fields and no others: the saver those of epochs, the TensorBoard log those of its
last point, the watch those of its warnings.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

# Running sums of losses by name: the sum, and how many steps it is of.
Sums = dict[str, list[float]]

# Validation metrics that can choose the best epoch, and whether more is better.
MORE_IS_BETTER = {"psnr": True, "psnr_pooled": True, "ssim": True, "loss_G_L1": False}

# Names of warnings in checkpoints of older versions.
_FORMER_WARNINGS = {"grey": "gray"}


@dataclasses.dataclass
class BestEpoch:
    """The best epoch of a phase.

    Attributes:
        epoch: its number, from 1.
        value: its validation metric.
        adversarial: whether it belongs to the adversarial phase.
    """

    epoch: int
    value: float
    adversarial: bool


@dataclasses.dataclass
class RunState:
    """The state of a run.

    Attributes:
        validated: epochs that are validated, both phases counted.
        best: the best epoch so far, or None.
        losses: in an unfinished epoch, or one that is not validated, its sums; else None.
        logged: the epoch's sums at TensorBoard's last point; None between epochs.
        logged_at: the step of that point, or None.
        lost: epochs in a row in which the discriminator's loss was near 0.
        said: warnings that were given.
    """

    validated: int = 0
    best: BestEpoch | None = None
    losses: Sums | None = None
    logged: Sums | None = None
    logged_at: int | None = None
    lost: int = 0
    said: list[str] = dataclasses.field(default_factory=list)

    def is_unvalidated(self, step: int, epoch_steps: int) -> bool:
        """Whether a run after `step` steps stands at the end of an epoch without validation."""
        epoch, rest = divmod(step, epoch_steps)
        return rest == 0 and self.validated < epoch

    def end_epoch(self, epoch: int) -> None:
        """Notes that epoch number `epoch`, from 1, is validated."""
        self.validated = epoch
        self.losses = None

    def is_best(self, value: float, metric: str, *, adversarial: bool) -> bool:
        """Whether no earlier epoch of this phase has a better value; each phase starts anew.

        A discriminator worsens what these metrics measure: the best epoch of both phases would
        nearly always be one of pretraining.
        """
        if self.best is None or self.best.adversarial != adversarial:
            return True
        if MORE_IS_BETTER[metric]:
            return value > self.best.value
        return value < self.best.value

    def is_out_of_patience(self, patience: int, *, adversarial: bool) -> bool:
        """Whether `patience` epochs of this phase, if not 0, have passed without a better one."""
        # The best epoch of the other phase means nothing for this one, which has not begun.
        if not patience or self.best is None or self.best.adversarial != adversarial:
            return False
        return self.validated - self.best.epoch >= patience

    def to_json(self) -> str:
        """The state as text."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> RunState:
        """The state that `to_json` wrote, in this version or another.

        Older versions left out what they had not set; what only newer ones know is ignored.
        """
        values = _known(cls, json.loads(text))
        if values.get("best"):
            values["best"] = BestEpoch(**_known(BestEpoch, values["best"]))
        if "said" in values:
            values["said"] = [_FORMER_WARNINGS.get(warning, warning) for warning in values["said"]]
        return cls(**values)


def _known(dataclass: type, values: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(dataclass)}
    return {name: value for name, value in values.items() if name in names}
