# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""koalagan colours black-and-white photographs with TensorFlow and Keras.

    import koalagan

    model = koalagan.load("runs/quickstart/export")  # or the run's folder
    coloured = model.colorize("photo.jpg")  # uint8 [H,W,3]; takes arrays and lists too
    model.evaluate("koala_scenes", "validation", output_dir="evaluation")

`koalagan.Colorizer` is what `load` returns; `koalagan.UserError` is what all mistakes raise.
TensorFlow is imported when it is first used.
"""

import importlib
import os
from typing import Any

# TensorFlow's C++ side reads this once, when it is first imported: hide its INFO lines unless the
# user has said otherwise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")

__version__ = "0.1.0"

_HOMES = {"Colorizer": "colorizer", "load": "colorizer", "UserError": "errors"}
__all__ = ["Colorizer", "UserError", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'koalagan' has no attribute {name!r}")
    return getattr(importlib.import_module(f"koalagan.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
