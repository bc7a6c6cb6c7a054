# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests of prepared stores."""

import threading

import pytest
from helpers import stores

from koalagan.data import decoding, features, store


@pytest.fixture
def networks(monkeypatch):
    """Makes the embedding network tiny; lists the weights that are loaded."""
    return stores.tiny_embedding(monkeypatch)


@pytest.fixture
def decoded(monkeypatch):
    """The names of the pictures that are decoded, in the order of their number."""
    names, decode = [], decoding.decode
    lock = threading.Lock()

    def listed(encoded, name):
        with lock:  # Threads decode in any order.
            names.append(name)
            names.sort(key=lambda name: (len(name), name))
        return decode(encoded, name)

    monkeypatch.setattr(decoding, "decode", listed)
    return names


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(store, "CHUNK", 8)
    monkeypatch.setattr(features, "BATCH", 8)
