# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The warm-up requests of an export, read by TensorFlow Serving's own package."""

import tensorflow as tf
from helpers import exports
from tensorflow_serving.apis import prediction_log_pb2

from koalagan.exporting import savedmodel, warmup


def requests(folder):
    """The requests of an export: (signature, inputs by name)."""
    for record in tf.data.TFRecordDataset(str(folder / warmup.FILE)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        # Nothing that the package does not know.
        assert log.SerializeToString(deterministic=True) and request.model_spec.name
        inputs = {name: tf.constant(tf.make_ndarray(x)) for name, x in request.inputs.items()}
        yield request.model_spec.signature_name, inputs


def test_every_signature_answers_its_requests(saved, signatures):
    """As Serving asks: by the names of the inputs, one picture and two."""
    seen = []
    for name, inputs in requests(saved):
        outputs = signatures[name](**inputs)
        batch = {len(value) for value in (*inputs.values(), *outputs.values())}
        seen.append((name, *batch))
    assert sorted(seen) == sorted((name, batch) for name in signatures for batch in (1, 2))


def test_outputs_of_frozen_networks_are_sent_where_they_are_inputs(tmp_path):
    path = tmp_path / "model"
    generator = exports.generator(segmentation=True)
    given = ("embedding", "segmentation")
    savedmodel.export(generator, {}, str(path), (16, 16), given=given)
    # The tiny generator takes scores of half the size, and gets those of the whole.
    names = [set(inputs) for _, inputs in requests(path)]
    assert len(names) == 6 and all({"embedding", "segmentation"} < found for found in names)


def test_numbers_longer_than_a_byte():
    """Values of https://protobuf.dev/programming-guides/encoding."""
    assert warmup._varint(150) == b"\x96\x01" and warmup._varint(1) == b"\x01"
    assert warmup._message([(2, b"testing")]) == bytes.fromhex("120774657374696e67")
