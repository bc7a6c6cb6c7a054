# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""A small GAN trained by one device, by several of a process, or by several processes.

    python tests/helpers/together.py OUT.npz --devices=2 [--dtype=float16] [--plant=nan] [--plain]

Everything that devices have to agree on is in it: batch norm, dropout, an average of the weights,
an encoder that learns more slowly. Its functions are smooth, so that rounding grows slowly.
Several processes find each other by TF_CONFIG.
"""

import argparse
import itertools
import sys

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from koalagan import distribution, precision
from koalagan.models.layers import batch_norm
from koalagan.models.layers.batch_norm import FusedBatchNormalization
from koalagan.models.layers.dropout import Dropout
from koalagan.training import averaging, divergence
from koalagan.training.gan import ColorizationGAN

BATCH, SIDE, STEPS = 8, 16, 20


def _generator() -> keras.Model:
    lightness = keras.Input((SIDE, SIDE, 1), name="L")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="encoder")(lightness)
    x = FusedBatchNormalization(momentum=0.9, name="norm")(x)
    x = layers.Activation("tanh", name="tanh")(x)
    x = Dropout(0.3, name="dropout")(x)
    x = layers.Conv2D(2, 3, padding="same", name="color")(x)
    return keras.Model({"L": lightness}, layers.Activation("tanh", dtype="float32", name="ab")(x))


def _discriminator() -> keras.Model:
    picture = keras.Input((SIDE, SIDE, 3), name="picture")
    x = layers.Conv2D(8, 4, strides=2, use_bias=False, name="conv")(picture)
    x = FusedBatchNormalization(momentum=0.9, name="norm")(x)
    x = layers.Conv2D(1, 4, name="logit")(layers.Activation("tanh", name="tanh")(x))
    return keras.Model(picture, layers.Activation("linear", dtype="float32", name="logits")(x))


def _batches(plant: str | None):
    rng = np.random.default_rng(0)
    for step in range(10**6):
        L = rng.uniform(-1, 1, (BATCH, SIDE, SIDE, 1)).astype(np.float32)
        # Colors that can be learned from L, and noise.
        ab = np.concatenate([0.5 * np.sin(3 * L), 0.3 * L**2], -1)
        ab = (ab + rng.normal(0, 0.05, ab.shape)).astype(np.float32)
        if plant and step == STEPS + 3:
            # In the last picture, which is the last device's; float16 has no 1e6.
            ab[-1] = np.nan if plant == "nan" else 1e6
        yield {"L": tf.constant(L), "ab": tf.constant(ab)}


def _build(devices: distribution.Devices, dtype: str, plain: bool) -> ColorizationGAN:
    keras.utils.set_random_seed(1)
    with precision.policy(dtype), devices.scope():
        generator, shown, discriminator = _generator(), _generator(), _discriminator()
        average = averaging.WeightAverage(generator, shown, 0.9)
        if not plain:
            for network in (generator, discriminator):
                batch_norm.synchronize(network)
    with precision.policy(dtype):
        return ColorizationGAN(
            generator,
            discriminator,
            pretrain_learning_rate=1e-3,
            backbone=generator.get_layer("encoder").weights,
            backbone_factor=0.1,
            average=average,
            devices=devices,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("output")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--plant", choices=["nan", "large"])
    parser.add_argument("--plain", action="store_true")
    flags = parser.parse_args()
    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * flags.devices
    tf.config.set_logical_device_configuration(cpu, logical)
    devices = distribution.choose("mirrored" if flags.devices > 1 else "auto")
    model = _build(devices, flags.dtype, flags.plain)
    own = (
        {name: np.split(value, devices.workers)[devices.worker] for name, value in batch.items()}
        for batch in _batches(flags.plant)
    )
    stream = ({name: tf.constant(value) for name, value in batch.items()} for batch in own)
    found = {"devices": devices.count, "losses": [], "bad_step": -1, "scales": []}
    for adversarial in (False, True):
        model.compile(adversarial=adversarial, pixel_loss="l2", discriminator_every=2)
        model.make_train_function(force=True)
        for _ in range(STEPS):
            logs = model.train_function(stream)
            found["losses"].append([float(value) for value in logs.values()][-1])
            scale = getattr(model.generator_optimizer, "dynamic_scale", 1.0)
            found["scales"].append(float(tf.convert_to_tensor(scale)))
    try:
        model.check_finite()
    except divergence.NotFinite as error:
        found["bad_step"] = error.step
    # As before a validation, in which all of a batch is on one device.
    model.recompute_statistics(itertools.islice(_batches(None), 3))
    weights = [*model.generator.weights, *model.discriminator.weights, *model.result.weights]
    for number, weight in enumerate(weights):
        copies = [copy.numpy() for copy in devices.copies(weight.value)]
        found[f"weight {number:02} {weight.path}"] = copies[0]
        for copy in copies[1:]:
            np.testing.assert_array_equal(copy, copies[0], weight.path)
    np.savez(flags.output, **found)


if __name__ == "__main__":
    sys.exit(main())
