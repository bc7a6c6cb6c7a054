# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import os
import signal

import numpy as np
import pytest
import tensorflow as tf
import tiny

from koalagan import checkpoint, precision
from koalagan.errors import UserError


def _train(model, steps, *, adversarial=True):
    model.compile(adversarial=adversarial, discriminator_every=2)
    data = tf.data.Dataset.from_tensors(tiny.batch()).repeat()
    model.fit(data, steps_per_epoch=steps, verbose=0, shuffle=False)


def _everything(model):
    optimizers = (
        model.pretraining_optimizer,
        model.generator_optimizer,
        model.discriminator_optimizer,
    )
    state = [variable for optimizer in optimizers for variable in optimizer.variables]
    counters = [model.step.numpy(), model.adversarial_step.numpy()]
    return (
        tiny.weights(model.generator)
        + tiny.weights(model.discriminator)
        + [np.array(variable) for variable in state]
        + counters
    )


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_restores_networks_optimizers_loss_scale_and_steps(tmp_path, dtype):
    with precision.policy(dtype):
        model, other = tiny.gan(seed=1), tiny.gan(seed=2)
    _train(model, 2, adversarial=False)
    _train(model, 3)
    checkpoint.RunCheckpoint(model, str(tmp_path)).save()
    assert checkpoint.RunCheckpoint(other, str(tmp_path)).restore()
    for got, expected in zip(_everything(other), _everything(model), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert int(other.step) == 5 and int(other.adversarial_step) == 3


def test_a_restored_run_goes_on_as_the_uninterrupted_one(tmp_path):
    whole, first, second = tiny.gan(), tiny.gan(), tiny.gan(seed=9)
    _train(whole, 7)
    _train(first, 4)
    checkpoint.RunCheckpoint(first, str(tmp_path)).save()
    checkpoint.RunCheckpoint(second, str(tmp_path)).restore()
    _train(second, 3)
    for got, expected in zip(_everything(second), _everything(whole), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_nothing_to_restore(tmp_path):
    assert not checkpoint.RunCheckpoint(tiny.gan(), str(tmp_path)).restore()


def test_keeps_two_checkpoints_and_writes_a_step_once(tmp_path):
    model = tiny.gan()
    run = checkpoint.RunCheckpoint(model, str(tmp_path))
    for step in (1, 2, 3):
        model.step.assign(step)
        path = run.save()
    written = os.stat(f"{path}.index").st_mtime_ns
    assert run.save() == path and os.stat(f"{path}.index").st_mtime_ns == written
    names = {name.split(".")[0] for name in os.listdir(tmp_path / "checkpoints")}
    assert names == {"checkpoint", "step-2", "step-3"}


def test_generator_alone(tmp_path):
    model = tiny.gan(seed=1)
    checkpoint.RunCheckpoint(model, str(tmp_path)).save()
    generator = tiny.generator()
    checkpoint.restore_generator(generator, str(tmp_path))
    for got, expected in zip(generator.get_weights(), model.generator.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_no_checkpoint_and_another_network_end_in_sentences(tmp_path):
    with pytest.raises(UserError, match="no checkpoint"):
        checkpoint.restore_generator(tiny.generator(), str(tmp_path))
    checkpoint.RunCheckpoint(tiny.gan(), str(tmp_path)).save()
    with pytest.raises(UserError, match="damaged or another network"):
        checkpoint.restore_generator(tiny.discriminator(), str(tmp_path))


def test_a_damaged_checkpoint_ends_in_a_sentence(tmp_path):
    run = checkpoint.RunCheckpoint(tiny.gan(), str(tmp_path))
    path = f"{run.save()}.data-00000-of-00001"
    with open(path, "r+b") as file:
        file.truncate(100)
    with pytest.raises(UserError, match="cannot be restored"):
        checkpoint.RunCheckpoint(tiny.gan(), str(tmp_path)).restore()


def test_a_signal_during_validation_ends_training_after_the_epoch(tmp_path):
    model = tiny.gan()
    run = checkpoint.RunCheckpoint(model, str(tmp_path))
    saver = checkpoint.Saver(run)

    class Interrupt(tf.keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            os.kill(os.getpid(), signal.SIGINT)

    model.compile(adversarial=False)
    data = tf.data.Dataset.from_tensors(tiny.batch())
    with pytest.raises(checkpoint.Stopped), saver:
        model.fit(
            data,
            epochs=3,
            validation_data=data,
            verbose=0,
            shuffle=False,
            callbacks=[Interrupt(), saver],
        )
    assert int(model.step) == 1
    assert (tmp_path / "checkpoints" / "step-1.index").exists()


def test_a_signal_in_an_epochs_last_step_still_validates_the_epoch(tmp_path):
    model = tiny.gan()
    saver = checkpoint.Saver(checkpoint.RunCheckpoint(model, str(tmp_path)))
    seen = []

    class Interrupt(tf.keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                os.kill(os.getpid(), signal.SIGTERM)

        def on_epoch_end(self, epoch, logs=None):
            seen.append(logs["val_psnr"])

    model.compile(adversarial=False)
    data = tf.data.Dataset.from_tensors(tiny.batch())
    with pytest.raises(checkpoint.Stopped), saver:
        model.fit(
            data.repeat(),
            steps_per_epoch=2,
            epochs=3,
            validation_data=data,
            verbose=0,
            shuffle=False,
            callbacks=[Interrupt(), saver],
        )
    assert len(seen) == 1 and int(model.step) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_saver_ends_training_after_the_step_and_a_second_signal_stops_at_once(tmp_path, number):
    model = tiny.gan()
    saver = checkpoint.Saver(checkpoint.RunCheckpoint(model, str(tmp_path)))
    former = signal.getsignal(number)

    def batches():
        for step in range(10):
            if step == 4:
                os.kill(os.getpid(), number)
            yield tiny.batch()

    model.compile(adversarial=False, run_eagerly=True)
    with pytest.raises(checkpoint.Stopped), saver:
        model.fit(
            tf.data.Dataset.from_generator(
                batches,
                output_signature={
                    name: tf.TensorSpec(value.shape, value.dtype)
                    for name, value in tiny.batch().items()
                },
            ),
            verbose=0,
            shuffle=False,
            callbacks=[saver],
        )
    assert saver.stopped_by == number
    assert 1 <= int(model.step) <= 5
    assert signal.getsignal(number) is former


def test_saver_saves_after_every_epoch(tmp_path):
    model = tiny.gan()
    run = checkpoint.RunCheckpoint(model, str(tmp_path))
    model.compile(adversarial=False)
    data = tf.data.Dataset.from_tensors(tiny.batch()).repeat()
    model.fit(
        data,
        steps_per_epoch=2,
        epochs=2,
        verbose=0,
        shuffle=False,
        callbacks=[checkpoint.Saver(run)],
    )
    assert {"step-2.index", "step-4.index"} <= set(os.listdir(tmp_path / "checkpoints"))
