# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""A generator with both branches, exported with and without its frozen networks."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import exports
from helpers.exports import SIZE, photograph
from helpers.pictures import encode

from koalagan.color import lab
from koalagan.errors import UserError
from koalagan.exporting import savedmodel
from koalagan.inference import saved_model


@pytest.fixture(scope="module")
def generator():
    return exports.generator(segmentation=True)


@pytest.fixture(scope="module")
def frozen():
    return {"embedding": exports.embedding(), "segmentation": exports.segmentation()}


@pytest.fixture(scope="module")
def included(generator, frozen, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("included") / "model")
    savedmodel.export(generator, frozen, path, SIZE)
    return tf.saved_model.load(path)


def test_they_are_included(generator, frozen, included):
    L = lab.rgb_to_lab(photograph(*SIZE)[None])[0]
    inputs = {"L": L, **{name: network(L) for name, network in frozen.items()}}
    ab = included.signatures["predict_ab"](L=L)["ab"]
    np.testing.assert_allclose(ab, generator(inputs), atol=1e-5)
    changed = {**inputs, "segmentation": -inputs["segmentation"]}
    assert np.abs(generator(inputs) - generator(changed)).max() > 1e-2


@pytest.mark.parametrize("missing", ["embedding", "segmentation"])
def test_inputs_that_nobody_provides_are_an_error(generator, frozen, missing, tmp_path):
    others = {name: network for name, network in frozen.items() if name != missing}
    with pytest.raises(ValueError, match=missing):
        savedmodel.export(generator, others, str(tmp_path / "m"), SIZE)


def test_their_outputs_can_be_inputs(generator, frozen, included, tmp_path):
    path = str(tmp_path / "model")
    savedmodel.export(generator, {}, path, SIZE, given=tuple(frozen))
    rgb = np.stack([photograph(*SIZE, seed) for seed in range(2)])
    L = lab.rgb_to_lab(rgb)[0]
    given = {name: network(L) for name, network in frozen.items()}
    loaded = tf.saved_model.load(path)
    for name, inputs in (
        ("predict_ab", {"L": L}),
        ("serving_default", {"image": tf.constant(rgb)}),
        ("colorize_bytes", {"image_bytes": tf.constant([encode(one) for one in rgb])}),
    ):
        outside = loaded.signatures[name]
        assert set(outside.structured_input_signature[1]) == {*inputs, *given}
        (answer,) = outside(**inputs, **given).values()
        (expected,) = included.signatures[name](**inputs).values()
        if name == "colorize_bytes":
            answer, expected = (
                [tf.io.decode_png(one) for one in many] for many in (answer, expected)
            )
        difference = np.abs(np.asarray(answer, float) - np.asarray(expected, float))
        assert difference.mean() < 0.1 and difference.max() <= 6
    with pytest.raises(UserError, match="--frozen_inputs: .*needs embedding and segmentation"):
        saved_model.predictor(path)
