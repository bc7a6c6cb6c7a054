# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Metrics of colorization: pure functions on tensors, one float32 per picture.

The protocol, because published numbers are often not comparable:
* The truth is the resized uint8 picture. The prediction is the predicted ab joined with the true
  float L, converted to RGB by `lab.lab_to_rgb` and rounded to uint8: what a viewer sees.
* PSNR, SSIM, colorfulness and CIEDE2000 compare these two pictures. SSIM of ab, the mean |ab|
  error and stray color are computed on the predictor's own output, before gamut mapping.
* Color accuracy is the share of pixels whose CIEDE2000 to the truth is at most 10, and 20, and the
  area under the curve of that share over limits from 0 to 50, relative to that of all pixels right.
* Stray color is in `koalagan.evaluation.stray_color`.
* PSNR is averaged only over the pictures that have color: any model predicts a grayscale picture
  almost perfectly, and its near-infinite PSNR would dominate the mean. The pooled PSNR is that of
  the squared error over all pictures together. All other metrics are means over all pictures.

Shapes and ranges: rgb uint8 [B, H, W, 3]; L and ab float32, normalized as in `lab`; H and W at
least 11, the size of the SSIM window.

Sources: SSIM: Wang et al., "Image quality assessment: from error visibility to structural
similarity", IEEE TIP 2004. Colorfulness: Hasler and Suesstrunk, "Measuring colorfulness in
natural images", SPIE 2003, section 7. CIEDE2000: Sharma, Wu and Dalal, "The CIEDE2000
color-difference formula: implementation notes, supplementary test data, and mathematical
observations", Color Research and Application 2005, equations 2 to 22.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from koalagan.color import lab
from koalagan.evaluation import stray_color

# JSON has no infinity. One channel of one pixel off by one level in a 256x256 picture is 101 dB.
MAX_PSNR = 100.0
# Mean chroma, in Lab units, from which a picture counts as having color.
MIN_CHROMA = 1.0
# The last limit of the curve of color accuracy, in CIEDE2000.
_LARGEST_DIFFERENCE = 50.0

ACCURACIES = ("within_10", "within_20", "accuracy_area")

_WHOLE_PICTURE = (-3, -2, -1)


def measure(
    truth_rgb: tf.Tensor, truth_L: tf.Tensor, truth_ab: tf.Tensor, predicted_ab: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Measures a batch of predictions.

    Args:
        truth_rgb: the true pictures, uint8 [B, H, W, 3].
        truth_L, truth_ab: `lab.rgb_to_lab(truth_rgb)`.
        predicted_ab: float [B, H, W, 2].

    Returns:
        Metrics by name, each float32 [B], for `aggregate` and `aggregate_truth`.
    """
    predicted_rgb = lab.lab_to_rgb(truth_L, predicted_ab)
    predicted_ab = tf.cast(predicted_ab, tf.float32)
    difference = ciede2000_of_pixels(truth_rgb, predicted_rgb)
    return {
        "chroma": chroma(truth_ab),
        "squared_error": squared_error(truth_rgb, predicted_rgb),
        "ssim": ssim(truth_rgb, predicted_rgb),
        "ssim_ab": ssim_ab(truth_ab, predicted_ab),
        "colorfulness": colorfulness(predicted_rgb),
        "truth_colorfulness": colorfulness(truth_rgb),
        "ciede2000": _mean_of_pixels(difference),
        "ab_mae": ab_mae(truth_ab, predicted_ab),
        **color_accuracy(difference),
        "stray_color": stray_color.stray_color(truth_L, predicted_ab),
        "truth_stray_color": stray_color.stray_color(truth_L, truth_ab),
    }


def aggregate(measured: Sequence[Mapping[str, tf.Tensor]]) -> dict[str, float | int | None]:
    """Aggregates batches of `measure` into one row of `metrics.json`, without its `model`.

    `psnr` is None if no picture has color. Batches may differ in size; every picture has the same
    weight.
    """
    joined = join(measured)
    mean = {name: float(values.mean()) for name, values in joined.items()}
    colored = has_color(joined)
    psnrs = decibels(joined["squared_error"]).numpy()
    return {
        "pictures": len(psnrs),
        "psnr": float(psnrs[colored].mean()) if colored.any() else None,
        "psnr_pooled": float(decibels(joined["squared_error"].mean())),
        "ssim": mean["ssim"],
        "ssim_ab": mean["ssim_ab"],
        "colorfulness": mean["colorfulness"],
        "colorfulness_gap": abs(mean["colorfulness"] - mean["truth_colorfulness"]),
        "ciede2000": mean["ciede2000"],
        "ab_mae": mean["ab_mae"],
        **{name: mean[name] for name in (*ACCURACIES, "stray_color")},
    }


def aggregate_truth(measured: Sequence[Mapping[str, tf.Tensor]]) -> dict[str, float | int]:
    """Aggregates the true pictures: colorfulness, stray color, and how many have color."""
    joined = join(measured)
    return {
        "colorfulness": float(joined["truth_colorfulness"].mean()),
        "pictures_with_color": int(has_color(joined).sum()),
        "stray_color": float(joined["truth_stray_color"].mean()),
    }


def has_color(joined: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which of the pictures that `join` returned have color, boolean [pictures]."""
    return joined["chroma"] >= MIN_CHROMA


def squared_error(truth_rgb: tf.Tensor, predicted_rgb: tf.Tensor) -> tf.Tensor:
    """Mean squared error in squared uint8 levels, [B]."""
    difference = tf.cast(truth_rgb, tf.float32) - tf.cast(predicted_rgb, tf.float32)
    return tf.reduce_mean(tf.square(difference), axis=_WHOLE_PICTURE)


def psnr(truth_rgb: tf.Tensor, predicted_rgb: tf.Tensor) -> tf.Tensor:
    """Peak signal-to-noise ratio of uint8 pictures in dB, at most `MAX_PSNR`, [B]."""
    return decibels(squared_error(truth_rgb, predicted_rgb))


def decibels(squared_error: tf.Tensor) -> tf.Tensor:
    """The PSNR, at most `MAX_PSNR`, of a mean squared error in squared uint8 levels."""
    ratio = 255.0**2 / tf.maximum(squared_error, 255.0**2 * 10.0 ** (-MAX_PSNR / 10.0))
    return 10.0 / math.log(10.0) * tf.math.log(ratio)


def ssim(truth_rgb: tf.Tensor, predicted_rgb: tf.Tensor) -> tf.Tensor:
    """Structural similarity of uint8 pictures (11x11 Gaussian, sigma 1.5), mean of R, G, B, [B]."""
    return tf.image.ssim(truth_rgb, predicted_rgb, max_val=255)


def ssim_ab(truth_ab: tf.Tensor, predicted_ab: tf.Tensor) -> tf.Tensor:
    """Structural similarity, mean over normalized a and b, whose range is 2, [B]."""
    return tf.image.ssim(truth_ab, predicted_ab, max_val=2.0)


def colorfulness(rgb: tf.Tensor) -> tf.Tensor:
    """Hasler and Suesstrunk's colorfulness M3 of uint8 pictures, with signed opponents, [B]."""
    red, green, blue = tf.unstack(tf.cast(rgb, tf.float32), axis=-1)
    opponents = tf.stack([red - green, 0.5 * (red + green) - blue], axis=-1)
    mean, variance = tf.nn.moments(opponents, axes=(-3, -2))
    return tf.sqrt(tf.reduce_sum(variance, axis=-1)) + 0.3 * tf.norm(mean, axis=-1)


def chroma(ab: tf.Tensor) -> tf.Tensor:
    """Mean chroma sqrt(a*^2 + b*^2) in Lab units, [B]."""
    return _mean_of_pixels(tf.norm(lab.ab_units(ab), axis=-1))


def ab_mae(truth_ab: tf.Tensor, predicted_ab: tf.Tensor) -> tf.Tensor:
    """Mean of |a* error| and |b* error| in Lab units, [B]."""
    error = tf.abs(lab.ab_units(truth_ab) - lab.ab_units(predicted_ab))
    return tf.reduce_mean(error, axis=_WHOLE_PICTURE)


def ciede2000(truth_rgb: tf.Tensor, predicted_rgb: tf.Tensor) -> tf.Tensor:
    """Mean CIEDE2000 color difference of uint8 pictures, [B]."""
    return _mean_of_pixels(ciede2000_of_pixels(truth_rgb, predicted_rgb))


def color_accuracy(difference: tf.Tensor) -> dict[str, tf.Tensor]:
    """Color accuracy, each [B] from 0 to 1, from the CIEDE2000 of each pixel, [B, H, W].

    Returns:
        `within_10` and `within_20`, the shares of pixels; `accuracy_area`, the area under the curve
        of that share over limits from 0 to 50, divided by 50.
    """
    shares = {
        f"within_{limit}": _mean_of_pixels(tf.cast(difference <= limit, tf.float32))
        for limit in (10, 20)
    }
    # A pixel is counted from the limit of its own difference on.
    counted = tf.maximum(1.0 - difference / _LARGEST_DIFFERENCE, 0.0)
    return {**shares, "accuracy_area": _mean_of_pixels(counted)}


def ciede2000_of_pixels(truth_rgb: tf.Tensor, predicted_rgb: tf.Tensor) -> tf.Tensor:
    """CIEDE2000 color difference of uint8 pictures, [B, H, W]."""
    truth = lab.lab_units(*lab.rgb_to_lab(truth_rgb))
    predicted = lab.lab_units(*lab.rgb_to_lab(predicted_rgb))
    return color_difference(truth, predicted)


def _mean_of_pixels(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(values, axis=(-2, -1))


def color_difference(lab_1: tf.Tensor, lab_2: tf.Tensor) -> tf.Tensor:
    """CIEDE2000 with kL = kC = kH = 1 between colors in Lab units, [..., 3] -> [...]."""
    L_1, a_1, b_1 = tf.unstack(lab_1, axis=-1)
    L_2, a_2, b_2 = tf.unstack(lab_2, axis=-1)

    # Step 1: chroma C' and hue h' after stretching a* near gray. Angles are in radians.
    mean_C = 0.5 * (tf.sqrt(a_1**2 + b_1**2) + tf.sqrt(a_2**2 + b_2**2))
    stretch = 1.5 - 0.5 * _saturation(mean_C)
    a_1, a_2 = a_1 * stretch, a_2 * stretch
    C_1, C_2 = tf.sqrt(a_1**2 + b_1**2), tf.sqrt(a_2**2 + b_2**2)
    h_1, h_2 = _hue(a_1, b_1), _hue(a_2, b_2)

    # Step 2: differences. The hue difference is along the shorter arc; gray has no hue.
    turn = 2.0 * math.pi
    # Exactly opposite hues do not wrap; the margin makes this independent of rounding.
    wraps = tf.cast(tf.abs(h_2 - h_1) > math.pi + 1e-6, h_1.dtype)
    d_h = h_2 - h_1 - turn * wraps * tf.sign(h_2 - h_1)
    d_L, d_C = L_2 - L_1, C_2 - C_1
    d_H = 2.0 * tf.sqrt(C_1 * C_2) * tf.sin(0.5 * d_h)

    # Step 3: weights at the mean color.
    mean_L, mean_C = 0.5 * (L_1 + L_2), 0.5 * (C_1 + C_2)
    mean_h = 0.5 * (h_1 + h_2) + math.pi * tf.where(h_1 + h_2 < turn, wraps, -wraps)
    mean_h = tf.where(C_1 * C_2 == 0.0, h_1 + h_2, mean_h)
    T = (
        1.0
        - 0.17 * tf.cos(mean_h - math.radians(30))
        + 0.24 * tf.cos(2.0 * mean_h)
        + 0.32 * tf.cos(3.0 * mean_h + math.radians(6))
        - 0.20 * tf.cos(4.0 * mean_h - math.radians(63))
    )
    off_mid = (mean_L - 50.0) ** 2
    S_L = 1.0 + 0.015 * off_mid / tf.sqrt(20.0 + off_mid)
    S_C = 1.0 + 0.045 * mean_C
    S_H = 1.0 + 0.015 * mean_C * T
    blue = tf.exp(-(((mean_h - math.radians(275)) / math.radians(25)) ** 2))
    R_T = -2.0 * _saturation(mean_C) * tf.sin(math.radians(60) * blue)
    L, C, H = d_L / S_L, d_C / S_C, d_H / S_H
    # Rounding can make a zero difference slightly negative.
    return tf.sqrt(tf.maximum(L**2 + C**2 + H**2 + R_T * C * H, 0.0))


def _hue(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    hue = tf.atan2(b, a)
    return tf.where(hue < 0.0, hue + 2.0 * math.pi, hue)


def _saturation(chroma: tf.Tensor) -> tf.Tensor:
    """sqrt(C^7 / (C^7 + 25^7)), written so that it does not overflow float32 for any chroma."""
    ratio = (chroma / 25.0) ** 7
    return tf.sqrt(ratio / (ratio + 1.0))


def join(measured: Sequence[Mapping[str, tf.Tensor]]) -> dict[str, np.ndarray]:
    """Batches of `measure` as one array per metric, float64 [pictures]."""
    return {
        name: np.concatenate([np.asarray(batch[name], np.float64) for batch in measured])
        for name in measured[0]
    }
