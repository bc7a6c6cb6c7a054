# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Pure functions that build Keras functional models; no files but weights, no flags.

generators/  networks that color; `GENERATORS` lists them
frozen/      networks that say what they see and are not trained
layers/      layers of our own
patchgan.py  the discriminator
"""

from koalagan.models.generators import GENERATORS

__all__ = ["GENERATORS"]
