# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Converts sRGB to normalized CIE Lab and back; the only file with color constants.

    rgb  uint8    [..., H, W, 3]  sRGB; uint16 where a function says so
    L    float32  [..., H, W, 1]  L*/50 - 1, in [-1, 1]
    ab   float32  [..., H, W, 2]  a*/110 and b*/110; sRGB spans [-0.98, 0.90]

Lab is CIE 1976 under D65 (2 degree observer), computed by `tensorflow_io.experimental.color`. The
way back, and lightness alone, are implemented here with the same constants. All functions are pure
TensorFlow: they run eagerly, in tf.data, under XLA and in a SavedModel, on any size.
"""

import warnings

import numpy as np
import tensorflow as tf

with warnings.catch_warnings():
    # tensorflow-io 0.37.1 is compiled against an older TensorFlow than 2.21, so its two native
    # file-system plugins fail to load and each warns once. Its color functions are pure Python on
    # top of TensorFlow and need neither.
    warnings.filterwarnings("ignore", "unable to load libtensorflow_io_plugins", UserWarning)
    warnings.filterwarnings("ignore", "file system plugins are not loaded", UserWarning)
    from tensorflow_io import experimental as tfio

_L_HALF_RANGE = 50.0
_AB_RANGE = 110.0

# sRGB and Lab, with the constants of tensorflow-io and scikit-image. Theirs do not suffice:
# whether a color lies outside sRGB is only visible before the clipping that they end in, and
# full-size photographs need lightness alone, fast.
_F_LINEAR_UP_TO = 0.2068966
_F_LINEAR_SLOPE = 7.787
_WHITE_D65 = (0.95047, 1.0, 1.08883)
_RGB_FROM_XYZ = (
    (3.24048134, -1.53715152, -0.49853633),
    (-0.96925495, 1.87599, 0.04155593),
    (0.05564664, -0.20404134, 1.05731107),
)
_Y_FROM_RGB = (0.212671, 0.715160, 0.072169)
_GAMMA_LINEAR_UP_TO = 0.0031308
# Linear RGB this far outside [0, 1] still rounds to the value at the limit (the steepest part of
# the sRGB curve makes it 0.33 of a level of uint8): float32 rounding never changes a real color.
_GAMUT_TOLERANCE = {tf.uint8: 1e-4, tf.uint16: 4e-7}
# 2^-10 of the largest chroma that sRGB has is 0.13 Lab units, well below one uint8 level.
_BISECTION_STEPS = 10


def rgb_to_lab(rgb: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Converts sRGB pictures, uint8 [..., H, W, 3], to normalized `(L, ab)`.

    Raises:
        TypeError: the pictures are not uint8.
    """
    rgb = tf.convert_to_tensor(rgb)
    if rgb.dtype != tf.uint8:
        # A float picture in [0, 1] would silently become black.
        raise TypeError(f"rgb_to_lab takes uint8 pictures, not {rgb.dtype.name}.")
    lab = tfio.color.rgb_to_lab(tf.cast(rgb, tf.float32) / 255.0)
    return lab[..., :1] / _L_HALF_RANGE - 1.0, normalized_ab(lab[..., 1:])


def lightness(rgb: tf.Tensor) -> tf.Tensor:
    """Converts sRGB pictures to normalized L, float32 [..., H, W, 1].

    Args:
        rgb: uint8 or uint16 [..., H, W, 3].
    """
    rgb = tf.convert_to_tensor(rgb)
    levels = np.linspace(0.0, 1.0, rgb.dtype.max + 1)
    linear = np.where(levels > 0.04045, ((levels + 0.055) / 1.055) ** 2.4, levels / 12.92)
    channels = tf.unstack(tf.cast(rgb, tf.int32), axis=-1)
    luminance = sum(
        tf.gather(tf.constant(weight * linear, tf.float32), channel)
        for weight, channel in zip(_Y_FROM_RGB, channels, strict=True)
    )
    f = tf.where(
        luminance > 0.008856,
        tf.pow(luminance, 1.0 / 3.0),
        _F_LINEAR_SLOPE * luminance + 16.0 / 116.0,
    )
    return ((116.0 * f - 16.0) / _L_HALF_RANGE - 1.0)[..., None]


def lab_to_rgb(L: tf.Tensor, ab: tf.Tensor, dtype: tf.DType = tf.uint8) -> tf.Tensor:
    """Converts normalized `L` and `ab` to sRGB, `dtype` [..., H, W, 3].

    A color outside sRGB keeps its lightness and hue and loses chroma: (a*, b*) shrinks toward gray,
    by bisection, until it fits. (Plain clipping moves L* by up to 4 units on predictions of
    networks.) Colors inside sRGB are unchanged. Not meant to be differentiated.

    Args:
        L, ab: float [..., H, W, 1] and [..., H, W, 2].
        dtype: uint8 or uint16.
    """
    tolerance = _GAMUT_TOLERANCE[dtype]
    lightness, a, b = tf.unstack(lab_units(L, ab), axis=-1)
    channels = _linear_rgb(lightness, a, b)
    # Only these pixels, which are few in a photograph, are processed.
    outside = tf.where(~_in_gamut(channels, tolerance))
    lightness, a, b = (tf.gather_nd(part, outside) for part in (lightness, a, b))
    scale = tf.zeros_like(lightness)  # The largest scale known to fit; gray always fits.
    for step in range(1, _BISECTION_STEPS + 1):
        larger = scale + 2.0**-step
        fits = _in_gamut(_linear_rgb(lightness, larger * a, larger * b), tolerance)
        scale = tf.where(fits, larger, scale)
    shrunk = _linear_rgb(lightness, scale * a, scale * b)
    encoded = [
        _gamma(tf.tensor_scatter_nd_update(channel, outside, fitting))
        for channel, fitting in zip(channels, shrunk, strict=True)
    ]
    return tf.cast(tf.round(tf.stack(encoded, axis=-1) * float(dtype.max)), dtype)


def lab_units(L: tf.Tensor, ab: tf.Tensor) -> tf.Tensor:
    """Converts normalized `L` and `ab` to L*, a*, b* in Lab units, float32 [..., H, W, 3]."""
    return tf.concat([(tf.cast(L, tf.float32) + 1.0) * _L_HALF_RANGE, ab_units(ab)], axis=-1)


def ab_units(ab: tf.Tensor) -> tf.Tensor:
    """Converts normalized `ab` to a* and b* in Lab units, float32 [..., 2]."""
    return tf.cast(ab, tf.float32) * _AB_RANGE


def normalized_ab(units: tf.Tensor) -> tf.Tensor:
    """Converts a* and b* in Lab units to normalized `ab`."""
    return units / _AB_RANGE


def _linear_rgb(lightness: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> list[tf.Tensor]:
    """Linear R, G and B of L*, a*, b*, elementwise; outside [0, 1] for colors outside sRGB."""
    f_y = (lightness + 16.0) / 116.0
    # Channel by channel is several times faster than a [..., 3] layout with a matrix product.
    xyz = [
        white * _inverse_f(f)
        for white, f in zip(_WHITE_D65, (f_y + a / 500.0, f_y, f_y - b / 200.0), strict=True)
    ]
    return [sum(weight * x for weight, x in zip(row, xyz, strict=True)) for row in _RGB_FROM_XYZ]


def _in_gamut(channels: list[tf.Tensor], tolerance: float) -> tf.Tensor:
    """Whether linear R, G and B lie inside sRGB, elementwise."""
    red, green, blue = channels
    lowest = tf.minimum(tf.minimum(red, green), blue)
    highest = tf.maximum(tf.maximum(red, green), blue)
    return (lowest >= -tolerance) & (highest <= 1.0 + tolerance)


def _inverse_f(f: tf.Tensor) -> tf.Tensor:
    """Inverts the cube root of CIE Lab, which is linear near black."""
    return tf.where(f > _F_LINEAR_UP_TO, f * f * f, (f - 16.0 / 116.0) / _F_LINEAR_SLOPE)


def _gamma(linear: tf.Tensor) -> tf.Tensor:
    """Applies the sRGB transfer curve, clipped to [0, 1]."""
    linear = tf.clip_by_value(linear, 0.0, 1.0)
    # A third of the time of tf.pow; at most 3e-7 off, which is 0.02 of a level of uint16.
    power = tf.exp(tf.math.log(linear) / 2.4)  # 0 at 0, whose logarithm is minus infinity
    return tf.where(
        linear > _GAMMA_LINEAR_UP_TO,
        1.055 * power - 0.055,
        12.92 * linear,
    )
