# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Networks are the same whatever image_data_format the user's keras.json sets."""

import keras
import numpy as np
import pytest

from koalagan.models import GENERATORS, frozen, patchgan

BUILDERS = {
    "unet": lambda: GENERATORS["unet"](256),
    "inception_fusion": lambda: GENERATORS["inception_fusion"](64),
    "koalarization": lambda: GENERATORS["koalarization"](64),
    "resnet18_unet": lambda: GENERATORS["resnet18_unet"](64),
    "koala": lambda: GENERATORS["koala"](64),
    "patchgan": lambda: patchgan.build(64),
    "embedding": lambda: frozen.network("embedding").build(),
    "efficientnet_lite2": lambda: frozen.network("embedding", "efficientnet_lite2").build(),
    "segmentation": lambda: frozen.network("segmentation").build(),
}


@pytest.fixture
def channels_first():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format(before)


@pytest.mark.parametrize("name", BUILDERS)
def test_channels_are_last(name, channels_first):
    keras.utils.set_random_seed(0)
    model = BUILDERS[name]()
    assert keras.config.image_data_format() == "channels_first"
    formats = {getattr(layer, "data_format", None) for layer in model._flatten_layers()}
    assert formats <= {None, "channels_last"}
    assert {tensor.shape[-1] for tensor in model.inputs} <= {1, 3, 21, 1001}
    assert model.output_shape[-1] in (1, 2, 21, 1001)


@pytest.mark.parametrize("name", ["inception_fusion", "patchgan"])
def test_they_compute_the_same(name, channels_first):
    keras.utils.set_random_seed(0)
    model = BUILDERS[name]()
    keras.config.set_image_data_format("channels_last")
    keras.utils.set_random_seed(0)
    reference = BUILDERS[name]()
    rng = np.random.default_rng(0)
    drawn = {
        tensor.name: rng.normal(size=[1, *(side or 16 for side in tensor.shape[1:])])
        for tensor in reference.inputs
    }
    inputs = {tensor: values.astype(np.float32) for tensor, values in drawn.items()}
    inputs = inputs if len(inputs) > 1 else next(iter(inputs.values()))
    expected = reference(inputs)
    keras.config.set_image_data_format("channels_first")
    np.testing.assert_array_equal(model(inputs), expected)
