# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Pure functions that build Keras functional models; no files, no flags.

- `GENERATORS`: from the name that `--generator` takes to `build(image_size=256, ...)`. What else a
  builder takes comes from the flags of the same names (see `koalagan.training.run_flags`).
- `BACKBONES`: modules of the generators whose encoder can start from published weights, with
  `fetch(weights)` and `load_backbone(model, weights)`.
- `FROZEN`: modules of the networks that only say what they see, by the name of the generator's
  input that they feed, with `build()`, `fetch(weights)`, `load_weights(model, weights)` and
  `fingerprint(weights)`.
"""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any


class _Imported(Mapping):
    """From names to the modules here, or to what each of them calls `attribute`.

    They are imported when they are asked for: the names alone need no TensorFlow.
    """

    def __init__(self, *names: str, attribute: str | None = None):
        self._names = names
        self._attribute = attribute

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        module = importlib.import_module(f"koalagan.models.{name}")
        return getattr(module, self._attribute) if self._attribute else module

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


GENERATORS = _Imported(
    "inception_fusion",
    "koalarization",
    "unet",
    "resnet18_unet",
    attribute="build",
)

BACKBONES = _Imported("resnet18_unet")

FROZEN = _Imported("embedding", "segmentation")
