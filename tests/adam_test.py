# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import keras
import numpy as np
import tensorflow as tf

from koalagan.adam import FusedAdam


def learned(kind, steps=20):
    """A matrix and a vector after steps with gradients of many sizes, and what Adam remembers."""
    rng = np.random.default_rng(0)
    variables = [
        keras.Variable(rng.normal(size=shape), dtype="float32") for shape in ((3, 5), (7,))
    ]
    optimizer = kind(1e-2, beta_1=0.5)
    optimizer.build(variables)

    @tf.function
    def step(gradients):
        optimizer.apply(gradients, variables)

    for _ in range(steps):
        sizes = 10.0 ** rng.uniform(-6, 3, size=2)
        step(
            [
                tf.constant(size * rng.normal(size=variable.shape), tf.float32)
                for size, variable in zip(sizes, variables, strict=True)
            ]
        )
    return [variable.numpy() for variable in (*variables, *optimizer.variables)]


def test_it_does_what_kerass_does():
    ours, keras_own = learned(FusedAdam), learned(keras.optimizers.Adam)
    for got, expected in zip(ours, keras_own, strict=True):
        # The kernel takes 1 - beta_2 in float32, which is off by 1.3e-5 of it.
        np.testing.assert_allclose(got, expected, rtol=3e-5, atol=1e-9)
    assert not np.allclose(ours[0], learned(FusedAdam, steps=19)[0], rtol=1e-4)
