# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The U-Net at its real size, compared to the authors' network written in plain tf.nn."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from koalagan.errors import UserError
from koalagan.models.generators import unet

FILTERS = {1: 64, 2: 128, 3: 256, 4: 512, 5: 512, 6: 512, 7: 512, 8: 512}
DROPOUTS = ["dropout_7", "dropout_6", "dropout_5"]


def lightness():
    values = np.random.default_rng(0).uniform(-1, 1, (1, 256, 256, 1))
    return {"L": tf.constant(values, tf.float32)}


def enliven(model):
    """Sets weights that keep the activations' scale and give the norms something to do."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if weight.name == "kernel":
            up = weight.path.startswith("up_")  # [4, 4, out, in]; 4 of 16 positions contribute
            fan_in = 4 * weight.shape[3] if up else 16 * weight.shape[2]
            values = rng.standard_normal(weight.shape, np.float32) * (2 / fan_in) ** 0.5
        elif weight.name in ("gamma", "moving_variance"):
            values = rng.uniform(0.7, 1.4, weight.shape)
        else:
            values = rng.normal(0.0, 0.2, weight.shape)
        weight.assign(values)
    return model


@pytest.fixture(scope="module")
def fresh():
    keras.utils.set_random_seed(2)
    return unet.build()


@pytest.fixture(scope="module")
def without_skips():
    return unet.build(skips=False)


@pytest.fixture(scope="module")
def model():
    return enliven(unet.build())


def reference(model, L, levels=8):
    """`UnetGenerator.forward` in evaluation mode, with the weights of `model`.

    With explicit padding, transposed convolutions by inserted zeros, and skips that the LeakyReLU
    after them has changed in place, as in PyTorch.
    """

    def conv(x, layer):
        return tf.nn.conv2d(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), layer.kernel, 2, "VALID")

    def transposed(x, layer):
        batch, height, width, channels = x.shape
        stuffed = np.zeros((batch, 2 * height - 1, 2 * width - 1, channels), np.float32)
        stuffed[:, ::2, ::2] = x
        stuffed = tf.pad(stuffed, [[0, 0], [2, 2], [2, 2], [0, 0]])
        kernel = tf.transpose(layer.kernel[::-1, ::-1], (0, 1, 3, 2))
        x = tf.nn.conv2d(stuffed, kernel, 1, "VALID")
        return x if layer.bias is None else x + layer.bias

    def norm(x, layer):
        scale = layer.gamma / tf.sqrt(layer.moving_variance + 1e-5)
        return (x - layer.moving_mean) * scale + layer.beta

    def block(x, level):
        """UnetSkipConnectionBlock, from the outermost to the innermost."""
        y = x = tf.nn.leaky_relu(x, 0.2) if level > 1 else x
        y = conv(y, model.get_layer(f"down_{level}"))
        if level < levels:
            if level > 1:
                y = norm(y, model.get_layer(f"down_norm_{level}"))
            y = block(y, level + 1)
        y = transposed(tf.nn.relu(y), model.get_layer(f"up_{level}"))
        if level == 1:
            return tf.tanh(y)
        return tf.concat([x, norm(y, model.get_layer(f"up_norm_{level}"))], -1)

    return block(L, 1)


def test_equals_the_authors_network(model):
    batch = lightness()
    expected = reference(model, batch["L"])
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(model(batch, training=False), expected, atol=1e-4)


@pytest.mark.parametrize("levels, dropouts", [(7, 2), (5, 0)])
def test_fewer_levels_for_smaller_pictures(levels, dropouts):
    """As the authors' `num_downs`: levels of 512 with dropout are left out."""
    size = 1 << levels
    smaller = enliven(unet.build(size, levels=levels))
    L = lightness()["L"][:, :size, :size]
    expected = reference(smaller, L, levels)
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(smaller({"L": L}, training=False), expected, atol=1e-4)
    assert sum("dropout" in layer.name for layer in smaller.layers) == dropouts
    if levels == 7:
        trainable = sum(int(np.prod(weight.shape)) for weight in smaller.trainable_weights)
        assert trainable == 41_824_898
    with pytest.raises(UserError, match=f"multiple of {size}, not {size // 2}"):
        unet.build(size // 2, levels=levels)


@pytest.mark.parametrize("skips, parameters", [(True, 54_409_858), (False, 39_072_386)])
def test_trainable_parameters(fresh, without_skips, skips, parameters):
    model = fresh if skips else without_skips
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == parameters
    # The moving mean and variance of all normalized channels.
    normalized = sum(list(FILTERS.values())[1:7]) + sum(list(FILTERS.values())[:7])
    assert model.count_params() == parameters + 2 * normalized


@pytest.mark.parametrize("skips", [True, False])
def test_layers_of_the_paper(fresh, without_skips, skips):
    model = fresh if skips else without_skips
    layers = {layer.name: layer for layer in model.layers}
    kinds = (keras.layers.Conv2D, keras.layers.Conv2DTranspose)
    convolutions = [layer for layer in model.layers if isinstance(layer, kinds)]
    ways = [f"down_{level}" for level in range(1, 9)] + [f"up_{level}" for level in range(8, 0, -1)]
    assert [layer.name for layer in convolutions] == ways
    for layer in convolutions:
        assert layer.kernel_size == (4, 4) and layer.strides == (2, 2)
        assert layer.use_bias == (layer.name == "up_1")
    for level, filters in FILTERS.items():
        side = 256 >> level
        down, up = layers[f"down_{level}"], layers[f"up_{level}"]
        assert down.output.shape == (None, side, side, filters)
        assert up.output.shape == (None, 2 * side, 2 * side, FILTERS.get(level - 1, 2))
        # Skips are appended at all levels but the innermost.
        assert up.input.shape[-1] == (2 * filters if skips and level < 8 else filters)

    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    expected = [f"down_norm_{level}" for level in range(2, 8)]
    expected += [f"up_norm_{level}" for level in range(8, 1, -1)]
    assert [layer.name for layer in norms] == expected
    for layer in norms:
        assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)
        assert layer.input is layers[layer.name.replace("_norm", "")].output
    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert [layer.name for layer in dropouts] == DROPOUTS
    assert {layer.rate for layer in dropouts} == {0.5}
    for layer in dropouts:
        assert layer.input is layers[layer.name.replace("dropout", "up_norm")].output
    assert model.output_shape == (None, 256, 256, 2)


def test_initial_weights_of_the_authors(fresh):
    for name in ("down_4", "up_7"):
        kernel = fresh.get_layer(name).kernel.numpy()
        assert abs(kernel.mean()) < 1e-4 and kernel.std() == pytest.approx(0.02, rel=0.01)
    gammas = np.concatenate([w.numpy() for w in fresh.weights if w.name == "gamma"])
    assert gammas.mean() == pytest.approx(1.0, abs=2e-3)
    assert gammas.std() == pytest.approx(0.02, rel=0.1)
    assert not fresh.get_layer("up_1").bias.numpy().any()
