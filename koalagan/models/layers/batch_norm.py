# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Batch normalization by TensorFlow's fused kernel, which accepts bfloat16 and float16.

Keras's layer casts to float32 and reads its input several times. In bfloat16 on a CPU, a forward
and backward pass with it took 1.08 (PatchGAN), 1.13 (U-Net) and 1.44 (ResNet18 U-Net) times as
long.

Where several devices train together (see `koalagan.distribution`), each one normalizes its share of
a batch by the statistics of that share, as in the papers' code; a synchronized layer takes those of
the whole batch.

The moving variance follows the unbiased variance of the batch, as in the PyTorch code of the
papers' systems. Keras's layer follows the biased one.

Moving statistics are of the last steps, over which the weights have changed. Where they change
fast, as against a discriminator, the network as it is evaluated is another one than that which
learned: `recompute` computes them anew for the weights as they are ("precise BN": Wu and Johnson,
"Rethinking 'Batch' in BatchNorm", 2021, section 3).
"""

import contextlib
from collections.abc import Iterable, Iterator

import keras
import tensorflow as tf
from keras import layers

from koalagan import distribution


@keras.saving.register_keras_serializable("koalagan")
class FusedBatchNormalization(layers.BatchNormalization):
    """Keras's BatchNormalization for [B,h,w,C] over C, with gamma and beta, without masks."""

    # While statistics are recomputed, the share of the former ones that a batch leaves.
    _former_share: tf.Tensor | None = None

    def call(self, inputs, training=False, mask=None):
        recomputes = self._former_share is not None
        in_training = (bool(training) or recomputes) and self.trainable
        if in_training and self.synchronized and distribution.replica()[0] > 1:
            return self._normalize_together(inputs)
        empty = tf.zeros([0])  # in training, the kernel computes the batch's statistics itself
        result = tf.raw_ops.FusedBatchNormV3(
            x=tf.cast(inputs, self.compute_dtype),
            scale=self.gamma.value,
            offset=self.beta.value,
            mean=empty if in_training else self.moving_mean.value,
            variance=empty if in_training else self.moving_variance.value,
            epsilon=self.epsilon,
            is_training=in_training,
        )
        if in_training:
            self._follow(result.batch_mean, result.batch_variance)
        return result.y

    def _normalize_together(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalizes by the statistics of the shares of all devices."""
        x = tf.cast(inputs, tf.float32)
        own_mean, own_variance = tf.nn.moments(x, [0, 1, 2])
        mean = distribution.mean(own_mean)
        # Not the mean of squares: what it exceeds the squared mean by may be lost in rounding.
        variance = distribution.mean(own_variance + tf.square(own_mean - mean))
        count = distribution.replica()[0] * tf.cast(tf.size(x) / tf.size(mean), tf.float32)
        self._follow(mean, variance * count / tf.maximum(count - 1.0, 1.0))
        y = tf.nn.batch_normalization(
            x, mean, variance, self.beta.value, self.gamma.value, self.epsilon
        )
        return tf.cast(y, self.compute_dtype)

    def _follow(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        """Takes the statistics of a batch into the moving ones."""
        share = self.momentum if self._former_share is None else self._former_share
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * share + batch * (1.0 - share))


def synchronize(network: keras.Model) -> None:
    """Makes the batch norms of a network take the statistics of all devices' shares of a batch."""
    for layer in _layers(network):
        layer.synchronized = True


def average(network: keras.Model) -> None:
    """Sets the moving statistics of a network to their mean over the devices, at a step's end.

    Layers that are not synchronized have followed the share of their device.
    """
    moving = [
        statistic.value
        for layer in _layers(network)
        if layer.trainable and not layer.synchronized
        for statistic in (layer.moving_mean, layer.moving_variance)
    ]
    # One reduction of all.
    if moving and distribution.replica()[0] > 1:
        values = distribution.mean([tf.convert_to_tensor(statistic) for statistic in moving])
        for statistic, value in zip(moving, values, strict=True):
            statistic.assign(value)


def has_statistics(network: keras.Model) -> bool:
    """Whether a network has batch norms whose statistics follow its batches."""
    return any(layer.trainable for layer in _layers(network))


def recompute(network: keras.Model, batches: Iterable[dict[str, tf.Tensor]]) -> None:
    """Sets the statistics of a network's batch norms to their mean over some batches.

    Each batch is normalized by its own statistics, as in training; everything else is as it is in
    inference, so that dropout, which would add to the variance, is off. Layers that do not train
    keep theirs.

    Args:
        batches: of inputs of the network, all of one size.
    """

    @tf.function(autograph=False, reduce_retracing=True)
    def take(inputs: dict[str, tf.Tensor], former_share: tf.Tensor) -> None:
        with _recomputing(network, former_share):
            network(inputs, training=False)

    for number, inputs in enumerate(batches):
        take(inputs, tf.constant(number / (number + 1)))


@contextlib.contextmanager
def _recomputing(network: keras.Model, former_share: tf.Tensor) -> Iterator[None]:
    found = _layers(network)
    for layer in found:
        layer._former_share = former_share
    try:
        yield
    finally:
        for layer in found:
            layer._former_share = None


def _layers(network: keras.Model) -> list[FusedBatchNormalization]:
    """Those of a network, and of the networks in it, such as a U-Net's encoder."""
    found = []
    for layer in network.layers:
        if isinstance(layer, FusedBatchNormalization):
            found.append(layer)
        elif isinstance(layer, keras.Model):
            found += _layers(layer)
    return found
