# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Measures of the pictures that a model in training colors: means over the validation pictures."""

import keras
import tensorflow as tf

from koalagan.color import lab
from koalagan.evaluation import metrics


class PooledPSNR(keras.metrics.Mean):
    """PSNR in dB of the error pooled over all pictures; updated with mean squared errors."""

    def result(self):
        return metrics.decibels(super().result())


def means() -> dict[str, keras.metrics.Mean]:
    """Running means by name: PSNR (mean and pooled), SSIM, colorfulness."""
    return {
        "psnr": keras.metrics.Mean("psnr"),
        "psnr_pooled": PooledPSNR("psnr_pooled"),
        "ssim": keras.metrics.Mean("ssim"),
        "colorfulness": keras.metrics.Mean("colorfulness"),
    }


def update(
    running: dict[str, keras.metrics.Mean], L: tf.Tensor, true_ab: tf.Tensor, ab: tf.Tensor
) -> None:
    """Adds a batch to the running means.

    Args:
        running: from `means`.
        L: [B, H, W, 1], the lightness of the pictures.
        true_ab, ab: [B, H, W, 2], their colors and the predicted ones.
    """
    true, predicted = lab.lab_to_rgb(L, true_ab), lab.lab_to_rgb(L, ab)
    error = metrics.squared_error(true, predicted)
    has_color = tf.cast(metrics.chroma(true_ab) >= metrics.MIN_CHROMA, tf.float32)
    running["psnr"].update_state(metrics.decibels(error), has_color)
    running["psnr_pooled"].update_state(error)
    running["ssim"].update_state(metrics.ssim(true, predicted))
    running["colorfulness"].update_state(metrics.colorfulness(predicted))
