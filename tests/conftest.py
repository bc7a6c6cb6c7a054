# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Frees the memory that the tests of a file used: the last of many files need it too."""

import ctypes
import gc
import sys

import pytest


@pytest.fixture(scope="module", autouse=True)
def freed_memory():
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session()
    gc.collect()
    # glibc keeps freed memory: gigabytes, after networks of different sizes.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
