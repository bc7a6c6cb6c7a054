# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The U-Net at its real size, against the authors' network written out in plain tf.nn."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from koalagan import precision
from koalagan.errors import UserError
from koalagan.models.generators import unet

FILTERS = {1: 64, 2: 128, 3: 256, 4: 512, 5: 512, 6: 512, 7: 512, 8: 512}
DROPOUTS = ["dropout_7", "dropout_6", "dropout_5"]


def lightness(height=256, width=256, count=1):
    values = np.random.default_rng(0).uniform(-1, 1, (count, height, width, 1))
    return {"L": tf.constant(values, tf.float32)}


def enliven(model):
    """Weights that keep the activations' size and give the norms something to do."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if weight.name == "kernel":
            up = weight.path.startswith("up_")  # [4, 4, out, in], 4 of whose 16 taps meet
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
def model():
    return enliven(unet.build())


@pytest.fixture
def student(model):
    """A copy, for calls with training=True: they move the norms' statistics."""
    copy = unet.build()
    copy.set_weights(model.get_weights())
    return copy


@pytest.fixture
def big_folder(tmp_path):
    """For files of 200 MB: pytest would keep those of the last three runs."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def reference(model, L):
    """`UnetGenerator.forward` in evaluation mode, with the weights of `model`.

    Explicit padding, transposed convolutions by inserted zeros, and skips that the LeakyReLU after
    them has changed in place, as PyTorch does.
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
        """UnetSkipConnectionBlock, from the outside in."""
        y = x = tf.nn.leaky_relu(x, 0.2) if level > 1 else x
        y = conv(y, model.get_layer(f"down_{level}"))
        if level < 8:
            if level > 1:
                y = norm(y, model.get_layer(f"down_norm_{level}"))
            y = block(y, level + 1)
        y = transposed(tf.nn.relu(y), model.get_layer(f"up_{level}"))
        if level == 1:
            return tf.tanh(y)
        return tf.concat([x, norm(y, model.get_layer(f"up_norm_{level}"))], -1)

    return block(L, 1)


def test_gives_what_the_authors_network_gives(model):
    batch = lightness()
    expected = reference(model, batch["L"])
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(model(batch, training=False), expected, atol=1e-4)


@pytest.mark.parametrize("skips, parameters", [(True, 54_409_858), (False, 39_072_386)])
def test_trainable_parameters(fresh, skips, parameters):
    model = fresh if skips else unet.build(skips=False)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == parameters
    # The moving mean and variance of all that the norms see.
    seen = sum(list(FILTERS.values())[1:7]) + sum(list(FILTERS.values())[:7])
    assert model.count_params() == parameters + 2 * seen


@pytest.mark.parametrize("skips", [True, False])
def test_outline_of_the_paper(fresh, skips):
    model = fresh if skips else unet.build(skips=False)
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
        # What comes up meets what went down, but at the innermost level.
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


def test_weights_start_as_the_authors_do(fresh):
    for name in ("down_4", "up_7"):
        kernel = fresh.get_layer(name).kernel.numpy()
        assert abs(kernel.mean()) < 1e-4 and kernel.std() == pytest.approx(0.02, rel=0.01)
    gammas = np.concatenate([w.numpy() for w in fresh.weights if w.name == "gamma"])
    assert gammas.mean() == pytest.approx(1.0, abs=2e-3)
    assert gammas.std() == pytest.approx(0.02, rel=0.1)
    assert not fresh.get_layer("up_1").bias.numpy().any()


def test_not_square_and_one_model_for_any_size(model):
    fixed = unet.build(image_size=(256, 512))
    free = unet.build(image_size=(None, None))
    fixed.set_weights(model.get_weights())
    free.set_weights(model.get_weights())
    batch = lightness(256, 512)
    ab = fixed(batch, training=False)
    assert ab.shape == (1, 256, 512, 2) and np.all(np.abs(ab) <= 1)
    np.testing.assert_allclose(free(batch, training=False), ab, atol=1e-5)


@pytest.mark.parametrize("size", [128, (256, 384), 0])
def test_other_sizes_end_in_a_sentence(size):
    with pytest.raises(UserError, match="divides by 256"):
        unet.build(image_size=size)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_returns_float32_near_the_float32_result(model, dtype):
    with precision.policy(dtype):
        mixed = unet.build()
    mixed.set_weights(model.get_weights())
    assert mixed.get_layer("down_8").compute_dtype == dtype
    batch = lightness()
    ab = mixed(batch, training=False)
    assert ab.dtype == tf.float32
    expected = model(batch, training=False)
    tolerance = {"bfloat16": 0.05, "float16": 0.01}[dtype]
    assert np.sqrt(np.mean((ab - expected) ** 2)) < tolerance * np.std(expected)


def test_gradient_reaches_every_trainable_variable(student):
    batch = lightness(count=2)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.abs(student(batch, training=True) - 0.2))
    gradients = tape.gradient(loss, student.trainable_variables)
    for variable, gradient in zip(student.trainable_variables, gradients, strict=True):
        assert gradient is not None and np.any(gradient), variable.path


def test_save_and_reload(model, big_folder):
    model.save(big_folder / "model.keras")
    again = keras.saving.load_model(big_folder / "model.keras")
    batch = lightness()
    np.testing.assert_array_equal(again(batch, training=False), model(batch, training=False))


def test_dropout_is_for_training_only_unless_asked_for(model, student):
    batch = lightness()
    first = model(batch, training=False)
    np.testing.assert_array_equal(model(batch), first)
    # Without the dropout, two calls in training would be the same.
    trained = [student(batch, training=True) for _ in range(2)]
    assert np.abs(trained[0] - trained[1]).max() > 0.01
    noisy = unet.build(dropout_at_inference=True)
    noisy.set_weights(model.get_weights())
    # As a function too, where a seed that is a constant of the graph would repeat itself.
    for call in (noisy, tf.function(noisy)):
        colourings = [call(batch, training=False) for _ in range(2)]
        assert np.abs(colourings[0] - colourings[1]).max() > 0.01
    for weight, former in zip(noisy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, former)  # the norms were not in training


def test_without_dropout_there_are_no_such_layers(model):
    quiet = unet.build(dropout=0.0, dropout_at_inference=True)
    quiet.set_weights(model.get_weights())
    batch = lightness()
    np.testing.assert_array_equal(quiet(batch, training=False), model(batch, training=False))
    assert not [layer for layer in quiet.layers if isinstance(layer, keras.layers.Dropout)]


@pytest.mark.parametrize("at_inference", [True, False])
def test_checkpoint_restores_whatever_dropout_at_inference(student, big_folder, at_inference):
    path = tf.train.Checkpoint(generator=student).write(str(big_folder / "checkpoint"))
    other = unet.build(dropout_at_inference=at_inference)
    status = tf.train.Checkpoint(generator=other).read(path)
    status.assert_existing_objects_matched().assert_consumed()
    for weight, expected in zip(other.get_weights(), student.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    # The noise goes on where it was.
    batch = lightness()
    noise = student(batch, training=True)
    np.testing.assert_allclose(other(batch, training=True), noise, atol=1e-5)


def test_exported_dropout_differs_from_call_to_call(model, big_folder):
    class Colorizer(tf.Module):
        def __init__(self, generator):
            super().__init__()
            self.generator = generator

        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 1))])
        def colour(self, L):
            return self.generator({"L": L}, training=False)

    noisy = unet.build(image_size=(None, None), dropout_at_inference=True)
    noisy.set_weights(model.get_weights())
    tf.saved_model.save(Colorizer(noisy), str(big_folder / "saved"))
    loaded = tf.saved_model.load(str(big_folder / "saved"))
    L = lightness()["L"]
    first, second = loaded.colour(L), loaded.colour(L)
    assert first.shape == (1, 256, 256, 2)
    assert np.abs(first - second).max() > 0.01
