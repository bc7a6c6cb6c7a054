# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Checkpoints in PyTorch's format before 1.6, written without PyTorch."""

import pickle

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {"f": b"ctorch\nFloatStorage\n", "i": b"ctorch\nLongStorage\n"}


def value(plain) -> bytes:
    """The instructions that push a number, a string, None or a tuple of integers."""
    return pickle.dumps(plain, 2)[2:-1]


def tensor(key, array, *, count=None, offset=0, shape=None, strides=None) -> bytes:
    """The instructions that push a tensor; by default a whole, contiguous storage."""
    shape = array.shape if shape is None else shape
    if strides is None:
        strides = tuple(step // array.itemsize for step in array.strides)
    storage = (
        b"("
        + value("storage")
        + _STORAGES[array.dtype.kind]
        + value(key)
        + value("cpu")
        + value(array.size if count is None else count)
        + value(None)
        + b"tQ"
    )
    rest = value(offset) + value(shape) + value(strides) + value(False)
    hooks = b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + hooks + b"tR"


def checkpoint(arrays, *, tensors=None, machine=None, keys=None, version=1001) -> bytes:
    """A checkpoint of `arrays` by name; each other argument replaces a part of it."""
    tensors = tensors or {name: tensor(name, array) for name, array in arrays.items()}
    machine = {"little_endian": True, "protocol_version": 1001} if machine is None else machine
    items = b"".join(value(name) + code for name, code in tensors.items())
    pickles = [pickle.dumps(part, 2) for part in (_MAGIC, version, machine)]
    pickles.append(b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u.")
    pickles.append(pickle.dumps(list(arrays) if keys is None else keys, 2))
    storages = [
        np.int64(array.size).tobytes() + np.ascontiguousarray(array).tobytes()
        for array in arrays.values()
    ]
    return b"".join(pickles + storages)
