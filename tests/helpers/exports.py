# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Tiny networks to export, pictures to color with them, and what every export must fulfill."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from koalagan.models.layers.dropout import Dropout

# (height, width) at which the exported generators color pictures.
SIZE = (16, 24)


def _normal(seed, stddev=0.05):
    return keras.initializers.RandomNormal(stddev=stddev, seed=seed)


def embedding() -> keras.Model:
    """Logits that follow the mean lightness."""
    L = keras.Input((None, None, 1), name="L")
    pooled = layers.GlobalAveragePooling2D()(L)
    return keras.Model(L, layers.Dense(1001, kernel_initializer=_normal(1))(pooled))


def segmentation() -> keras.Model:
    """Scores at half the size that differ from place to place."""
    L = keras.Input((None, None, 1), name="L")
    return keras.Model(L, layers.Conv2D(21, 3, 2, "same", kernel_initializer=_normal(3))(L))


def generator(*, embedding=True, segmentation=False) -> keras.Model:
    """Colors that vary over the picture and with its inputs, many of them out of gamut."""
    L = keras.Input((None, None, 1), name="L")
    inputs = {"L": L}
    strong = _normal(2, stddev=1.5)
    x = layers.Conv2D(4, 3, 2, "same", activation="relu", kernel_initializer=strong)(L)
    if embedding:
        inputs["embedding"] = keras.Input((1001,), name="embedding")
        start = keras.initializers.GlorotUniform(seed=4)
        everywhere = layers.Dense(4, kernel_initializer=start)(inputs["embedding"])
        x = layers.Add()([x, layers.Reshape((1, 1, 4))(everywhere)])
    if segmentation:
        inputs["segmentation"] = keras.Input((None, None, 21), name="segmentation")
        x = layers.Add()(
            [x, layers.Conv2D(4, 1, kernel_initializer=strong)(inputs["segmentation"])]
        )
    x = layers.Conv2D(2, 3, padding="same", activation="tanh", kernel_initializer=strong)(x)
    return keras.Model(inputs, layers.UpSampling2D()(x))


def noisy_generator() -> keras.Model:
    """A generator whose dropout stays on, so that it colors the same picture in several ways."""
    L = keras.Input((None, None, 1), name="L")
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(L)
    x = Dropout(0.5, at_inference=True)(x)
    return keras.Model({"L": L}, layers.Conv2D(2, 1, activation="tanh")(x))


def photograph(height, width, seed=0):
    """Smooth strong colors with noise, black and white corners."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 5, 3)).astype(np.float32)
    smooth = tf.image.resize(coarse, (height, width)).numpy()
    rgb = np.clip(smooth + rng.normal(0, 20, smooth.shape), 0, 255).astype(np.uint8)
    rgb[0, 0], rgb[-1, -1] = 0, 255
    return rgb


def assert_same_colors(first, second):
    """Equal except for float32 rounding, which the way back into the gamut may amplify a little."""
    difference = np.abs(np.asarray(first, int) - np.asarray(second, int))
    assert difference.max() <= 6 and difference.mean() < 0.1
