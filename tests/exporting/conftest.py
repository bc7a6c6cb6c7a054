# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""One exported model for all tests that only use it: each export takes seconds."""

import pytest
import tensorflow as tf
from helpers import exports

from koalagan.exporting import savedmodel


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The SavedModel of `exports.generator` with `exports.embedding` inside."""
    path = tmp_path_factory.mktemp("export") / "model"
    frozen = {"embedding": exports.embedding()}
    metadata = {"generator": "tiny"}
    savedmodel.export(exports.generator(), frozen, str(path), exports.SIZE, metadata=metadata)
    return path


@pytest.fixture(scope="module")
def signatures(saved):
    loaded = tf.saved_model.load(str(saved))
    yield loaded.signatures  # `loaded` keeps the variables alive


@pytest.fixture(scope="module")
def networks():
    """The generator and the embedding network of `saved`."""
    return exports.generator(), exports.embedding()
