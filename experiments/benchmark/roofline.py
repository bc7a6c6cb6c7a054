# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The arithmetic of a training step (GFLOP), and the peak rate of the machine (GFLOP/s).

A multiply-add counts as two operations. The arithmetic of a network is the nominal one of its
layers, so that shares of the peak are comparable whatever form the layers are computed in: the
factored fusion, for example, counts as the equivalent 1x1 convolution of 1257 channels.
"""

import time
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from koalagan.training.gan import ColorizationGAN

_PRODUCTS = 8


def matrix_peak(dtype: str) -> float:
    """GFLOP/s of the product of two square matrices in `dtype`, the best of three measurements."""
    side = 8192 if tf.config.list_physical_devices("GPU") else 2048
    # With this standard deviation, products neither grow nor vanish.
    a, b = (tf.cast(tf.random.normal((side, side), stddev=side**-0.5), dtype) for _ in range(2))

    @tf.function(autograph=False)
    def products(a, b):
        for _ in range(_PRODUCTS):
            a = tf.matmul(a, b)
        return a[0, 0]  # fetched, to wait for asynchronous devices

    float(products(a, b))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        float(products(a, b))
        times.append(time.perf_counter() - start)
    return 2e-9 * side**3 * _PRODUCTS / min(times)


def forward_gflop(model: keras.Model) -> float:
    """The nominal arithmetic of a forward pass per picture: convolutions and dense layers."""
    return sum(map(_layer_gflop, _layers(model)))


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer


def _layer_gflop(layer: keras.layers.Layer) -> float:
    kernel = getattr(layer, "kernel", None)
    if kernel is None:
        return 0.0
    transposed = isinstance(layer, keras.layers.Conv2DTranspose)
    shape = (layer.input if transposed else layer.output).shape
    positions = shape[1] * shape[2] if len(kernel.shape) == 4 else 1
    return 2e-9 * int(np.prod(kernel.shape)) * positions


def step_gflop(gan: ColorizationGAN, every: int | None) -> float:
    """The nominal arithmetic of a training step per picture.

    A network that is trained costs three forward passes; one that only passes the gradient on costs
    two. The discriminator passes it on in every step, and trains on two pictures in its turn.

    Args:
        gan: the networks.
        every: `discriminator_every`; None in pretraining.
    """
    generator, discriminator = forward_gflop(gan.generator), forward_gflop(gan.discriminator)
    if every is None:
        return 3 * generator
    return 3 * generator + 2 * discriminator + 2 * 3 * discriminator / every
