# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The Inception-GAN paper's generator: an encoder-decoder that fuses an embedding at H/8.

Inputs (a dict): `L` float32 [B,H,W,1] in [-1,1]; `embedding` float32 [B,1001], Inception-ResNet-v2
logits; `segmentation` float32 [B,h,w,21] class scores of any size, resized here to H x W.
Output: `ab` float32 [B,H,W,2] in [-1,1].

Architecture (3x3 convolutions, same padding, ReLU, unless said; s2 = stride 2; no skips, no norm):

    input    L, or with segmentation L three times + 21 scores -> conv 24
    encoder  64 s2, 128, 128 s2, 256, 256 s2, 512, 512, 256      -> H/8 x W/8 x 256
    fusion   append the repeated embedding (1257 channels), 1x1 conv 256
    decoder  128, up x2 nearest, 64, 64, up, 32, 2 tanh, up      -> H x W x 2

The encoder and decoder are Deep Koalarization's (Baldassarre et al. 2017, Table 1); the
Inception-GAN paper adds the segmentation layer. Its text gives the last encoder layer 512 filters,
its table and its 1257 channels give 256: the table is followed. It tries dropout in the decoder:
here after each of the four ReLUs, its own places are not known.
Parameters: 6,574,050 without segmentation, 6,592,506 with it, 6,317,794 without the embedding.
"""

import functools

import keras
import tensorflow as tf
from keras import layers, ops

from koalagan.models.generators.sizes import image_shape
from koalagan.models.layers.dropout import Dropout
from koalagan.models.layers.resize_conv import ResizeConv2D

STRIDE = 8
EMBEDDING_CLASSES = 1001
SEGMENTATION_CLASSES = 21

# (name, filters, stride)
_ENCODER = (
    ("encoder_1", 64, 2),
    ("encoder_2", 128, 1),
    ("encoder_3", 128, 2),
    ("encoder_4", 256, 1),
    ("encoder_5", 256, 2),
    ("encoder_6", 512, 1),
    ("encoder_7", 512, 1),
    ("encoder_8", 256, 1),
)


@keras.saving.register_keras_serializable("koalagan")
class Fusion(layers.Layer):
    """Appends a vector to every position and applies a 1x1 convolution and ReLU, factored.

    A 1x1 convolution of concatenated channels is the sum of one over the feature channels and one
    over the repeated vector, and the latter is the same everywhere: a dense map added by
    broadcasting gives the same function with a fifth of the work. The kernel keeps the paper's
    layout, [1, 1, features + vector, filters], features first.

    Call: `[features [B,h,w,C], vector [B,V]] -> [B,h,w,filters]`.
    """

    def __init__(self, filters: int, kernel_initializer="he_normal", **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        features, vector = input_shape
        self.kernel = self.add_weight(
            name="kernel",
            shape=(1, 1, features[-1] + vector[-1], self.filters),
            initializer=self.kernel_initializer,
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, inputs):
        features, vector = inputs
        channels = features.shape[-1]
        local = ops.conv(features, self.kernel[:, :, :channels], padding="same")
        everywhere = ops.matmul(vector, self.kernel[0, 0, channels:]) + self.bias
        return ops.relu(local + everywhere[:, None, None, :])

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], self.filters)

    def get_config(self):
        initializer = keras.initializers.serialize(self.kernel_initializer)
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_initializer": initializer,
        }


def _conv(x, filters: int, name: str, *, initializer, kernel_size: int = 3, strides: int = 1):
    return layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        activation="relu",
        kernel_initializer=initializer,
        name=name,
    )(x)


def _dropout(x, name: str, *, rate: float, always: bool):
    if not rate:
        return x
    return Dropout(rate, at_inference=always, name=name)(x)


@keras.saving.register_keras_serializable("koalagan")
class StackSegmentation(layers.Layer):
    """`[L [B,H,W,1], scores [B,h,w,21]] -> [B,H,W,24]`: L three times, the scores resized to it."""

    def call(self, inputs):
        lightness, scores = inputs
        # Not keras.ops, which does not take sizes that are known only when the graph runs.
        scores = tf.image.resize(scores, tf.shape(lightness)[1:3])
        scores = tf.cast(scores, lightness.dtype)
        return ops.concatenate([lightness, lightness, lightness, scores], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], 3 + SEGMENTATION_CLASSES)


def build(
    image_size=256,
    segmentation: bool = True,
    embedding: bool = True,
    dropout: float = 0.0,
    dropout_at_inference: bool = False,
    kernel_initializer="he_normal",
) -> keras.Model:
    """Builds the generator; see the module's docstring for its inputs and output.

    Args:
        image_size: an int or (height, width), multiples of 8; None for a side of any size.
        segmentation: stack the 21 class scores on the input.
        embedding: fuse the embedding; without it the 1x1 fusion convolution stays.
        dropout: the rate after each of the decoder's ReLUs; 0 has no such layers.
        dropout_at_inference: drop out in every call, not only in training.
        kernel_initializer: of every kernel. He, not N(0, 0.02): there is no normalisation, and the
            first output would vanish.

    Raises:
        UserError: the image size does not divide by 8.
    """
    height, width = image_shape(image_size, STRIDE)
    conv = functools.partial(_conv, initializer=kernel_initializer)
    lightness = keras.Input((height, width, 1), name="L", dtype="float32")
    inputs = {"L": lightness}
    x = lightness
    if segmentation:
        inputs["segmentation"] = keras.Input(
            (None, None, SEGMENTATION_CLASSES), name="segmentation", dtype="float32"
        )
        x = StackSegmentation(name="stack_segmentation")([x, inputs["segmentation"]])
        x = conv(x, 3 + SEGMENTATION_CLASSES, "segmentation_conv")
    for name, filters, strides in _ENCODER:
        x = conv(x, filters, name, strides=strides)
    if embedding:
        inputs["embedding"] = keras.Input((EMBEDDING_CLASSES,), name="embedding", dtype="float32")
        fusion = Fusion(256, kernel_initializer=kernel_initializer, name="fusion")
        x = fusion([x, inputs["embedding"]])
    else:
        x = conv(x, 256, "fusion", kernel_size=1)
    noise = {"rate": dropout, "always": dropout_at_inference}
    x = _dropout(conv(x, 128, "decoder_1"), "dropout_1", **noise)
    up = functools.partial(ResizeConv2D, kernel_initializer=kernel_initializer)
    x = _dropout(up(64, name="decoder_2")(x), "dropout_2", **noise)
    x = _dropout(conv(x, 64, "decoder_3"), "dropout_3", **noise)
    x = _dropout(up(32, name="decoder_4")(x), "dropout_4", **noise)
    x = layers.Conv2D(
        2, 3, padding="same", kernel_initializer=kernel_initializer, name="decoder_5"
    )(x)
    # tanh in float32 whatever the policy: it is the model's output, and bfloat16 would quantise ab.
    x = layers.Activation("tanh", dtype="float32", name="tanh")(x)
    ab = layers.UpSampling2D(2, interpolation="nearest", dtype="float32", name="ab")(x)
    return keras.Model(inputs, ab, name="inception_fusion")
