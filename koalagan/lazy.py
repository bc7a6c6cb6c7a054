# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Modules that are imported when they are first used: `tf = lazy.module("tensorflow")`.

TensorFlow takes seconds to import. A command line that is asked for --help, or given a wrong flag,
answers before that. Annotations that name such a module have to stay unevaluated (`from __future__
import annotations`), and only modules can be had this way, not what is in them.

Not `etils.epy.lazy_imports`: its locks are not reentrant and shared by all that use it, and TFDS
does while it is imported: a process that comes to it by way of a lazy TFDS waits for itself.
"""

import importlib
from typing import Any


class _Module:
    """Stands for a module; whatever is asked of it is asked of the module."""

    __slots__ = ("_name",)

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


def module(name: str) -> Any:
    """The module of this absolute name, not imported yet."""
    return _Module(name)
