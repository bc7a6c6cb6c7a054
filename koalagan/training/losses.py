# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The papers' losses: pure functions on tensors that return float32 scalars.

Logits are the discriminator's, before any sigmoid; colors are normalized ab in [-1,1]. Weights are
applied in the training step, not here.
"""

import tensorflow as tf

from koalagan.color import bins


def gan_loss(logits: tf.Tensor, real: bool, kind: str = "vanilla") -> tf.Tensor:
    """The adversarial loss of patch logits for a target, real or fake; mean over patches.

    Args:
        logits: [B,h,w,1].
        real: the target. The generator is trained with `real=True` on its own pictures: the
            non-saturating form (Goodfellow et al. 2014, section 3).
        kind: "vanilla", cross-entropy on logits, or "lsgan", squared distance to 1 or 0
            (Mao et al. 2017, with a = 0, b = c = 1, without the half).

    Raises:
        ValueError: `kind` is neither.
    """
    logits = tf.cast(logits, tf.float32)
    if kind == "vanilla":
        return tf.reduce_mean(tf.nn.softplus(-logits if real else logits))
    if kind == "lsgan":
        return tf.reduce_mean(tf.square(logits - (1.0 if real else 0.0)))
    raise ValueError(f"gan_loss is 'vanilla' or 'lsgan', not {kind!r}")


def pixel_loss(predicted_ab: tf.Tensor, true_ab: tf.Tensor, kind: str = "l1") -> tf.Tensor:
    """Mean distance of colors [B,H,W,2]: "l1", as in pix2pix, or "l2", as in Deep Koalarization.

    Raises:
        ValueError: `kind` is neither.
    """
    difference = tf.cast(predicted_ab, tf.float32) - tf.cast(true_ab, tf.float32)
    if kind == "l1":
        return tf.reduce_mean(tf.abs(difference))
    if kind == "l2":
        return tf.reduce_mean(tf.square(difference))
    raise ValueError(f"pixel_loss is 'l1' or 'l2', not {kind!r}")


def class_loss(
    logits: tf.Tensor, true_ab: tf.Tensor, class_weights: tf.Tensor | None = None
) -> tf.Tensor:
    """Cross-entropy of class logits with the soft classes of the true colors; mean over pixels.

    Zhang, Isola and Efros 2016, equation 2. A pixel of the logits has the mean color of those that
    it covers. Soft classes and logarithms are float32.

    Args:
        logits: [B,H/4,W/4,261].
        true_ab: [B,H,W,2], H and W multiples of 4.
        class_weights: [261], how much a pixel counts by its nearest class; None for 1.
    """
    nearest, weights = bins.encode(bins.at_quarter_size(true_ab))
    logarithms = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    losses = -tf.reduce_sum(weights * tf.gather(logarithms, nearest, batch_dims=3), axis=-1)
    if class_weights is not None:
        losses *= tf.gather(tf.cast(class_weights, tf.float32), nearest[..., 0])
    return tf.reduce_mean(losses)
