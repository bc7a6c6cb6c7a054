# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""sRGB to normalised CIE Lab and back. Every colour constant of the project lives in this file.

    rgb  uint8    [..., H, W, 3]  sRGB
    L    float32  [..., H, W, 1]  L*/50 - 1, in [-1, 1]
    ab   float32  [..., H, W, 2]  a*/110 and b*/110; sRGB spans [-0.98, 0.90]

Lab is CIE 1976 under D65 (2 degree observer), by `tensorflow_io.experimental.color`; the way back
and lightness alone are written out here with its numbers. All functions are pure TensorFlow: they
run eagerly, in tf.data, under XLA and in a SavedModel, on any size.
"""

import warnings

import numpy as np
import tensorflow as tf

with warnings.catch_warnings():
    # tensorflow-io 0.37.1 is compiled against an older TensorFlow than 2.21, so its two native
    # file-system plugins do not load, and it says so once each. Its colour functions are pure
    # Python over TensorFlow and need neither.
    warnings.filterwarnings("ignore", "unable to load libtensorflow_io_plugins", UserWarning)
    warnings.filterwarnings("ignore", "file system plugins are not loaded", UserWarning)
    from tensorflow_io import experimental as tfio

_L_HALF_RANGE = 50.0
_AB_RANGE = 110.0

# sRGB and Lab, with the numbers of tensorflow-io and scikit-image. Needed beside theirs, since
# whether a colour lies outside sRGB can only be seen before the clipping that theirs ends in, and
# since photographs of full size need lightness alone: 24 megapixels are joined with their colours
# in 0.6 of the time that theirs took.
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
# Linear RGB this far outside [0, 1] still rounds to the uint8 value at the limit (the steepest part
# of the sRGB curve makes it 0.33 of a level), so float32's rounding never touches a real colour.
_GAMUT_TOLERANCE = 1e-4
# 2^-10 of the largest chroma that sRGB has is 0.13 Lab units, well below one uint8 level.
_BISECTION_STEPS = 10


def rgb_to_lab(rgb: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Splits sRGB pictures, uint8 [..., H, W, 3], into normalised `(L, ab)`; see the module."""
    rgb = tf.convert_to_tensor(rgb)
    if rgb.dtype != tf.uint8:
        # A float picture in [0, 1] would silently come out as black.
        raise TypeError(f"rgb_to_lab takes uint8 pictures, not {rgb.dtype.name}")
    lab = tfio.color.rgb_to_lab(tf.cast(rgb, tf.float32) / 255.0)
    return lab[..., :1] / _L_HALF_RANGE - 1.0, lab[..., 1:] / _AB_RANGE


def lightness(rgb: tf.Tensor) -> tf.Tensor:
    """The normalised L of sRGB pictures, uint8 [..., H, W, 3] -> float32 [..., H, W, 1]."""
    levels = np.arange(256) / 255.0
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


def lab_to_rgb(L: tf.Tensor, ab: tf.Tensor) -> tf.Tensor:
    """Joins normalised `L` and `ab` into sRGB, uint8 [..., H, W, 3]: the one way back.

    A colour that sRGB cannot show keeps its lightness and hue and loses chroma: (a*, b*) shrinks
    towards grey, by bisection, until it fits. (Plain clipping moves L* by up to 4 units on what
    networks predict.) Colours that sRGB can show are untouched. Not meant to be differentiated.
    """
    lightness, a, b = tf.unstack(lab_units(L, ab), axis=-1)
    channels = _linear_rgb(lightness, a, b)
    # Only these pixels, few in a photograph, are worked on.
    outside = tf.where(~_in_gamut(channels))
    lightness, a, b = (tf.gather_nd(part, outside) for part in (lightness, a, b))
    scale = tf.zeros_like(lightness)  # The largest known to fit: grey always does.
    for step in range(1, _BISECTION_STEPS + 1):
        larger = scale + 2.0**-step
        fits = _in_gamut(_linear_rgb(lightness, larger * a, larger * b))
        scale = tf.where(fits, larger, scale)
    shrunk = _linear_rgb(lightness, scale * a, scale * b)
    encoded = [
        _gamma(tf.tensor_scatter_nd_update(channel, outside, fitting))
        for channel, fitting in zip(channels, shrunk, strict=True)
    ]
    return tf.cast(tf.round(tf.stack(encoded, axis=-1) * 255.0), tf.uint8)


def lab_units(L: tf.Tensor, ab: tf.Tensor) -> tf.Tensor:
    """Joins normalised `L` and `ab` into L*, a*, b* in Lab units, float32 [..., H, W, 3]."""
    L, ab = tf.cast(L, tf.float32), tf.cast(ab, tf.float32)
    return tf.concat([(L + 1.0) * _L_HALF_RANGE, ab * _AB_RANGE], axis=-1)


def _linear_rgb(lightness: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> list[tf.Tensor]:
    """Linear R, G and B of L*, a*, b*, elementwise, below 0 and above 1 where sRGB has no such."""
    f_y = (lightness + 16.0) / 116.0
    # Channel by channel: several times faster than a [..., 3] layout with a matrix product.
    xyz = [
        white * _inverse_f(f)
        for white, f in zip(_WHITE_D65, (f_y + a / 500.0, f_y, f_y - b / 200.0), strict=True)
    ]
    return [sum(weight * x for weight, x in zip(row, xyz, strict=True)) for row in _RGB_FROM_XYZ]


def _in_gamut(channels: list[tf.Tensor]) -> tf.Tensor:
    """Whether sRGB can show linear R, G and B, elementwise."""
    red, green, blue = channels
    lowest = tf.minimum(tf.minimum(red, green), blue)
    highest = tf.maximum(tf.maximum(red, green), blue)
    return (lowest >= -_GAMUT_TOLERANCE) & (highest <= 1.0 + _GAMUT_TOLERANCE)


def _inverse_f(f: tf.Tensor) -> tf.Tensor:
    """Undoes the cube root of CIE Lab, which is a straight line near black."""
    return tf.where(f > _F_LINEAR_UP_TO, f * f * f, (f - 16.0 / 116.0) / _F_LINEAR_SLOPE)


def _gamma(linear: tf.Tensor) -> tf.Tensor:
    """sRGB's curve, clipped to [0, 1]."""
    linear = tf.clip_by_value(linear, 0.0, 1.0)
    return tf.where(
        linear > _GAMMA_LINEAR_UP_TO,
        1.055 * tf.pow(linear, 1.0 / 2.4) - 0.055,
        12.92 * linear,
    )
