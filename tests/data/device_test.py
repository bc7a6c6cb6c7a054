# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Batches are on the device that trains before the step asks for them."""

import subprocess
import sys

# In a process of its own: a second CPU, which stands for the GPU, has to be made first.
PROGRAM = """
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from koalagan.data import pipeline
from koalagan.data.store import Store

pictures = np.random.default_rng(0).integers(0, 256, (10, 6, 8, 3), np.uint8)
embedding = np.random.default_rng(1).normal(size=(10, 2, 1001)).astype(np.float32)
store = Store(None, {"pictures": 10}, pictures, embedding)
found = []
for device in (None, "/CPU:1"):
    pipeline.training_device = lambda: device
    training = iter(pipeline.training_batches(store, batch_size=4, seed=7, first_step=3))
    evaluation = pipeline.evaluation_batches(store, batch_size=4)
    found.append([next(training) for _ in range(5)] + list(evaluation))
    step = tf.function(lambda batches: next(batches)["rgb"])
    assert step(training).shape == (4, 6, 8, 3)
for batch in found[1]:
    assert all(tensor.device.endswith("CPU:1") for tensor in batch.values()), batch
plain, moved = found
assert len(plain) == len(moved) == 8
for one, other in zip(plain, moved):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
print("alike")
"""


def test_batches_are_copied_to_the_device_and_stay_the_same():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout == "alike\n", done.stderr
