# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Frozen networks, which describe the content of an image for the generators and are not trained.

Each is a module with `build(dtype)`, `fetch(weights)`, `load_weights(model, weights)` and
`fingerprint(weights)`. The generator's input that it feeds has its name; its flag is
`--<name>_weights`. Importing this package does not import TensorFlow.
"""

import importlib
from types import ModuleType

# The number of output channels of each, per image or per position.
CLASSES = {"embedding": 1001, "segmentation": 21}


def network(name: str) -> ModuleType:
    """The module of a frozen network, imported on first use.

    Args:
        name: "embedding" or "segmentation".

    Raises:
        ValueError: there is no such network.
    """
    if name not in CLASSES:
        raise ValueError(f"There is no frozen network {name!r}: pass one of {list(CLASSES)}.")
    return importlib.import_module(f"koalagan.models.frozen.{name}")
