# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Functions that build Keras functional models and load published weights; they read no flags.

generators/   networks that predict color, listed in `GENERATORS`
frozen/       networks that describe the content of an image and are not trained
layers/       custom Keras layers
patchgan.py   the discriminator
weights.py    weights files, fingerprints and random weights
presets.py    keras-hub's presets
downloads.py  time limits of downloads
"""

from koalagan.models.generators import GENERATORS

__all__ = ["GENERATORS"]
