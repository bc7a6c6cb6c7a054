# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests of prepared stores."""

import threading

import pytest
from helpers import stores

from koalagan.data import decoding, features, resized_pictures, store


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
    """Saved states every 8 pictures, and one thread, so that what is saved does not vary."""
    monkeypatch.setattr(resized_pictures, "available_cores", lambda: 1)
    monkeypatch.setattr(store, "CHUNK", 8)
    monkeypatch.setattr(features, "BATCH", 8)
    monkeypatch.setattr(features, "SAVE_EVERY_SECONDS", 0.0)
