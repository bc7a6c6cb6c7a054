# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""`predict_ab` for other runtimes: LiteRT (`model.tflite`) and ONNX (`model.onnx`).

Both contain L float32 [1,h,w,1] -> ab float32 [1,h,w,2] at the model's size, with the frozen
networks included or their outputs as inputs. Decoding and joining with the full-size lightness stay
with the calling program: these runtimes have no operators for JPEG and PNG. LiteRT plans its memory
for a fixed batch and size; ONNX takes any batch size.
"""

import contextlib
import dataclasses
import importlib.util
import io
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from koalagan.errors import UserError, one_line
from koalagan.exporting.signatures import Chain

if TYPE_CHECKING:
    import onnx

_OPSET = 18  # of ONNX: runtimes since 2023


@dataclasses.dataclass(frozen=True)
class Format:
    """A file format for models.

    Attributes:
        write: writes a `Chain`, given its image size, a dtype and a folder.
        dtypes: the dtypes that it can store weights in.
        needs: the package that writes it, and the extra that installs it; None if TensorFlow does.
    """

    write: Callable[[Chain, tuple[int, int], str, str], None]
    dtypes: tuple[str, ...]
    needs: tuple[str, str] | None = None

    def check(self) -> None:
        """Raises UserError where the package that writes it is not installed."""
        if self.needs and importlib.util.find_spec(self.needs[0]) is None:
            raise UserError(
                f"this format needs {self.needs[0]}: pip install 'koalagan[{self.needs[1]}]'."
            )


def _write_tflite(chain: Chain, image_size: tuple[int, int], dtype: str, folder: str) -> None:
    function = chain.prediction([1, *image_size, 1])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], chain.module())
    if dtype != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]  # weights in int8
    if dtype == "float16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        # It prints a line for every operator.
        with contextlib.redirect_stdout(io.StringIO()):
            model = converter.convert()
    except Exception as error:  # The converter's errors have no common class.
        raise _cannot("LiteRT", error) from error
    (Path(folder) / "model.tflite").write_bytes(model)


def _write_onnx(chain: Chain, image_size: tuple[int, int], dtype: str, folder: str) -> None:
    import onnx
    import tf2onnx

    # tf2onnx copies a graph's constants dozens of times, which takes 13 GB for the U-Net's 0.2 GB:
    # large kernels are inputs during the conversion.
    function, kernels = chain.open_prediction([None, *image_size, 1])
    # It expects a tf.function with positional arguments that is not traced yet.
    traced = types.SimpleNamespace(get_concrete_function=lambda *_: function)
    try:
        model, _ = tf2onnx.convert.from_function(traced, input_signature=[], opset=_OPSET)
        _restore_names(model, {name.lower(): name for name in ("L", *chain.given)})
        for name, kernel in kernels.items():
            _set(model.graph, name, kernel)
        onnx.checker.check_model(model)  # tf2onnx only warns of operators that it does not know
    except Exception as error:
        raise _cannot("ONNX", error) from error
    (Path(folder) / "model.onnx").write_bytes(model.SerializeToString())


def _set(graph: "onnx.GraphProto", name: str, kernel: np.ndarray) -> None:
    """Turns an input into a constant, in the layout that its convolution expects."""
    import onnx

    (value,) = (value for value in graph.input if value.name == name)
    graph.input.remove(value)
    users = [node for node in graph.node if name in node.input]
    if len(users) == 1 and users[0].op_type == "Transpose":
        (node,) = users
        (axes,) = (attribute.ints for attribute in node.attribute if attribute.name == "perm")
        name, kernel = node.output[0], np.ascontiguousarray(kernel.transpose(axes))
        graph.node.remove(node)
    graph.initializer.append(onnx.numpy_helper.from_array(kernel, name))


def _restore_names(model: "onnx.ModelProto", names: dict[str, str]) -> None:
    """Restores the names of inputs, which TensorFlow writes in lower case."""
    for value in model.graph.input:
        value.name = names.get(value.name, value.name)
    for node in model.graph.node:
        for number, name in enumerate(node.input):
            node.input[number] = names.get(name, name)


def _cannot(runtime: str, error: Exception) -> UserError:
    return UserError(
        f"this model has operators that {runtime} does not have, such as the random numbers of "
        f"--dropout_at_inference ({one_line(error)}): export it as a SavedModel."
    )


FORMATS = {
    "tflite": Format(_write_tflite, ("float32", "float16", "int8")),
    "onnx": Format(_write_onnx, ("float32",), ("tf2onnx", "onnx")),
}
