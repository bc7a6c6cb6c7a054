# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The nominal arithmetic of networks and steps, against published counts."""

import keras
import pytest
import roofline

from koalagan.models import patchgan
from koalagan.models.generators import inception_fusion
from koalagan.training.gan import ColorizationGAN


def test_forward_passes_have_their_nominal_arithmetic():
    fusion = inception_fusion.build(segmentation=False)
    assert roofline.forward_gflop(fusion) == pytest.approx(19.7, abs=0.05)
    assert roofline.forward_gflop(patchgan.build()) == pytest.approx(6.3, abs=0.05)


def test_a_transposed_convolution_is_counted_at_its_input():
    network = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2DTranspose(5, 4, strides=2, padding="same")]
    )
    assert roofline.forward_gflop(network) == pytest.approx(2e-9 * 4 * 4 * 3 * 5 * 8 * 8)


def test_layers_of_nested_networks_are_counted():
    inner = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(5, 3)])
    outer = keras.Sequential([keras.Input((8, 8, 3)), inner, keras.layers.Flatten()])
    outer.add(keras.layers.Dense(7))
    expected = 2e-9 * (3 * 3 * 3 * 5 * 6 * 6 + 6 * 6 * 5 * 7)
    assert roofline.forward_gflop(outer) == pytest.approx(expected)


@pytest.mark.parametrize(("every", "gflop"), [(1, 109.5), (5, 79.3)])
def test_a_step_has_its_nominal_arithmetic(every, gflop):
    gan = ColorizationGAN(inception_fusion.build(segmentation=False), patchgan.build())
    assert roofline.step_gflop(gan, every) == pytest.approx(gflop, abs=0.1)
    assert roofline.step_gflop(gan, None) == pytest.approx(59.1, abs=0.1)


def test_the_matrix_peak_is_measured(monkeypatch):
    monkeypatch.setattr(roofline, "_PRODUCTS", 1)
    assert roofline.matrix_peak("float32") > 0
