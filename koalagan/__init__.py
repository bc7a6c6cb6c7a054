# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""koalagan colors black-and-white photographs with TensorFlow and Keras.

    import koalagan

    model = koalagan.load()  # or the folder of a run or of an export
    colored = model.colorize("photo.jpg")  # uint8 [H,W,3]; arrays and lists work too
    model.evaluate("koala_scenes", "validation", output_dir="evaluation")

`koalagan.load` returns a `koalagan.Colorizer`; mistakes raise `koalagan.UserError`. TensorFlow is
imported on first use.
"""

import importlib
import os
from typing import Any

# TensorFlow's C++ code reads this once, at its first import: hide INFO lines unless the user asks
# for them.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")

__version__ = "0.1.0"

_HOMES = {"Colorizer": "inference.colorizer", "load": "inference.colorizer", "UserError": "errors"}
__all__ = ["Colorizer", "UserError", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'koalagan' has no attribute {name!r}")
    return getattr(importlib.import_module(f"koalagan.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
