# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Batches are copied to the device that trains, one ahead, and stay the same."""

import os
import subprocess
import sys

# In a process of its own: a second CPU, which stands for the GPU, has to be made first.
PROGRAM = """
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from helpers import tiny
from koalagan.training import feeding, gan

batches = tf.data.Dataset.from_tensor_slices(tiny.batch(count=20)).batch(4)
seen = []


class Watched(feeding.Feed):
    def take(self, iterator):
        batch = super().take(iterator)
        seen.append({tensor.device[-6:] for tensor in batch.values()})
        return batch


feeding.Feed = Watched
histories = []
for device in (None, "/CPU:1"):
    feeding.training_device = lambda: device
    for data, steps in ((batches, None), (batches.repeat(), 3)):
        model = tiny.gan()
        model.compile(discriminator_every=2)
        options = {"steps_per_epoch": steps, "verbose": 0, "shuffle": False}
        histories.append(model.fit(data, epochs=3, validation_data=batches, **options).history)
        assert model.steps_done == int(model.step) == 3 * (steps or 5)
        # A second `fit` begins with the first batch of its own data.
        model.fit(batches, epochs=4, initial_epoch=3, **options)
        histories.append({"loss_G": float(model.step_means.losses["loss_G"].result())})
half = len(seen) // 2
assert seen == [{":CPU:0"}] * half + [{":CPU:1"}] * half
plain, ahead = histories[:4], histories[4:]
for one, other in zip(plain, ahead):
    for name in one:
        np.testing.assert_allclose(other[name], one[name], rtol=1e-6)
# No iterator is alive: Python would not end.
assert model.train_function is not None
print("alike")
"""


def test_batches_are_copied_to_the_device_and_stay_the_same():
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "alike\n", done.stderr
