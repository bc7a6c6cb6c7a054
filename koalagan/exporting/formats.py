# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""`predict_ab` for other runtimes: LiteRT (`model.tflite`) and ONNX (`model.onnx`).

Both hold L float32 [1,h,w,1] -> ab float32 [1,h,w,2] at the model's size, with the frozen networks
inside or what they say as inputs. What lies round it is left to the program that calls it: decoding
and PNG have no operators there, and joining at full size is of no use where pictures are small. The
batch and the size are fixed in LiteRT, which plans its memory by them; ONNX takes any batch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np

from koalagan import lazy
from koalagan.errors import UserError, one_line

tf = lazy.module("tensorflow")
onnx = lazy.module("onnx")
tf2onnx = lazy.module("tf2onnx")

_OPSET = 18  # of ONNX: runtimes since 2023


@dataclasses.dataclass(frozen=True)
class Format:
    """A way to write a model.

    Attributes:
        write: writes a `chain.Chain` of an image size in a dtype into a folder.
        dtypes: what its weights can be kept in.
        needs: the module that writes it, and the extra that brings that; None for TensorFlow's own.
    """

    write: Callable
    dtypes: tuple[str, ...]
    needs: tuple[str, str] | None = None

    def check(self) -> None:
        """Raises UserError where the module that writes it is not installed."""
        if self.needs and importlib.util.find_spec(self.needs[0]) is None:
            raise UserError(
                f"this format needs {self.needs[0]}: pip install 'koalagan[{self.needs[1]}]'."
            )


def _write_tflite(chain, image_size: tuple[int, int], dtype: str, folder: str) -> None:
    function = chain.prediction([1, *image_size, 1])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], chain.module())
    if dtype != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]  # weights in int8
    if dtype == "float16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        # It prints what it makes of every operator.
        with contextlib.redirect_stdout(io.StringIO()):
            model = converter.convert()
    except Exception as error:  # The converter's own errors have no common class.
        raise _cannot("LiteRT", error) from error
    (Path(folder) / "model.tflite").write_bytes(model)


def _write_onnx(chain, image_size: tuple[int, int], dtype: str, folder: str) -> None:
    # tf2onnx copies all that a graph holds dozens of times, which makes 13 GB of the U-Net's 0.2:
    # large kernels are inputs while it works.
    function, kernels = chain.open_prediction([None, *image_size, 1])
    # What it takes is a tf.function of positional arguments that is still to be traced.
    traced = types.SimpleNamespace(get_concrete_function=lambda *_: function)
    try:
        model, _ = tf2onnx.convert.from_function(traced, input_signature=[], opset=_OPSET)
        _restore_names(model, {name.lower(): name for name in ("L", *chain.given)})
        for name, kernel in kernels.items():
            _set(model.graph, name, kernel)
        onnx.checker.check_model(model)  # of operators that it does not know it only warns
    except Exception as error:
        raise _cannot("ONNX", error) from error
    (Path(folder) / "model.onnx").write_bytes(model.SerializeToString())


def _set(graph: onnx.GraphProto, name: str, kernel: np.ndarray) -> None:
    """Makes an input a constant, in the layout that its convolution turns it to."""
    (value,) = (value for value in graph.input if value.name == name)
    graph.input.remove(value)
    users = [node for node in graph.node if name in node.input]
    if len(users) == 1 and users[0].op_type == "Transpose":
        (node,) = users
        (axes,) = (attribute.ints for attribute in node.attribute if attribute.name == "perm")
        name, kernel = node.output[0], np.ascontiguousarray(kernel.transpose(axes))
        graph.node.remove(node)
    graph.initializer.append(onnx.numpy_helper.from_array(kernel, name))


def _restore_names(model: onnx.ModelProto, names: dict[str, str]) -> None:
    """TensorFlow writes the arguments of functions in small letters."""
    for value in model.graph.input:
        value.name = names.get(value.name, value.name)
    for node in model.graph.node:
        for number, name in enumerate(node.input):
            node.input[number] = names.get(name, name)


def _cannot(runtime: str, error: Exception) -> UserError:
    return UserError(
        f"this model has operators that {runtime} does not know, such as the random numbers of "
        f"--dropout_at_inference ({one_line(error)})."
    )


FORMATS = {
    "tflite": Format(_write_tflite, ("float32", "float16", "int8")),
    "onnx": Format(_write_onnx, ("float32",), ("tf2onnx", "onnx")),
}
