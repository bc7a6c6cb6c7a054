# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The networks that color, by the names that `--generator` takes.

    model = GENERATORS["unet"](image_size=256, skips=False)

Listing them needs no TensorFlow: a generator's file is imported when it is built.
"""

from __future__ import annotations

import dataclasses
import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class Generator:
    """An entry of `GENERATORS`; calling it builds the network.

    Attributes:
        name: its name, and that of its file in this folder, which has `build(image_size=256, ...)`.
        branches: frozen networks that it can take the output of ("embedding", "segmentation");
            `build` has a boolean argument for each.
        options: further arguments of `build`, which the flags of the same names set.
        pretrained: its encoder can start from published weights; its file then has
            `fetch(weights)` and `load_backbone(model, weights)` too.
    """

    name: str
    branches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    pretrained: bool = False

    @property
    def module(self) -> ModuleType:
        """The generator's file, imported."""
        return importlib.import_module(f"koalagan.models.generators.{self.name}")

    def __call__(
        self, image_size: int | tuple[int | None, int | None] = 256, **arguments
    ) -> keras.Model:
        """Builds the network, untrained; see `build` in its file."""
        return self.module.build(image_size, **arguments)


_DROPOUT = ("dropout", "dropout_at_inference")

GENERATORS = {
    generator.name: generator
    for generator in (
        Generator("inception_fusion", branches=("embedding", "segmentation"), options=_DROPOUT),
        Generator("koalarization", branches=("embedding",)),
        Generator("unet", options=("skips", *_DROPOUT)),
        Generator("resnet18_unet", options=("upsampling", "output_activation"), pretrained=True),
    )
}
