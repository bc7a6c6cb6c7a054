# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Gives back what a file's tests took, so that the last of many still find memory."""

import ctypes
import gc
import sys

import pytest


@pytest.fixture(scope="module", autouse=True)
def memory_given_back():
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session()
    gc.collect()
    # glibc keeps what was freed: gigabytes, after networks of different sizes.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
