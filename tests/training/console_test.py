# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What training says in words (its progress line is in train_test.py)."""

import pytest
from helpers import tiny

from koalagan.training import console


@pytest.mark.parametrize(
    "logs, words",
    [
        ([(0.04, 30.0), (0.6, 30.0), (0.04, 30.0), (0.01, 30.0)], "the discriminator has won"),
        ([(0.6, 30.0), (0.6, 1.0), (0.6, 0.5)], "the generator has gone grey"),
        ([(0.6, 30.0), (0.04, 3.0), (0.6, 30.0)], None),
    ],
)
def test_a_gan_that_goes_wrong_is_told_once(capsys, logs, words):
    model = tiny.gan()
    progress, said = {}, []
    for epoch, (loss, colorfulness) in enumerate(logs * 2):
        watch = console.Watch(progress, said.append)  # a run that is continued every time
        watch.set_model(model)
        model.adversarial = True
        watch.on_epoch_end(epoch, {"loss_D": loss, "val_colorfulness": colorfulness})
    assert len(said) == (1 if words else 0)
    err = capsys.readouterr().err
    assert (words is None and not err) or (words in err and said[0] in err)


def test_pretraining_is_not_watched(capsys):
    watch = console.Watch({}, print)
    watch.set_model(tiny.gan())
    watch.model.adversarial = False
    watch.on_epoch_end(0, {"val_colorfulness": 0.0})
    assert capsys.readouterr() == ("", "")
