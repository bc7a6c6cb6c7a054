# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Requests that TensorFlow Serving sends to a model before anyone else does.

The first request of each signature takes seconds, because TensorFlow prepares its kernels then.
Serving finds the requests in assets.extra/tf_serving_warmup_requests: records, each a
`PredictionLog` of tensorflow_serving/apis/prediction_log.proto. Of its messages few fields are
needed, which are written here without the package of these protocols:

    PredictionLog   6 predict_log
    PredictLog      1 request
    PredictRequest  1 model_spec, 2 inputs (a map: 1 key, 2 value)
    ModelSpec       1 name, 3 signature_name
"""

import os
from collections.abc import Iterable, Mapping

import tensorflow as tf

FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
# Serving goes by the signature; the name is that of nobody's model.
_MODEL = b"koalagan"
_BATCHES = (1, 2)


def write(
    folder: str,
    signatures: Mapping[str, tf.types.experimental.ConcreteFunction],
    image_size: tuple[int, int],
) -> None:
    """Writes the requests of a SavedModel: each signature with one picture, and with two.

    Args:
        folder: the SavedModel's.
        signatures: its functions by name.
        image_size: (height, width) of what the networks take.

    Raises:
        OSError, tf.errors.OpError: the file cannot be written.
    """
    path = os.path.join(folder, FILE)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tf.io.TFRecordWriter(path) as writer:
        for name, function in signatures.items():
            for batch in _BATCHES:
                inputs = {
                    # Not the names of the specs, which are in lower case.
                    parameter: _example(spec.type_constraint, batch, image_size)
                    for parameter, spec in function.function_type.parameters.items()
                }
                writer.write(_log(name, inputs))


def _example(spec: tf.TensorSpec, batch: int, image_size: tuple[int, int]) -> tf.Tensor:
    """A gray picture of the networks' size, or what else an input of this kind takes."""
    picture = tf.fill([*image_size, 1], tf.constant(128, tf.uint8))
    if spec.dtype == tf.string:
        return tf.repeat(tf.io.encode_png(picture)[None], batch)
    if spec.dtype == tf.uint8:
        return tf.repeat(picture[None], batch, axis=0)
    shape = [batch, *spec.shape[1:]]
    if len(shape) == 4:
        shape[1:3] = image_size
    return tf.zeros(shape, spec.dtype)


def _log(signature: str, inputs: Mapping[str, tf.Tensor]) -> bytes:
    """A `PredictionLog` with the request of a signature."""
    spec = _message([(1, _MODEL), (3, signature.encode())])
    entries = [
        _message([(1, name.encode()), (2, tf.make_tensor_proto(value).SerializeToString())])
        for name, value in inputs.items()
    ]
    request = _message([(1, spec), *((2, entry) for entry in entries)])
    return _message([(6, _message([(1, request)]))])


def _message(fields: Iterable[tuple[int, bytes]]) -> bytes:
    """A protocol buffer of fields that have a length: texts, bytes and messages."""
    return b"".join(
        _varint(number << 3 | 2) + _varint(len(content)) + content for number, content in fields
    )


def _varint(number: int) -> bytes:
    low, high = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(high) if high else bytes([low])
