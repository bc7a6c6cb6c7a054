# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import tensorflow as tf

from koalagan.color import bins
from koalagan.training import losses

LOGITS = tf.constant([[0.0, 2.0], [-3.0, 50.0]])


def _sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_vanilla_is_cross_entropy_by_hand():
    real = -(math.log(0.5) + math.log(_sigmoid(2)) + math.log(_sigmoid(-3)) + 0) / 4
    fake = -(math.log(0.5) + math.log(1 - _sigmoid(2)) + math.log(1 - _sigmoid(-3)) - 50) / 4
    assert float(losses.gan_loss(LOGITS, True)) == pytest.approx(real, abs=1e-6)
    assert float(losses.gan_loss(LOGITS, False)) == pytest.approx(fake, abs=1e-5)


def test_vanilla_of_an_undecided_discriminator_is_log_2():
    assert float(losses.gan_loss(tf.zeros([2, 30, 30, 1]), True)) == pytest.approx(math.log(2))


def test_lsgan_is_squared_distance_to_the_verdict():
    assert float(losses.gan_loss(LOGITS, True, "lsgan")) == (1 + 1 + 16 + 49 * 49) / 4
    assert float(losses.gan_loss(LOGITS, False, "lsgan")) == (0 + 4 + 9 + 2500) / 4


@pytest.mark.parametrize("kind", ["vanilla", "lsgan"])
def test_gan_loss_is_finite_float32_for_half_precision_extremes(kind):
    loss = losses.gan_loss(tf.constant([200.0, -200.0], tf.float16), True, kind)
    assert loss.dtype == tf.float32 and loss.shape == () and np.isfinite(loss)


def test_pixel_losses_by_hand():
    predicted, true = tf.constant([0.5, -1.0], tf.float16), tf.constant([0.0, 1.0])
    assert float(losses.pixel_loss(predicted, true)) == 1.25
    assert float(losses.pixel_loss(predicted, true, "l2")) == 2.125


def test_class_loss_is_cross_entropy_with_soft_classes_by_hand():
    """Two cells of 4x4 pixels: one of a class's own color, one halfway between two."""
    centers = bins.centers()
    here = int(np.argmin(np.abs(centers).sum(axis=-1)))  # gray, with four neighbors at 10
    ab = np.zeros((1, 4, 8, 2), np.float32)
    ab[:, :, 4:6, 0] = 10 / 110  # the mean of the second cell is a* = 5
    logits = np.random.default_rng(0).normal(size=(1, 1, 2, 261)).astype(np.float32)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))

    def soft(color):
        distances = np.linalg.norm(centers - color, axis=-1)
        nearest = np.argsort(distances, kind="stable")[:5]
        weights = np.exp(-(distances[nearest] ** 2) / 50)
        return nearest, weights / weights.sum()

    first = -sum(w * log_p[0, 0, 0, q] for q, w in zip(*soft((0, 0)), strict=True))
    assert here in soft((0, 0))[0]
    # At (5, 0), the fifth class is one of four at the same distance: the loss uses any of them.
    nearest, weights = bins.encode(tf.constant([[[[5 / 110, 0.0]]]]))
    np.testing.assert_allclose(np.sort(weights[0, 0, 0]), np.sort(soft((5, 0))[1]), atol=1e-4)
    second = -np.sum(weights[0, 0, 0] * log_p[0, 0, 1][nearest[0, 0, 0]])
    loss = losses.class_loss(logits, ab)
    assert float(loss) == pytest.approx((first + second) / 2, rel=1e-4)
    assert loss.dtype == tf.float32 and loss.shape == ()
    counted = np.ones(261)
    counted[here] = 3.0
    ab[:, :, 4:] = 50 / 110
    vivid = float(losses.class_loss(logits[:, :, 1:], ab[:, :, 4:]))
    weighted = float(losses.class_loss(logits, ab, counted))
    assert weighted == pytest.approx((3 * first + vivid) / 2, rel=1e-5)


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="vanilla"):
        losses.gan_loss(LOGITS, True, "hinge")
    with pytest.raises(ValueError, match="l1"):
        losses.pixel_loss(LOGITS, LOGITS, "huber")
