# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""TF-Slim's Inception-ResNet-v2, written in plain tf.nn, and its checkpoints."""

import numpy as np
import tensorflow as tf


class SlimNetwork:
    """TF-Slim's inception_resnet_v2 (is_training=False) with random variables."""

    def __init__(self, seed):
        self.values = {}
        self.random = np.random.default_rng(seed)

    def variable(self, name, draw):
        name = "InceptionResnetV2/" + name
        assert name not in self.values, f"{name} is used twice"
        self.values[name] = np.asarray(draw(), np.float32)
        return self.values[name]

    def conv(self, x, scope, filters, size, stride=1, padding="SAME", norm=True):
        height, width = (size, size) if isinstance(size, int) else size
        fan_in = height * width * x.shape[-1]
        shape = (height, width, x.shape[-1], filters)
        gain = 2.0 if norm else 0.5
        x = tf.nn.conv2d(
            x,
            self.variable(
                f"{scope}/weights", lambda: self.random.normal(0, (gain / fan_in) ** 0.5, shape)
            ),
            stride,
            padding,
        )
        if not norm:
            return x + self.variable(f"{scope}/biases", lambda: self.random.normal(0, 0.1, filters))
        draws = {
            "beta": lambda: self.random.normal(0.1, 0.2, filters),
            "moving_mean": lambda: self.random.normal(0, 0.2, filters),
            "moving_variance": lambda: self.random.uniform(0.3, 2.0, filters),
        }
        beta, mean, variance = (
            self.variable(f"{scope}/BatchNorm/{name}", draw) for name, draw in draws.items()
        )
        return tf.nn.relu((x - mean) / tf.sqrt(variance + 0.001) + beta)

    def block(self, x, scope, branches, scale, relu=True):
        """`branches` lists, for each branch, its convolutions (name, filters, size)."""
        outputs = []
        for i, convolutions in enumerate(branches):
            y = x
            for name, filters, size in convolutions:
                y = self.conv(y, f"{scope}/Branch_{i}/{name}", filters, size)
            outputs.append(y)
        up = self.conv(tf.concat(outputs, 3), f"{scope}/Conv2d_1x1", x.shape[-1], 1, norm=False)
        x = x + scale * up
        return tf.nn.relu(x) if relu else x

    def logits(self, x):
        conv = self.conv
        x = conv(x, "Conv2d_1a_3x3", 32, 3, 2, "VALID")
        x = conv(x, "Conv2d_2a_3x3", 32, 3, 1, "VALID")
        x = conv(x, "Conv2d_2b_3x3", 64, 3)
        x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        x = conv(x, "Conv2d_3b_1x1", 80, 1, 1, "VALID")
        x = conv(x, "Conv2d_4a_3x3", 192, 3, 1, "VALID")
        x = tf.nn.max_pool2d(x, 3, 2, "VALID")

        branch_0 = conv(x, "Mixed_5b/Branch_0/Conv2d_1x1", 96, 1)
        branch_1 = conv(x, "Mixed_5b/Branch_1/Conv2d_0a_1x1", 48, 1)
        branch_1 = conv(branch_1, "Mixed_5b/Branch_1/Conv2d_0b_5x5", 64, 5)
        branch_2 = conv(x, "Mixed_5b/Branch_2/Conv2d_0a_1x1", 64, 1)
        branch_2 = conv(branch_2, "Mixed_5b/Branch_2/Conv2d_0b_3x3", 96, 3)
        branch_2 = conv(branch_2, "Mixed_5b/Branch_2/Conv2d_0c_3x3", 96, 3)
        branch_3 = tf.nn.avg_pool2d(x, 3, 1, "SAME")
        branch_3 = conv(branch_3, "Mixed_5b/Branch_3/Conv2d_0b_1x1", 64, 1)
        x = tf.concat([branch_0, branch_1, branch_2, branch_3], 3)

        block35 = (
            [("Conv2d_1x1", 32, 1)],
            [("Conv2d_0a_1x1", 32, 1), ("Conv2d_0b_3x3", 32, 3)],
            [("Conv2d_0a_1x1", 32, 1), ("Conv2d_0b_3x3", 48, 3), ("Conv2d_0c_3x3", 64, 3)],
        )
        for i in range(1, 11):
            x = self.block(x, f"Repeat/block35_{i}", block35, 0.17)

        branch_0 = conv(x, "Mixed_6a/Branch_0/Conv2d_1a_3x3", 384, 3, 2, "VALID")
        branch_1 = conv(x, "Mixed_6a/Branch_1/Conv2d_0a_1x1", 256, 1)
        branch_1 = conv(branch_1, "Mixed_6a/Branch_1/Conv2d_0b_3x3", 256, 3)
        branch_1 = conv(branch_1, "Mixed_6a/Branch_1/Conv2d_1a_3x3", 384, 3, 2, "VALID")
        x = tf.concat([branch_0, branch_1, tf.nn.max_pool2d(x, 3, 2, "VALID")], 3)

        block17 = (
            [("Conv2d_1x1", 192, 1)],
            [
                ("Conv2d_0a_1x1", 128, 1),
                ("Conv2d_0b_1x7", 160, (1, 7)),
                ("Conv2d_0c_7x1", 192, (7, 1)),
            ],
        )
        for i in range(1, 21):
            x = self.block(x, f"Repeat_1/block17_{i}", block17, 0.10)

        branch_0 = conv(x, "Mixed_7a/Branch_0/Conv2d_0a_1x1", 256, 1)
        branch_0 = conv(branch_0, "Mixed_7a/Branch_0/Conv2d_1a_3x3", 384, 3, 2, "VALID")
        branch_1 = conv(x, "Mixed_7a/Branch_1/Conv2d_0a_1x1", 256, 1)
        branch_1 = conv(branch_1, "Mixed_7a/Branch_1/Conv2d_1a_3x3", 288, 3, 2, "VALID")
        branch_2 = conv(x, "Mixed_7a/Branch_2/Conv2d_0a_1x1", 256, 1)
        branch_2 = conv(branch_2, "Mixed_7a/Branch_2/Conv2d_0b_3x3", 288, 3)
        branch_2 = conv(branch_2, "Mixed_7a/Branch_2/Conv2d_1a_3x3", 320, 3, 2, "VALID")
        x = tf.concat([branch_0, branch_1, branch_2, tf.nn.max_pool2d(x, 3, 2, "VALID")], 3)

        block8 = (
            [("Conv2d_1x1", 192, 1)],
            [
                ("Conv2d_0a_1x1", 192, 1),
                ("Conv2d_0b_1x3", 224, (1, 3)),
                ("Conv2d_0c_3x1", 256, (3, 1)),
            ],
        )
        for i in range(1, 10):
            x = self.block(x, f"Repeat_2/block8_{i}", block8, 0.20)
        x = self.block(x, "Block8", block8, 1.0, relu=False)
        x = conv(x, "Conv2d_7b_1x1", 1536, 1)

        x = tf.reduce_mean(x, (1, 2))
        weights = self.variable(
            "Logits/Logits/weights", lambda: self.random.normal(0, 0.03, (1536, 1001))
        )
        return x @ weights + self.variable(
            "Logits/Logits/biases", lambda: self.random.normal(0, 0.1, 1001)
        )


def training_variables():
    """Variables of training that checkpoints hold besides those of the network."""
    aux = "InceptionResnetV2/AuxLogits/"
    first = "InceptionResnetV2/Conv2d_1a_3x3/weights"
    shapes = {
        aux + "Conv2d_1b_1x1/weights": (1, 1, 1088, 128),
        aux + "Conv2d_1b_1x1/BatchNorm/beta": (128,),
        aux + "Conv2d_1b_1x1/BatchNorm/moving_mean": (128,),
        aux + "Conv2d_1b_1x1/BatchNorm/moving_variance": (128,),
        aux + "Conv2d_2a_5x5/weights": (5, 5, 128, 768),
        aux + "Conv2d_2a_5x5/BatchNorm/beta": (768,),
        aux + "Conv2d_2a_5x5/BatchNorm/moving_mean": (768,),
        aux + "Conv2d_2a_5x5/BatchNorm/moving_variance": (768,),
        aux + "Logits/weights": (768, 1001),
        aux + "Logits/biases": (1001,),
        first + "/ExponentialMovingAverage": (3, 3, 3, 32),
        first + "/RMSProp": (3, 3, 3, 32),
        first + "/RMSProp_1": (3, 3, 3, 32),
    }
    values = {name: np.full(shape, 7.0, np.float32) for name, shape in shapes.items()}
    return values | {"global_step": np.int64(123)}


def write_checkpoint(path, values, version):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        feeds, variables = {}, {}
        for name, value in values.items():
            placeholder = tf.compat.v1.placeholder(value.dtype, value.shape)
            feeds[placeholder] = value
            # Reference variables, as in 2016.
            variables[name] = tf.compat.v1.Variable(placeholder, use_resource=False)
        session.run(tf.compat.v1.global_variables_initializer(), feeds)
        saver = tf.compat.v1.train.Saver(variables, write_version=version)
        saver.save(session, str(path), write_meta_graph=False, write_state=False)


def write_v2(path, values):
    """Faster than a Saver."""
    tf.raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=list(values),
        shape_and_slices=[""] * len(values),
        tensors=list(values.values()),
    )
