# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The callbacks of a run, called without a read from the device after each step."""

import keras


class StepCallbacks(keras.callbacks.CallbackList):
    """A list of callbacks, for `fit` and `evaluate`.

    Keras's own converts the losses of each step to Python numbers before it calls anyone: a GPU
    then waits for Python after each step. This one passes them on as tensors, to be read by those
    who need them, when they do.
    """

    def on_train_batch_end(self, batch, logs=None):
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)

    def on_test_batch_end(self, batch, logs=None):
        for callback in self.callbacks:
            callback.on_test_batch_end(batch, logs)
