# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import json

import pytest

from koalagan.training.state import MORE_IS_BETTER, BestEpoch, RunState


def test_json_keeps_everything():
    state = RunState(
        validated=3,
        best=BestEpoch(2, 21.5, True),
        losses={"loss_G": [0.1 + 0.2, 3.0]},
        logged={"loss_G": [0.1, 1.0]},
        logged_at=20,
        lost=1,
        said=["gray"],
    )
    assert RunState.from_json(state.to_json()) == state
    assert RunState.from_json(RunState().to_json()) == RunState()


def test_states_of_older_runs_are_read():
    """They left out what was not set, and called a warning by another word."""
    text = json.dumps(
        {
            "validated": 2,
            "best": {"epoch": 1, "value": 3.0, "adversarial": False},
            "logged": {"loss_G": [6.0, 2.0]},
            "logged_at": 20,
            "said": ["grey", "discriminator"],
        }
    )
    expected = RunState(
        validated=2,
        best=BestEpoch(1, 3.0, False),
        logged={"loss_G": [6.0, 2.0]},
        logged_at=20,
        said=["gray", "discriminator"],
    )
    assert RunState.from_json(text) == RunState.from_json(text.encode()) == expected
    assert RunState.from_json("{}") == RunState()


def test_what_newer_versions_add_is_ignored():
    text = json.dumps(
        {
            "validated": 2,
            "added": [1],
            "best": {"epoch": 1, "value": 3.0, "adversarial": True, "added": 1},
        }
    )
    assert RunState.from_json(text) == RunState(validated=2, best=BestEpoch(1, 3.0, True))


@pytest.mark.parametrize(
    "step, validated, expected", [(0, 0, False), (3, 0, True), (3, 1, False), (4, 0, False)]
)
def test_an_epoch_without_validation(step, validated, expected):
    assert RunState(validated=validated).is_unvalidated(step, epoch_steps=3) is expected


def test_the_end_of_an_epoch():
    state = RunState(losses={"loss_G": [1.0, 1.0]})
    state.end_epoch(4)
    assert state == RunState(validated=4)


@pytest.mark.parametrize("metric, more", MORE_IS_BETTER.items())
def test_the_best_epoch_of_a_phase(metric, more):
    state = RunState()
    assert state.is_best(7.0, metric, adversarial=False)
    state.best = BestEpoch(1, 7.0, adversarial=False)
    assert state.is_best(8.0, metric, adversarial=False) is more
    assert state.is_best(6.0, metric, adversarial=False) is not more
    assert not state.is_best(7.0, metric, adversarial=False)
    # A discriminator worsens these metrics: its phase starts anew.
    assert state.is_best(6.0, metric, adversarial=True)
    assert state.is_best(8.0, metric, adversarial=True)


def test_patience():
    state = RunState(validated=4)
    assert not state.is_out_of_patience(2, adversarial=False)
    state.best = BestEpoch(2, 7.0, adversarial=False)
    assert state.is_out_of_patience(2, adversarial=False)
    assert not state.is_out_of_patience(3, adversarial=False)
    assert not state.is_out_of_patience(0, adversarial=False)
    # A phase begins with new patience.
    assert not state.is_out_of_patience(1, adversarial=True)
