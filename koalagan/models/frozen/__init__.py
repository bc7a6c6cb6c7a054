# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Networks that are asked what a picture shows and are not trained.

Each has a file with `build()`, `fetch(weights)`, `load_weights(model, weights)` and
`fingerprint(weights)`. Its name is that of the generator's input that it feeds, and with `_weights`
behind it that of its flag. Listing them needs no TensorFlow.
"""

import importlib
from types import ModuleType

# How many numbers each gives, for a picture or for a place in it.
CLASSES = {"embedding": 1001, "segmentation": 21}


def network(name: str) -> ModuleType:
    """The file of a frozen network, imported: "embedding" or "segmentation"."""
    if name not in CLASSES:
        raise ValueError(f"There is no frozen network {name!r}: pass one of {list(CLASSES)}.")
    return importlib.import_module(f"koalagan.models.frozen.{name}")
