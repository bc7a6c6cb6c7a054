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

from koalagan.models import (
    embedding,
    inception_fusion,
    koalarization,
    resnet18_unet,
    segmentation,
    unet,
)

GENERATORS = {
    "inception_fusion": inception_fusion.build,
    "koalarization": koalarization.build,
    "unet": unet.build,
    "resnet18_unet": resnet18_unet.build,
}

BACKBONES = {"resnet18_unet": resnet18_unet}

FROZEN = {"embedding": embedding, "segmentation": segmentation}
