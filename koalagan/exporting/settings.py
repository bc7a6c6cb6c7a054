# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""How a model is exported: options, without TensorFlow."""

import dataclasses

from koalagan.options import option


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """The exported model."""

    checkpoint: str = option(
        "latest",
        "The newest checkpoint, or the one of the best epoch by the run's --best_metric.",
        choices=("latest", "best"),
    )
    format: str = option(
        "savedmodel",
        "What to write; tflite and onnx contain predict_ab alone, at the model's size.",
        choices=("savedmodel", "tflite", "onnx"),
    )
    export_dtype: str = option(
        "float32",
        "The dtype that weights are stored in: half or a quarter of the size (int8: tflite).",
        choices=("float32", "float16", "int8"),
    )
    frozen_inputs: bool = option(
        False,
        "Leave the frozen networks out: their outputs become inputs, embedding and segmentation.",
    )
    dropout_at_inference: bool = option(
        False, "Keep dropout on when coloring, so that results vary, even if the run does not."
    )
