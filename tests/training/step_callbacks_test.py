# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Numbers are read from the device at the points of the curves, and not in between."""

import keras
import pytest
import tensorflow as tf
from helpers import tiny
from tensorflow.python.framework import ops

from koalagan.training import checkpoint, console, saving, summaries
from koalagan.training.settings import SavingSettings
from koalagan.training.step_callbacks import StepCallbacks

STEPS = 12
EVERY = 4


class Mark(keras.callbacks.Callback):
    """Notes after each step how many numbers have been read so far; stands first."""

    def __init__(self, reads):
        super().__init__()
        self._reads = reads
        self.marks = []

    def on_train_batch_end(self, batch, logs=None):
        self.marks.append(len(self._reads))


@pytest.mark.parametrize("adversarial", [False, True])
def test_a_step_reads_no_number_from_the_device(tmp_path, monkeypatch, adversarial):
    reads = []
    read = ops.EagerTensor._numpy

    def counted(tensor):
        # Keras asks after each step whether the iterator had a batch: that is known to the host.
        if tensor.dtype != tf.bool:
            reads.append(tensor)
        return read(tensor)

    model = tiny.gan()
    model.compile(adversarial=adversarial)
    run_checkpoint = checkpoint.RunCheckpoint(model, str(tmp_path))
    settings = SavingSettings(check_every=EVERY, checkpoint_every_minutes=60.0)
    saver = saving.Saver(run_checkpoint, STEPS, settings)
    mark = Mark(reads)
    log = summaries.TensorBoardLog(
        str(tmp_path / "tensorboard"), tiny.batch(), run_checkpoint.state, every=EVERY
    )
    line = console.ProgressLine(2, 2, STEPS, EVERY)
    monkeypatch.setattr(ops.EagerTensor, "_numpy", counted)
    with saver:
        model.fit(
            tf.data.Dataset.from_tensors(tiny.batch()).repeat(),
            steps_per_epoch=STEPS,
            epochs=2,
            validation_data=tf.data.Dataset.from_tensors(tiny.batch()),
            callbacks=StepCallbacks([mark, line, log, saver], add_history=True, model=model),
            verbose=0,
            shuffle=False,
        )
    assert len(mark.marks) == 2 * STEPS and int(model.step) == model.steps_done == 2 * STEPS
    steps = range(1, 2 * STEPS)
    reading = [step for step in steps if mark.marks[step] > mark.marks[step - 1]]
    assert reading == [step for step in steps if step % EVERY == 0]


def test_steps_are_counted_from_those_of_the_checkpoint(tmp_path):
    model = tiny.gan()
    model.compile(adversarial=False)
    data = tf.data.Dataset.from_tensors(tiny.batch()).repeat()
    model.fit(data, steps_per_epoch=3, verbose=0, shuffle=False)
    checkpoint.RunCheckpoint(model, str(tmp_path)).save()
    model.fit(data, steps_per_epoch=2, verbose=0, shuffle=False)
    assert model.steps_done == int(model.step) == 5
    assert checkpoint.RunCheckpoint(model, str(tmp_path)).restore()
    model.fit(data, steps_per_epoch=4, verbose=0, shuffle=False)
    assert model.steps_done == int(model.step) == 7
