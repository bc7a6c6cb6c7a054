# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Reading what a run wrote for TensorBoard."""

import tensorflow as tf


def events(folder):
    """tag -> {step: value} of all event files below `folder`, read as TensorBoard does."""
    found = {}
    for path in sorted(folder.iterdir()):
        for record in tf.compat.v1.io.tf_record_iterator(str(path)):
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                points = found.setdefault(value.tag, {})
                assert event.step not in points, f"{value.tag} has step {event.step} twice"
                points[event.step] = tf.make_ndarray(value.tensor)
    return found
