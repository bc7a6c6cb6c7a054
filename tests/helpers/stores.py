# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Tiny prepared stores: a source in memory, and an embedding network of one matrix."""

import itertools
import os
import signal
import time
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest

from helpers.pictures import encode, picture
from koalagan.data import decoding, sources, store
from koalagan.errors import UserError
from koalagan.models import frozen
from koalagan.models.frozen import inception_resnet_v2

SIZE = (8, 12)
CLASSES = 5
COUNT = 20


def tiny_source(records=None, *, split="train", identity=0):
    """A source of `records`, or of the pictures p0 to p19."""
    if records is None:
        records = [(f"p{seed}", encode(picture(seed, *SIZE))) for seed in range(COUNT)]
    return sources.Source(
        "tiny", split, len(records), {"identity": identity}, lambda: iter(records)
    )


def with_bad(*numbers):
    """The tiny source, in which the pictures of these numbers cannot be decoded."""
    records = list(tiny_source().records())
    for number in numbers:
        records[number] = (f"p{number}", b"not a picture")
    return tiny_source(records)


def matrix(weights):
    """The matrix that the tiny embedding network multiplies lightness with."""
    random = np.random.default_rng(zlib.crc32(weights.encode()))
    return random.normal(size=(SIZE[0] * SIZE[1], CLASSES)).astype(np.float32)


def tiny_embedding(monkeypatch):
    """Replaces the embedding network by one matrix, which tells left from right.

    Returns:
        A list to which each loading of weights is appended.
    """
    loaded = []

    def build(dtype="float32"):
        lightness = keras.Input((*SIZE, 1), name="L")
        flat = keras.layers.Flatten(name="flat")(lightness)
        logits = keras.layers.Dense(CLASSES, use_bias=False, dtype="float32", name="logits")(flat)
        return keras.Model(lightness, logits)

    def load_weights(model, weights):
        loaded.append(weights)
        model.set_weights([matrix(weights)])

    monkeypatch.setitem(frozen.CLASSES, "embedding", CLASSES)
    monkeypatch.setattr(inception_resnet_v2, "build", build)
    monkeypatch.setattr(inception_resnet_v2, "load_weights", load_weights)
    monkeypatch.setattr(inception_resnet_v2, "fingerprint", lambda weights: f"of {weights}")
    return loaded


def prepare(folder, source=None, **options):
    return store.prepare(
        source or tiny_source(), **{"store_dir": str(folder), "image_size": SIZE, **options}
    )


def refusal(*args, **options):
    """The single sentence with which `prepare` refuses."""
    with pytest.raises(UserError) as info:
        prepare(*args, **options)
    message = str(info.value)
    assert "\n" not in message and message.endswith(".") and ". " not in message
    return message


def content(folder):
    """The bytes of all files below a folder, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def fail(*_, **__):
    raise AssertionError("this work was already done")


class Killed(BaseException):
    """Stands for anything that ends a process."""


def killed_after(calls, function):
    """`function`, which ends the process at every call after the first `calls`."""
    numbers = itertools.count()

    def failing(*args):
        if next(numbers) >= calls:
            raise Killed
        return function(*args)

    return failing


def prepare_and_die(folder):
    """For a process of its own: SIGKILL ends it at picture 13, with no chance to clean up.

    The first 8 pictures have been saved by then.
    """
    decode = decoding.decode

    def deadly(encoded, name):
        if name == "p13":
            while not any('"rows": 8' in path.read_text() for path in folder.rglob("state.json")):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(encoded, name)

    folder, decoding.decode, store.CHUNK = Path(folder), deadly, 8
    prepare(folder)
