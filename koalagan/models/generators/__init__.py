# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The generators: networks that predict color, under the names that `--generator` accepts.

    model = GENERATORS["unet"](image_size=256, skips=False)

Importing this package does not import TensorFlow; a generator's module is imported on first use.
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
        name: its name, and the name of its module, which defines `build(image_size=256, ...)`.
        branches: the frozen networks whose output it can use as an input ("embedding",
            "segmentation"); `build` has a boolean argument for each.
        options: further arguments of `build`, set by the flags of the same names.
        pretrained: whether its encoder can start from published weights; its module then defines
            `fetch(weights)`, `load_backbone(model, weights)` and `backbone_weights(model)` too.

    Every module also defines `STRIDE`, which heights and widths must be multiples of, and
    `COLOR_FEATURES` (see `koalagan.models.heads`).
    """

    name: str
    branches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    pretrained: bool = False

    @property
    def module(self) -> ModuleType:
        """The generator's module, imported on first use."""
        return importlib.import_module(f"koalagan.models.generators.{self.name}")

    def __call__(
        self, image_size: int | tuple[int | None, int | None] = 256, **arguments
    ) -> keras.Model:
        """Builds the untrained network; see `build` in its module."""
        return self.module.build(image_size, **arguments)


_DROPOUT = ("dropout", "dropout_at_inference")

GENERATORS = {
    generator.name: generator
    for generator in (
        Generator("inception_fusion", branches=("embedding", "segmentation"), options=_DROPOUT),
        Generator("koalarization", branches=("embedding",)),
        Generator("unet", options=("levels", "skips", *_DROPOUT)),
        Generator("resnet18_unet", options=("upsampling", "output_activation"), pretrained=True),
        Generator("koala", pretrained=True),
    )
}
