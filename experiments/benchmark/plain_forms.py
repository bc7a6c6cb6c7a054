# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Plain forms of the layers that koalagan computes in a faster form; the functions are the same.

`FORMS` lists what to patch while networks are built and traced. The benchmark's case `forms`
measures a step with each; the tests check that networks learn the same with and without.
"""

import keras
import tensorflow as tf

from koalagan.models import patchgan
from koalagan.models.layers import batch_norm, fusion, padded_conv, resize_conv


def _fusion(layer, inputs):
    features, vector = inputs
    repeats = [1, tf.shape(features)[1], tf.shape(features)[2], 1]
    both = tf.concat([features, tf.tile(vector[:, None, None], repeats)], axis=-1)
    return _conv(layer, both)


def _resize_conv(layer, features):
    return _conv(layer, tf.repeat(tf.repeat(features, 2, axis=1), 2, axis=2))


def _conv(layer, inputs):
    kernel, bias = (tf.cast(weight.value, inputs.dtype) for weight in (layer.kernel, layer.bias))
    return tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(inputs, kernel, 1, "SAME"), bias))


def _padded_conv(layer, picture, kernel):
    padded = tf.pad(picture, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return tf.nn.conv2d(padded, kernel, layer.strides, "VALID")


def _leaky_relu(x):
    return tf.maximum(x, 0.2 * x)


# name -> (owner, attribute, the plain form)
FORMS = {
    "fusion": (fusion.Fusion, "call", _fusion),
    "resize_conv": (resize_conv.ResizeConv2D, "call", _resize_conv),
    "padded_conv": (padded_conv.PaddedConv2D, "convolution_op", _padded_conv),
    "logit_conv": (padded_conv.PaddedLogitConv2D, "convolution_op", _padded_conv),
    "leaky_relu": (patchgan, "leaky_relu", _leaky_relu),
    "batch_norm": (
        batch_norm.FusedBatchNormalization,
        "call",
        keras.layers.BatchNormalization.call,
    ),
}
