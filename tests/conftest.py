# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Fixtures of whole runs; and memory that a file's tests used is freed, which later ones need."""

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


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of photographs to train on."""
    from helpers import runs  # It imports TensorFlow, which takes seconds.

    return runs.write_photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture
def run(photographs, tmp_path):
    """Trains on them by the command's own function, in a folder of its own."""
    from helpers import runs

    return runs.Trainer(photographs, tmp_path)
