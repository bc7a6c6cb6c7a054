# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What training shows on the terminal (a whole run's lines are in train_test.py)."""

import pytest
from helpers import tiny

from koalagan.training import console
from koalagan.training.state import RunState


@pytest.fixture(scope="module")
def model():
    return tiny.gan()


def watch(model, state, losses, say, *, adversarial=True, gan_loss="vanilla", turns=4):
    """Ends epochs with (loss_D, colorfulness), each with a callback of its own, as in a run that is
    continued after every epoch."""
    model.compile(adversarial=adversarial, gan_loss=gan_loss)
    for epoch, (loss, colorfulness) in enumerate(losses):
        state.losses = {"loss_D": [loss * turns, turns]}
        callback = console.Watch(state, say)
        callback.set_model(model)
        callback.on_epoch_end(epoch, {"loss_D": loss, "val_colorfulness": colorfulness})


WON = "the discriminator has won"


@pytest.mark.parametrize(
    "losses, gan_loss, words",
    [
        ([(0.04, 30.0), (0.6, 30.0), (0.04, 30.0), (0.01, 30.0)], "vanilla", WON),
        ([(0.6, 30.0), (0.6, 1.0), (0.6, 0.5)], "vanilla", "the generator produces gray pictures"),
        ([(0.6, 30.0), (0.04, 3.0), (0.6, 30.0)], "vanilla", None),
        # The balance of least squares is at 0.25 where that of cross-entropy is at 0.69.
        ([(0.04, 30.0)] * 4, "lsgan", None),
        ([(0.01, 30.0)] * 4, "lsgan", WON),
    ],
)
def test_a_failing_gan_is_reported_once(model, capsys, losses, gan_loss, words):
    said = []
    watch(model, RunState(), losses * 2, said.append, gan_loss=gan_loss)
    assert len(said) == (1 if words else 0)
    err = capsys.readouterr().err
    assert (words is None and not err) or (words in err and said[0] in err)


def test_epochs_without_a_turn_of_the_discriminator_do_not_count(model, capsys):
    state = RunState()
    watch(model, state, [(0.0, 30.0)] * 4, pytest.fail, turns=0)
    assert state.lost == 0
    watch(model, state, [(0.01, 30.0)], pytest.fail)
    watch(model, state, [(0.0, 30.0)] * 2, pytest.fail, turns=0)
    assert state.lost == 1 and capsys.readouterr() == ("", "")


def test_a_warning_of_an_older_run_is_not_repeated(model, capsys):
    state = RunState.from_json('{"said": ["grey"]}')
    watch(model, state, [(0.6, 1.0)], pytest.fail)
    assert capsys.readouterr() == ("", "")


def test_pretraining_is_not_watched(model, capsys):
    watch(model, RunState(), [(0.0, 0.0)] * 3, pytest.fail, adversarial=False)
    assert capsys.readouterr() == ("", "")
