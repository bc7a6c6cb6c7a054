# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""When a run is saved and how it stops; experiments/robustness/torture.py kills whole runs."""

import os
import signal

import keras
import pytest
import tensorflow as tf
from helpers import tiny

from koalagan.training import checkpoint, divergence, saving
from koalagan.training.settings import SavingSettings
from koalagan.training.state import BestEpoch


class At(keras.callbacks.Callback):
    """Does something at one moment of training: "train", "test" or "epoch", and its number."""

    def __init__(self, moment, number, action):
        super().__init__()
        self._moment, self._number, self._action = moment, number, action

    def _reach(self, moment, number):
        if (moment, number) == (self._moment, self._number):
            self._action()

    def on_train_batch_end(self, batch, logs=None):
        self._reach("train", int(self.model.step))

    def on_test_batch_end(self, batch, logs=None):
        self._reach("test", int(self.model.step))

    def on_epoch_end(self, epoch, logs=None):
        self._reach("epoch", epoch + 1)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A model whose steps are traced once for all tests, and its initial state."""
    model = tiny.gan()
    model.compile(adversarial=False)
    initial = tf.train.Checkpoint(model=model)
    return model, initial, initial.write(str(tmp_path_factory.mktemp("initial") / "state"))


@pytest.fixture
def run(tmp_path, pretrained):
    """Trains a tiny model, three steps an epoch; holds its model, its checkpoint and its Saver."""
    model, initial, state = pretrained
    initial.read(state).assert_consumed()
    if model.adversarial:  # A test went on to the next phase; compiling discards what was traced.
        model.compile(adversarial=False)

    def train(epochs=3, callbacks=(), batches=None, before_save=lambda: None, **settings):
        run_checkpoint = checkpoint.RunCheckpoint(model, str(tmp_path), keep=99)
        settings = SavingSettings(**{"checkpoint_every_minutes": 0.0, **settings})
        saver = saving.Saver(run_checkpoint, 3, settings, before_save=before_save)
        batches = batches or tf.data.Dataset.from_tensors(tiny.batch()).repeat()
        train.model, train.checkpoint, train.saver = model, run_checkpoint, saver
        with saver:
            model.fit(
                batches,
                steps_per_epoch=3,
                epochs=epochs,
                validation_data=tf.data.Dataset.from_tensors(tiny.batch()).repeat(2),
                verbose=0,
                shuffle=False,
                callbacks=[*callbacks, saver],
            )

    return train


def saved(tmp_path):
    names = os.listdir(tmp_path / "checkpoints")
    return {name.removesuffix(".index") for name in names if name.endswith(".index")}


def ask(number=signal.SIGTERM):
    return lambda: os.kill(os.getpid(), number)


def test_every_epoch_is_saved(run, tmp_path):
    run(best_metric="loss_G_L1")
    assert {"step-3", "step-6", "step-9"} <= saved(tmp_path)


def test_saving_by_steps(run, tmp_path):
    written = []
    run(epochs=2, checkpoint_every_steps=2, before_save=lambda: written.append(int(run.model.step)))
    assert {"step-2", "step-3", "step-4", "step-6"} <= saved(tmp_path)
    assert written == [2, 3, 4, 6]  # the last step of an epoch once, when it is validated


def test_saving_by_time(run, tmp_path, monkeypatch):
    clock = iter(range(0, 10**6, 30))
    monkeypatch.setattr(saving.time, "monotonic", lambda: next(clock))
    run(epochs=1, checkpoint_every_minutes=1)
    assert {"step-2", "step-3"} <= saved(tmp_path) and "step-1" not in saved(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_saves_after_the_step_and_the_second_stops_at_once(run, tmp_path, number):
    former = signal.getsignal(number)
    again = []

    def twice():
        os.kill(os.getpid(), number)
        again.append(signal.getsignal(number))

    with pytest.raises(saving.Stopped):
        run(callbacks=[At("train", 4, twice)])
    assert run.saver.stopped_by == number and int(run.model.step) == 4
    assert "step-4" in saved(tmp_path)
    assert again == [former] and signal.getsignal(number) is former


def restored(folder):
    """A run as the same command finds it: its model, its state and its Saver."""
    model = tiny.gan(seed=1)
    run_checkpoint = checkpoint.RunCheckpoint(model, str(folder))
    assert run_checkpoint.restore()
    model.compile(adversarial=False)
    return model, run_checkpoint.state, saving.Saver(run_checkpoint, 3)


@pytest.mark.parametrize("moment", ["train", "test"])
def test_a_signal_before_an_epoch_is_validated_does_not_wait_for_it(run, tmp_path, moment):
    with pytest.raises(saving.Stopped):
        run(callbacks=[At(moment, 3, ask())])
    assert saved(tmp_path) == {"step-3-unvalidated"}
    _, state, _ = restored(tmp_path)
    assert state.losses["loss_G"][1] == 3  # of training, which validation has not touched
    assert state.validated == 0


def test_a_signal_at_an_epochs_end(run, tmp_path):
    with pytest.raises(saving.Stopped):
        run(callbacks=[At("epoch", 1, ask())])
    assert "step-3" in saved(tmp_path)


def test_a_continued_epoch_goes_on_with_its_sums(run, tmp_path):
    sums = {}
    with pytest.raises(saving.Stopped):
        run(callbacks=[At("train", 2, ask())])
    model, state, saver = restored(tmp_path)
    before = state.losses
    look = At("train", 3, lambda: sums.update(model.step_means.sums()))
    data = tf.data.Dataset.from_tensors(tiny.batch())
    model.fit(data, verbose=0, shuffle=False, callbacks=[look, saver])
    assert sums["loss_G"][1] == 3 and sums["loss_G"][0] > before["loss_G"][0]


def test_the_best_epochs_are_saved(run, tmp_path):
    run(epochs=0)
    model, saver, state = run.model, run.saver, run.checkpoint.state
    best = []
    for epoch, psnr in enumerate([5.0, 7.0, 6.0, 7.0]):
        model.step.assign(3 * epoch + 3)
        saver.on_epoch_end(epoch, {"val_psnr": psnr})
        best += sorted(name for name in saved(tmp_path) if name.startswith("best"))
    assert best == ["best-3", "best-6", "best-6", "best-6"]
    assert state.best == BestEpoch(2, 7.0, adversarial=False) and state.validated == 4
    model.compile(adversarial=True)  # a new phase, whose best epoch is another
    model.step.assign(15)
    saver.on_epoch_end(4, {"val_psnr": 1.0})
    assert "best-15" in saved(tmp_path) and state.best == BestEpoch(5, 1.0, adversarial=True)


def test_patience(run):
    run(epochs=0)
    model, saver = run.model, run.saver
    saver.patience = 2
    for epoch, (psnr, stopped) in enumerate([(5.0, False), (4.0, False), (4.5, True)]):
        saver.on_epoch_end(epoch, {"val_psnr": psnr})
        assert model.stop_training is stopped and saver.out_of_patience is stopped
    model.compile(adversarial=True)  # a new phase, with new patience
    saver.patience = 1
    assert not saver.out_of_patience


def test_a_validation_that_is_stopped_twice_keeps_the_epochs_sums(run, tmp_path):
    with pytest.raises(saving.Stopped):
        run(callbacks=[At("test", 3, ask())])
    model, state, saver = restored(tmp_path)
    sums = state.losses
    data = tf.data.Dataset.from_tensors(tiny.batch())
    with saver, pytest.raises(saving.Stopped):
        everyone = keras.callbacks.CallbackList([At("test", 3, ask()), saver], model=model)
        everyone.on_epoch_begin(0)
        model.evaluate(data, verbose=0, callbacks=everyone)
    assert restored(tmp_path)[1].losses == sums and sums["loss_G"][1] == 3


def test_nan_losses_end_training_within_check_every_steps(run, tmp_path):
    good, bad = tiny.batch(), tiny.batch()
    bad["ab"] = bad["ab"] * float("nan")
    steps = [good] * 4 + [bad] + [good] * 4
    batches = tf.data.Dataset.from_generator(
        lambda: iter(steps),
        output_signature={
            name: tf.TensorSpec(value.shape, value.dtype) for name, value in good.items()
        },
    )
    with pytest.raises(divergence.NotFinite, match="loss_G_L1 nan") as info:
        run(batches=batches, check_every=2, checkpoint_every_steps=1)
    assert info.value.step == 4
    # Saved just before the bad step, never after it.
    assert int(run.model.step) == 5 and "step-4" in saved(tmp_path)
    assert not {"step-5", "step-6"} & saved(tmp_path)
