# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The 70x70 PatchGAN discriminator (Isola et al. 2017, section 6.1.2; C64-C128-C256-C512).

Input: the picture, float32 [B,H,W,3], L and ab stacked, each in [-1,1]; or ab alone, [B,H,W,2], for
the unconditional discriminator, which judges colours without seeing what they are laid on.
Output: patch logits, float32 [B,h,w,1] without a sigmoid; 30x30 for 256x256. Each logit judges a
70x70 patch.

4x4 convolutions, zero padding of 1 on every side: 64 s2, 128 s2, 256 s2, 512 s1, 1 s1; batch norm
on all but the first and last, LeakyReLU 0.2. 2,767,425 parameters with the moving statistics
(2,766,401 unconditional).
"""

import keras
import tensorflow as tf
from keras import layers

from koalagan.errors import UserError
from koalagan.models.layers.batch_norm import FusedBatchNormalization

# (filters, stride, batch norm)
_BLOCKS = ((64, 2, False), (128, 2, True), (256, 2, True), (512, 1, True))
MINIMUM_SIZE = 24  # below it the last convolution has nothing left to judge


_SIDES = [[0, 0], [1, 1], [1, 1], [0, 0]]


@keras.saving.register_keras_serializable("koalagan")
def leaky_relu(x):
    """LeakyReLU with slope 0.2."""
    return _leaky_relu(x)


@tf.custom_gradient
def _leaky_relu(x):
    """Its gradient looks at the output's sign, where TensorFlow's looks at the input's, the same.

    Nothing else then needs the input, and the two can be fused with the convolution before them.
    TensorFlow 2.21's graph rewriter (the remapper) does so in any case, finds the input gone, and
    gives up on the whole graph with an error in the log.
    """
    y = tf.nn.leaky_relu(x, 0.2)
    return y, lambda dy: tf.raw_ops.LeakyReluGrad(gradients=dy, features=y, alpha=0.2)


@keras.saving.register_keras_serializable("koalagan")
class PaddedConv2D(layers.Conv2D):
    """Keras's layer with a zero padding of 1 on every side, as the papers' have it.

    "same" pads 4x4 convolutions of stride 1, and odd sides, on one side more than on the other; at
    stride 2 and even sides it is the papers', and no padded copy is made. TensorFlow's explicit
    padding would spare the copy everywhere, but its gradients are not given to oneDNN: in bfloat16
    the discriminator's forward and backward pass took 30 times as long.
    """

    def convolution_op(self, inputs, kernel):
        even = all(side and side % 2 == 0 for side in inputs.shape[1:3])
        if even and self.strides == (2, 2):
            return tf.nn.conv2d(inputs, kernel, 2, "SAME")
        return tf.nn.conv2d(tf.pad(inputs, _SIDES), kernel, self.strides, "VALID")

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        height, width = (side and side + 2 for side in (height, width))
        return super().compute_output_shape((batch, height, width, channels))


@keras.saving.register_keras_serializable("koalagan")
class PaddedLogitConv2D(PaddedConv2D):
    """The same of stride 1, for a filter or two: a matrix product, then sums of what it gave.

    A convolution to one channel leaves a kernel that works on many at once idle: with Keras's
    layer here, the discriminator's forward and backward pass took 1.06 times as long (float32,
    a CPU with AVX2; 1.03 in bfloat16 with AVX512-BF16).
    """

    def convolution_op(self, inputs, kernel):
        height, width, channels, filters = kernel.shape
        rows, columns = tf.unstack(tf.shape(inputs)[1:3] + 3 - [height, width])
        # What each weight makes of each pixel, [B,h,w,height * width,filters].
        products = tf.tensordot(
            inputs, tf.reshape(tf.transpose(kernel, [2, 0, 1, 3]), [channels, -1, filters]), 1
        )
        products = tf.pad(products, [*_SIDES, [0, 0]])
        # Summed in float32, as convolutions do inside.
        products = tf.unstack(tf.cast(products, tf.float32), axis=3)
        shifted = [
            product[:, i // width : i // width + rows, i % width : i % width + columns]
            for i, product in enumerate(products)
        ]
        return tf.cast(tf.add_n(shifted), inputs.dtype)


def _conv(x, filters: int, strides: int, use_bias: bool, name: str):
    kind = PaddedLogitConv2D if filters == 1 else PaddedConv2D
    return kind(
        filters,
        4,
        strides=strides,
        use_bias=use_bias,
        kernel_initializer=keras.initializers.RandomNormal(0.0, 0.02),
        name=name,
    )(x)


def build(image_size=256, conditional: bool = True) -> keras.Model:
    """Builds the discriminator for an int or (height, width); None for a side of any size.

    Args:
        image_size: see above.
        conditional: it sees L beside ab.

    Raises:
        UserError: a side is smaller than 24, where no patch is left.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    for side in (height, width):
        if side is not None and side < MINIMUM_SIZE:
            raise UserError(
                f"the discriminator needs pictures of at least {MINIMUM_SIZE} pixels a side, "
                f"not {side}: raise --image_size."
            )
    channels = 3 if conditional else 2
    inputs = keras.Input((height, width, channels), name="picture", dtype="float32")
    x = inputs
    for number, (filters, strides, norm) in enumerate(_BLOCKS, 1):
        # The norm's own shift makes a bias before it redundant.
        x = _conv(x, filters, strides, not norm, f"conv_{number}")
        if norm:
            x = FusedBatchNormalization(momentum=0.9, epsilon=1e-5, name=f"norm_{number}")(x)
        x = layers.Activation(leaky_relu, name=f"leaky_{number}")(x)
    x = _conv(x, 1, 1, True, f"conv_{len(_BLOCKS) + 1}")
    logits = layers.Activation("linear", dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="patchgan")
