# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Pure functions that build Keras functional models; no files, no flags.

`GENERATORS` maps the name that `--generator` takes to `build(image_size=256, ...) -> keras.Model`.
"""

from koalagan.models import inception_fusion

GENERATORS = {"inception_fusion": inception_fusion.build}
