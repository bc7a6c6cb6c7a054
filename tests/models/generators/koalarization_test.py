# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import keras
import numpy as np
import tensorflow as tf

from koalagan.color import lab
from koalagan.data.koala_scenes import drawing
from koalagan.models import GENERATORS, patchgan
from koalagan.training.gan import ColorizationGAN

build = GENERATORS["koalarization"]


def test_is_the_fusion_network_without_segmentation():
    model = build(image_size=(16, 24))
    reference = GENERATORS["inception_fusion"](image_size=(16, 24), segmentation=False)
    assert model.count_params() == 6_574_050
    assert set(model.input) == {"L", "embedding"} and model.output_shape == (None, 16, 24, 2)
    model.set_weights(reference.get_weights())
    rng = np.random.default_rng(0)
    batch = {
        "L": tf.constant(rng.uniform(-1, 1, (1, 16, 24, 1)), tf.float32),
        "embedding": tf.constant(rng.normal(size=(1, 1001)), tf.float32),
    }
    np.testing.assert_array_equal(model(batch), reference(batch))


def test_without_the_embedding():
    assert build(image_size=16, embedding=False).count_params() == 6_317_794


def test_learns_at_the_learning_rate_of_its_flagfile():
    # From He's initial weights, the first steps saturate the tanh, and the loss stays 40 times that
    # of gray.
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    L, ab = lab.rgb_to_lab(np.stack([drawing.draw_scene(rng, 64) for _ in range(8)]))
    # The embeddings of different pictures have much in common.
    embedding = rng.normal(size=(1, 1001)) + 0.4 * rng.normal(size=(8, 1001))
    batch = {"L": L, "ab": ab, "embedding": tf.constant(embedding, tf.float32)}
    model = ColorizationGAN(build(64), patchgan.build(64), pretrain_learning_rate=1e-3)
    model.compile(adversarial=False, pixel_loss="l2")
    step = tf.function(model.train_step)
    for _ in range(20):
        model.reset_metrics()
        loss = float(step(batch)["loss_G"])
    assert loss < 2 * 100 * float(tf.reduce_mean(ab**2))
