# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""SavedModels that are saved at once, without the chain of an export."""

import json

import tensorflow as tf


def save(folder, *, size=(1, 1), name="predict_ab", output="ab"):
    """Saves a SavedModel that predicts ab = (0.1 L, 0.2 L), for any size or for one.

    Returns:
        Its path.
    """

    class Model(tf.Module):
        def __init__(self):
            super().__init__()
            self.weight = tf.Variable(tf.fill([*size, 1], 0.2))

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 1], name="L")])
        def predict(self, L):
            return {output: tf.concat([0.1 * L, self.weight * L], axis=-1)}

    model = Model()
    tf.saved_model.save(model, str(folder), signatures={name: model.predict})
    return str(folder)


def write_facts(folder, **facts):
    """Writes what an export knows of itself, without a model; returns the folder's path."""
    extra = folder / "assets.extra"
    extra.mkdir(parents=True)
    (extra / "koalagan.json").write_text(json.dumps(facts))
    return str(folder)
