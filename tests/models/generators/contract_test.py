# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What every generator does: sizes, output, precision, gradients, saving and dropout."""

import contextlib
import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from koalagan import precision
from koalagan.errors import UserError
from koalagan.models import GENERATORS

# Of the difference to float32, as a fraction of the output's standard deviation.
TOLERANCES = {
    "inception_fusion": {"bfloat16": 0.05, "float16": 0.01},
    "koalarization": {"bfloat16": 0.05, "float16": 0.01},
    "unet": {"bfloat16": 0.05, "float16": 0.01},
    "resnet18_unet": {"bfloat16": 0.1, "float16": 0.02},
    "koala": {"bfloat16": 0.1, "float16": 0.02},
}


@dataclasses.dataclass
class Case:
    """A generator with options of `build`; its models are built once and have the same weights."""

    name: str
    options: dict = dataclasses.field(default_factory=dict)

    @property
    def stride(self) -> int:
        return GENERATORS[self.name].module.STRIDE

    @property
    def has_dropout(self) -> bool:
        return "dropout" in GENERATORS[self.name].options

    def build(self, size, **options) -> keras.Model:
        model = GENERATORS[self.name](size, **(self.options | options))
        model.set_weights(self.values)
        return model

    @functools.cached_property
    def model(self) -> keras.Model:
        """The model of the smallest size."""
        model = GENERATORS[self.name](self.stride, **self.options)
        rng = np.random.default_rng(1)
        self.values = [np.asarray(_draw(rng, weight), np.float32) for weight in model.weights]
        model.set_weights(self.values)
        return model

    @functools.cached_property
    def free(self) -> keras.Model:
        """The model for images of any size."""
        return self.build((None, None))

    @functools.cached_property
    def noisy(self) -> keras.Model:
        """The model with dropout at inference."""
        return self.build(self.stride, dropout_at_inference=True)

    @contextlib.contextmanager
    def trained(self):
        """`model`, for calls in training, which change the norms' statistics."""
        yield self.model
        self.model.set_weights(self.values)

    def batch(self, height=None, width=None, count=1) -> dict[str, tf.Tensor]:
        height, width = height or self.stride, width or self.stride
        rng = np.random.default_rng(0)
        inputs = {
            "L": rng.uniform(-1, 1, (count, height, width, 1)),
            "embedding": rng.normal(size=(count, 1001)),
            "segmentation": rng.normal(size=(count, height // 4, width // 4, 21)),
        }
        return {name: tf.constant(inputs[name], tf.float32) for name in self.model.input}

    def forget(self):
        for built in ("model", "free", "noisy", "values"):
            vars(self).pop(built, None)


def _draw(rng, weight) -> np.ndarray:
    if weight.name == "kernel":
        transposed = weight.path.startswith("up_") or "_transposed" in weight.path
        # Kernels of stride 2 are [4, 4, out, in], and each output pixel meets 4 of 16 positions.
        fan_in = 4 * weight.shape[3] if transposed else np.prod(weight.shape[:-1])
        return rng.standard_normal(weight.shape, np.float32) * np.float32((2 / fan_in) ** 0.5)
    if weight.name in ("gamma", "moving_variance"):
        return rng.uniform(0.7, 1.4, weight.shape)
    return rng.normal(0.0, 0.2, weight.shape)


ALL = [Case(name) for name in GENERATORS if name != "inception_fusion"]
ALL.append(Case("inception_fusion", {"dropout": 0.5}))
VARIANTS = [
    Case("inception_fusion", {"segmentation": False}),
    Case("resnet18_unet", {"upsampling": "transposed", "output_activation": "sigmoid"}),
]


@pytest.fixture(scope="module", params=ALL, ids=lambda case: case.name)
def case(request):
    yield request.param
    request.param.forget()


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda case: case.name)
def variant(request):
    yield request.param
    request.param.forget()


def check_sizes(case, sizes):
    for height, width in sizes:
        batch = case.batch(height, width)
        ab = case.build((height, width))(batch, training=False)
        assert ab.shape == (1, height, width, 2) and ab.dtype == tf.float32
        assert np.all(np.abs(ab) <= 1) and np.std(ab) > 0.1
        np.testing.assert_allclose(case.free(batch, training=False), ab, atol=1e-5)


def check_precision(case, dtype):
    expected = case.model(case.batch(), training=False)
    with precision.policy(dtype):
        mixed = case.build(case.stride)
    computing = [layer for layer in mixed._flatten_layers() if layer.weights]
    assert {layer.compute_dtype for layer in computing} == {dtype}
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    ab = mixed(case.batch(), training=False)
    assert ab.dtype == tf.float32
    deviation = np.sqrt(np.mean((ab - expected) ** 2))
    assert deviation < TOLERANCES[case.name][dtype] * np.std(expected)


def check_saving(case, folder):
    path = folder / "model.keras"
    case.model.save(path)
    again = keras.saving.load_model(path)
    path.unlink()  # up to 200 MB, which pytest would keep
    expected = case.model(case.batch(), training=False)
    np.testing.assert_array_equal(again(case.batch(), training=False), expected)


def test_non_square_sizes_and_one_model_for_any_size(case):
    stride = case.stride
    many = [(2 * stride, 5 * stride), (5 * stride, 3 * stride)] if stride == 8 else []
    check_sizes(case, [(stride, 2 * stride), *many])


def test_other_sizes_are_refused(case):
    stride = case.stride
    for size, wrong, nearest in [
        (stride // 4, stride // 4, stride),
        (2 * stride - 1, 2 * stride - 1, 2 * stride),
        ((2 * stride, stride + 4), stride + 4, (stride + 4 + stride // 2) // stride * stride),
        (0, 0, stride),
        (-stride, -stride, stride),
    ]:
        text = f"multiple of {stride}, not {wrong}: use {nearest}"
        with pytest.raises(UserError, match=text):
            GENERATORS[case.name](size)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_returns_float32_near_the_float32_result(case, dtype):
    check_precision(case, dtype)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_of_variants(variant, dtype):
    check_precision(variant, dtype)


def test_gradient_reaches_every_trainable_variable(case):
    with case.trained() as model, tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.abs(model(case.batch(count=2), training=True) - 0.2))
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.any(gradient) and np.all(np.isfinite(gradient)), variable.path


def test_save_and_reload(case, tmp_path):
    check_saving(case, tmp_path)


def test_save_and_reload_of_variants(variant, tmp_path):
    check_saving(variant, tmp_path)


def test_checkpoint_restores_into_models_of_other_options_with_its_noise(case, tmp_path):
    path = tf.train.Checkpoint(generator=case.model).write(str(tmp_path / "checkpoint"))
    others = [case.free, case.noisy] if case.has_dropout else [case.free]
    for other in others:
        other.set_weights([np.zeros_like(value) for value in case.values])
        status = tf.train.Checkpoint(generator=other).read(path)
        status.assert_existing_objects_matched().assert_consumed()
        for weight, expected in zip(other.get_weights(), case.values, strict=True):
            np.testing.assert_array_equal(weight, expected)
    for file in tmp_path.iterdir():
        file.unlink()  # up to 200 MB, which pytest would keep
    # Dropout continues its noise.
    with case.trained() as model:
        noise = model(case.batch(), training=True)
    for other in others:
        np.testing.assert_allclose(other(case.batch(), training=True), noise, atol=1e-5)
        other.set_weights(case.values)


def test_dropout_is_active_in_training_only(case):
    if not case.has_dropout:
        with pytest.raises(TypeError):
            GENERATORS[case.name](case.stride, dropout=0.5)
        return
    quiet = case.build(case.stride, dropout=0.0, dropout_at_inference=True)
    assert not [layer for layer in quiet.layers if isinstance(layer, keras.layers.Dropout)]
    dropouts = [layer for layer in case.model.layers if isinstance(layer, keras.layers.Dropout)]
    assert {layer.rate for layer in dropouts} == {0.5}
    expected = quiet(case.batch(), training=False)
    np.testing.assert_array_equal(case.model(case.batch(), training=False), expected)
    np.testing.assert_array_equal(case.model(case.batch()), expected)
    # Without dropout, two calls in training would be the same.
    with case.trained() as model:
        results = [model(case.batch(), training=True) for _ in range(2)]
    assert np.abs(results[0] - results[1]).max() > 0.01


def test_dropout_at_inference_differs_from_call_to_call(case):
    if not case.has_dropout:
        with pytest.raises(TypeError):
            GENERATORS[case.name](case.stride, dropout_at_inference=True)
        return
    # In a graph too, where a constant seed would repeat the noise.
    for call in (case.noisy, tf.function(case.noisy)):
        results = [call(case.batch(), training=False) for _ in range(2)]
        assert np.abs(results[0] - results[1]).max() > 0.01
    for weight, expected in zip(case.noisy.get_weights(), case.values, strict=True):
        np.testing.assert_array_equal(weight, expected)  # the norms are not in training
