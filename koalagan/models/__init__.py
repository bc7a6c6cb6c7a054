# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Pure functions that build Keras functional models; no files, no flags.

- `GENERATORS`: from the name that `--generator` takes to `build(image_size=256, ...)`. What else a
  builder takes comes from the flags of the same names (see `koalagan.run_flags`).
- `BACKBONES`: modules of the generators whose encoder can start from published weights, with
  `fetch(weights)` and `load_backbone(model, weights)`.
- `FROZEN`: modules of the networks that only say what they see, by the name of the generator's
  input that they feed, with `build()`, `fetch(weights)`, `load_weights(model, weights)` and
  `fingerprint(weights)`.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping

from etils import epy

# Imported when they are used: the names alone need no TensorFlow.
with epy.lazy_imports():
    from koalagan.models import embedding, resnet18_unet, segmentation


class _Builders(Mapping):
    """From a module's name to its `build`."""

    def __init__(self, *modules: str):
        self._modules = modules

    def __getitem__(self, name: str) -> Callable:
        if name not in self._modules:
            raise KeyError(name)
        return importlib.import_module(f"koalagan.models.{name}").build

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


GENERATORS = _Builders(
    "inception_fusion",
    "koalarization",
    "unet",
    "resnet18_unet",
)

BACKBONES = {"resnet18_unet": resnet18_unet}

FROZEN = {"embedding": embedding, "segmentation": segmentation}
