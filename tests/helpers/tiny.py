# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Networks and batches small enough for tests that train."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from koalagan.training.gan import ColorizationGAN


def generator() -> keras.Model:
    """The fusion generator's inputs and output in 2 layers."""
    lightness = keras.Input((None, None, 1), name="L")
    embedding = keras.Input((1001,), name="embedding")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv")(lightness)
    everywhere = layers.Dense(8, name="dense")(embedding)
    x = layers.Add(name="add")([x, layers.Reshape((1, 1, 8), name="reshape")(everywhere)])
    x = layers.Conv2D(2, 3, padding="same", name="color")(x)
    ab = layers.Activation("tanh", dtype="float32", name="ab")(x)
    return keras.Model({"L": lightness, "embedding": embedding}, ab)


def discriminator() -> keras.Model:
    """A PatchGAN with one normalized layer."""
    picture = keras.Input((None, None, 3), name="picture")
    x = layers.Conv2D(8, 4, strides=2, use_bias=False, name="conv")(picture)
    x = layers.BatchNormalization(momentum=0.9, name="norm")(x)
    x = layers.Conv2D(1, 4, name="logit")(layers.ReLU(name="relu")(x))
    logits = layers.Activation("linear", dtype="float32", name="logits")(x)
    return keras.Model(picture, logits)


def gan(seed: int = 0, **rates) -> ColorizationGAN:
    keras.utils.set_random_seed(seed)
    return ColorizationGAN(generator(), discriminator(), **rates)


def batch(count: int = 4, size: int = 16, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "L": tf.constant(rng.uniform(-1, 1, (count, size, size, 1)), tf.float32),
        "ab": tf.constant(rng.uniform(-0.3, 0.3, (count, size, size, 2)), tf.float32),
        "embedding": tf.constant(rng.normal(size=(count, 1001)), tf.float32),
    }


def weights(model: keras.Model) -> list[np.ndarray]:
    """Copies of all weights."""
    return [np.array(weight) for weight in model.get_weights()]
