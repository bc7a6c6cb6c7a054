# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Frozen networks, which describe the content of an image for the generators and are not trained.

Each is a module with `build(dtype)`, `fetch(weights)`, `load_weights(model, weights)` and
`fingerprint(weights)`. The generator's input that it feeds has the name of its role, "embedding" or
"segmentation"; its flag is `--<role>_weights`. Importing this package does not import TensorFlow.
"""

import importlib
from types import ModuleType

# The number of output channels of each role, per image or per position.
CLASSES = {"embedding": 1001, "segmentation": 21}
# The networks that can have a role, which are modules here; the first is the papers'.
NETWORKS = {
    "embedding": ("inception_resnet_v2", "efficientnet_lite2"),
    "segmentation": ("segmentation",),
}


def network(role: str, name: str | None = None) -> ModuleType:
    """The module of a frozen network, imported on first use.

    Args:
        role: "embedding" or "segmentation".
        name: one of the role's `NETWORKS`; None for the papers'.

    Raises:
        ValueError: there is no such role, or no such network for it.
    """
    if role not in NETWORKS:
        raise ValueError(f"There is no frozen network {role!r}: pass one of {list(NETWORKS)}.")
    name = name or NETWORKS[role][0]
    if name not in NETWORKS[role]:
        raise ValueError(f"There is no {role} network {name!r}: pass one of {NETWORKS[role]}.")
    return importlib.import_module(f"koalagan.models.frozen.{name}")
