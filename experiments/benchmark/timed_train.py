# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""`koalagan.train` that notes when its steps end: `python timed_train.py NOTES FLAGS...`.

NOTES gets a line of JSON for each event: its name ("epoch" as one begins, "step" as one ends,
"test" and "tested" around validation) and the time since the epoch in seconds. For `benchmark.py`.
"""

import json
import sys
import time

from absl import flags

from koalagan import errors, train
from koalagan.training import console, run_flags


class _NotingLine(console.ProgressLine):
    """Train's own progress line, which every epoch and step passes."""

    notes = ""

    def _note(self, event: str) -> None:
        with open(self.notes, "a") as file:
            file.write(json.dumps([event, time.time()]) + "\n")

    def on_epoch_begin(self, epoch, logs=None):
        self._note("epoch")
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        self._note("step")

    def on_test_begin(self, logs=None):
        super().on_test_begin(logs)
        self._note("test")

    def on_test_end(self, logs=None):
        self._note("tested")


if __name__ == "__main__":
    _NotingLine.notes = sys.argv.pop(1)
    console.ProgressLine = _NotingLine
    run_flags.define_run_flags()
    errors.run(lambda _: train.train(flags.FLAGS))
