# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""`koalagan.train` that records when its steps end: `python timed_train.py NOTES FLAGS...`.

NOTES receives a line of JSON for each event: its name ("epoch" at the start of an epoch, "step" at
the end of a step, "test" and "tested" around validation) and the Unix time in seconds. Used by
`benchmark.py`.
"""

import json
import sys
import time

from koalagan import cli, train
from koalagan.training import console


class RecordingLine(console.ProgressLine):
    """The progress line of training, which is called at every epoch and step."""

    notes = ""
    _has_waited = False

    def _record(self, event: str) -> None:
        with open(self.notes, "a") as file:
            file.write(json.dumps([event, time.time()]) + "\n")

    def on_epoch_begin(self, epoch, logs=None):
        self._record("epoch")
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if not self._has_waited:
            self._has_waited = True
            int(self.model.step)  # waits for a GPU, whose first step is timed; the others are not
        self._record("step")

    def on_test_begin(self, logs=None):
        super().on_test_begin(logs)
        int(self.model.step)  # waits for a GPU, which may still train
        self._record("test")

    def on_test_end(self, logs=None):
        self._record("tested")


if __name__ == "__main__":
    RecordingLine.notes = sys.argv.pop(1)
    console.ProgressLine = RecordingLine
    cli.run(train.COMMAND)
