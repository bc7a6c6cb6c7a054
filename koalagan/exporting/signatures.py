# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""An exported model's signatures: from a picture to the picture in color as graph functions.

All in float32: decoding, Lab, the frozen networks, the generator at its own size, its chroma
upsampled to the picture's size and joined with the picture's own lightness
(`koalagan.inference.joining`).
"""

from collections.abc import Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from koalagan.color import lab
from koalagan.color.resizing import resize
from koalagan.exporting import decoding_graph
from koalagan.inference import joining
from koalagan.models.frozen import CLASSES

_LARGE = 2**14  # weights from which a kernel counts as large
# Shapes of the frozen networks' outputs, where they are inputs.
_GIVEN = {
    "embedding": [None, CLASSES["embedding"]],
    "segmentation": [None, None, None, CLASSES["segmentation"]],
}


class Chain:
    """The signatures as functions over one set of weights.

    Args:
        generator: takes {"L": [B,h,w,1]} and, where it has these branches, "embedding" and
            "segmentation".
        frozen: the networks L -> embedding and L -> segmentation that are part of the chain. The
            outputs of the others are inputs of each signature.
        image_size: (height, width) at which the generator colors pictures.
        weights: the dtype that kernels are stored in, "float32" or "float16"; the networks compute
            in float32 either way.
    """

    def __init__(
        self,
        generator: keras.Model,
        frozen: Mapping[str, keras.Model],
        image_size: tuple[int, int],
        weights: str = "float32",
    ):
        self._generator = generator
        self._frozen = dict(frozen)
        self._size = image_size
        self._weights = _Weights([generator, *frozen.values()], weights)
        self.given = sorted(set(generator.input) - {"L"} - set(frozen))

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """The signatures by name.

        Each has one named output, and one named input beside the outputs of frozen networks that
        are not part of the chain.
        """
        return {
            "serving_default": self._trace(
                self.serving_default, image=tf.TensorSpec([None] * 4, tf.uint8)
            ),
            "colorize_bytes": self._trace(
                self.colorize_bytes, image_bytes=tf.TensorSpec([None], tf.string)
            ),
            "predict_ab": self.prediction([None, None, None, 1]),
        }

    def prediction(self, shape: list[int | None]) -> tf.types.experimental.ConcreteFunction:
        """`predict_ab` for L of this shape."""
        return self._trace(self.predict_ab, L=tf.TensorSpec(shape, tf.float32))

    def open_prediction(
        self, shape: list[int | None]
    ) -> tuple[tf.types.experimental.ConcreteFunction, dict[str, np.ndarray]]:
        """`predict_ab` for L of this shape with large kernels as inputs, and these by name."""
        kernels = {
            f"kernel_{number}": kernel
            for number, kernel in enumerate(self._weights.kernels)
            if np.prod(kernel.shape) >= _LARGE
        }

        def predict_ab(L: tf.Tensor, **given: tf.Tensor) -> dict[str, tf.Tensor]:
            mapping = [(kernel, given.pop(name)) for name, kernel in kernels.items()]
            with keras.StatelessScope(state_mapping=mapping):
                return self.predict_ab(L, **given)

        inputs = {name: tf.TensorSpec(kernel.shape) for name, kernel in kernels.items()}
        function = self._trace(predict_ab, L=tf.TensorSpec(shape, tf.float32), **inputs)
        return function, {name: kernel.numpy() for name, kernel in kernels.items()}

    def module(self) -> tf.Module:
        """Holds the weights of all networks, for `tf.saved_model.save`."""
        module = tf.Module()
        module.weights = self._weights.stored
        return module

    def _trace(self, function, **inputs: tf.TensorSpec) -> tf.types.experimental.ConcreteFunction:
        batch = next(iter(inputs.values())).shape[0]
        for name in self.given:
            inputs[name] = tf.TensorSpec([batch, *_GIVEN[name][1:]], tf.float32)
        named = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in inputs.items()}
        # Without AutoGraph, which nothing here needs: when it traces, it reads the source files,
        # which may have changed since a long training imported them.
        return tf.function(function, autograph=False).get_concrete_function(**named)

    def predict_ab(self, L: tf.Tensor, **given: tf.Tensor) -> dict[str, tf.Tensor]:
        """float32 L [B,h,w,1] in [-1,1] -> ab float32 [B,h,w,2] in [-1,1]."""
        batch, height, width, _ = tf.unstack(tf.shape(L))
        if L.shape[0] is None:
            L, given = _one_at_least(L), {name: _one_at_least(x) for name, x in given.items()}
        outputs = {name: self._weights.call(model, L) for name, model in self._frozen.items()}
        ab = self._weights.call(self._generator, {"L": L, **outputs, **given})
        # The networks round sizes up to multiples of their strides.
        ab = ab[:, :height, :width]
        return {"ab": ab if L.shape[0] else ab[:batch]}

    def serving_default(self, image: tf.Tensor, **given: tf.Tensor) -> dict[str, tf.Tensor]:
        """uint8 image [B,H,W,C], C 1 or 3 -> colorized uint8 [B,H,W,3]."""
        channels = tf.shape(image)[-1]
        one_or_three = tf.Assert(
            (channels == 1) | (channels == 3), ["image must have 1 or 3 channels, not", channels]
        )
        with tf.control_dependencies([one_or_three]):
            image = tf.tile(image, [1, 1, 1, 3 // channels])
        image = tf.ensure_shape(image, [None, None, None, 3])
        L, ab = self._predict(resize(image, self._size), given)
        return {"colorized": joining.join(image, L, ab)}

    def colorize_bytes(self, image_bytes: tf.Tensor, **given: tf.Tensor) -> dict[str, tf.Tensor]:
        """string [B], encoded pictures of any sizes -> colorized_bytes string [B], PNG."""
        # Pictures are decoded twice: that costs far less than holding a batch of full-size
        # pictures, or running the networks on one picture at a time.
        small = tf.map_fn(
            lambda encoded: resize(decoding_graph.decode(encoded), self._size),
            image_bytes,
            fn_output_signature=tf.TensorSpec([*self._size, 3], tf.uint8),
        )

        def finish(encoded_and_prediction):
            encoded, L, ab = encoded_and_prediction
            joined = joining.join(decoding_graph.decode(encoded)[None], L[None], ab[None])
            # The default takes 3.5 times as long for files that are 6 % smaller.
            return tf.io.encode_png(joined[0], compression=1)

        colorized = tf.map_fn(
            finish,
            (image_bytes, *self._predict(small, given)),
            fn_output_signature=tf.string,
            parallel_iterations=1,  # Full-size pictures need much memory; joining uses all cores.
        )
        return {"colorized_bytes": colorized}

    def _predict(
        self, rgb: tf.Tensor, given: Mapping[str, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """L of pictures of the model's size, and the predicted ab."""
        L = lab.lightness(rgb)
        return L, self.predict_ab(L, **given)["ab"]


def _one_at_least(batch: tf.Tensor) -> tf.Tensor:
    """A batch with a picture of zeros where it has none.

    TensorFlow 2.21's fused convolutions, on CPUs where oneDNN runs them, give an empty batch the
    channels of their input.
    """
    missing = tf.maximum(1 - tf.shape(batch)[0], 0)
    return tf.pad(batch, [[0, missing], *([[0, 0]] * (batch.shape.rank - 1))])


class _Weights:
    """The stored variables of networks, and calls of the networks with them."""

    def __init__(self, models: list[keras.Model], dtype: str):
        self.kernels = [kernel for model in models for kernel in _kernels(model)]
        variables = [variable for model in models for variable in model.variables]
        self._halves = {}
        if dtype != "float32":
            # Kernels are nearly all of the size; statistics and biases stay in float32.
            self._halves = {
                id(variable): (variable, tf.Variable(tf.cast(variable.value, dtype)))
                for variable in variables
                if len(variable.shape) > 1 and variable.dtype == "float32"
            }
        self.stored = [
            self._halves[id(variable)][1] if id(variable) in self._halves else variable.value
            for variable in variables
        ]

    def call(self, model: keras.Model, inputs: tf.Tensor | dict[str, tf.Tensor]) -> tf.Tensor:
        """The network's output, computed with kernels cast back to float32."""
        if not self._halves:
            return model(inputs, training=False)
        mapping = [
            (variable, tf.cast(self._halves[id(variable)][1], "float32"))
            for variable in model.variables
            if id(variable) in self._halves
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            output = model(inputs, training=False)
        for variable in model.non_trainable_variables:  # the state of dropout's noise
            value = scope.get_current_value(variable)
            if value is not None and id(variable) not in self._halves:
                variable.assign(value)
        return output


def _kernels(model: keras.Model) -> Iterator[keras.Variable]:
    """The kernels of Keras's own convolutions and dense layers."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _kernels(layer)
        elif isinstance(layer, (layers.Conv2D, layers.Conv2DTranspose, layers.Dense)):
            yield layer.kernel
