# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Reads the tensors of a PyTorch checkpoint without PyTorch, and without executing anything of it.

The format is that of `torch.save` before PyTorch 1.6: five pickles (a magic number, a version,
facts about the machine, the tensors by name, the keys of the storages), then each storage as an
int64 count and that many numbers, in the order of the keys. A pickle is a program: this reader
first checks that only those instructions are in it that such a file needs, and then resolves only
the four names that it needs.
"""

import collections
import math
import os
import pickle
import pickletools
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}

_INSTRUCTIONS = frozenset(
    "APPEND APPENDS BINGET BININT BININT1 BININT2 BINPERSID BINPUT BINUNICODE BUILD EMPTY_DICT "
    "EMPTY_LIST EMPTY_TUPLE GLOBAL LONG1 LONG_BINGET LONG_BINPUT MARK NEWFALSE NEWTRUE NONE PROTO "
    "REDUCE SETITEM SETITEMS STOP TUPLE TUPLE1 TUPLE2 TUPLE3".split()
)

# What a damaged or dishonest pickle makes the unpickler raise.
_PICKLE_ERRORS = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
    UnicodeDecodeError,
    ValueError,
)


class _Storage(NamedTuple):
    """A storage that the pickle names: its dtype, its key and its count of numbers."""

    dtype: str
    key: str
    count: int


class _Tensor(NamedTuple):
    """A tensor as the pickle describes it: a part of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint, by name.

    Args:
        path: a file that `torch.save(model.state_dict(), path)` wrote in the format before 1.6.

    Returns:
        Arrays of float32 or int64 that own their memory.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, has another format, or names anything but tensors.
    """
    with open(path, "rb") as file:
        try:
            magic, version, facts, tensors, keys = (_load(file) for _ in range(5))
        except _PICKLE_ERRORS as error:
            raise ValueError(f"it is not a checkpoint of PyTorch's older format: {error}") from None
        if (magic, version) != (_MAGIC, _VERSION) or not isinstance(facts, dict):
            raise ValueError("it is not a checkpoint of PyTorch's older format")
        if dict.get(facts, "little_endian") is not True:
            raise ValueError("its numbers are big-endian")
        # Not `tensors.items`: an instruction can set attributes of what it has.
        if not isinstance(tensors, dict) or not all(
            isinstance(name, str) and isinstance(tensor, _Tensor)
            for name, tensor in dict.items(tensors)
        ):
            raise ValueError("it holds something else than tensors by name")
        storages = _read_storages(file, keys, {t.storage for t in dict.values(tensors)})
    return {name: _array(name, tensor, storages) for name, tensor in dict.items(tensors)}


def _load(file: BinaryIO) -> Any:
    """The value of the pickle at the file's position."""
    start = file.tell()
    with warnings.catch_warnings():
        # Python warns about escape sequences in what may be a damaged file's text.
        warnings.simplefilter("ignore", DeprecationWarning)
        for number, (instruction, argument, _) in enumerate(pickletools.genops(file)):
            if instruction.name not in _INSTRUCTIONS:
                raise pickle.UnpicklingError(f"no tensor needs its instruction {instruction.name}")
            # The unpickler would reserve memory for all numbers below.
            if instruction.name in ("BINPUT", "LONG_BINPUT") and argument > number:
                raise pickle.UnpicklingError("it numbers more values than it has")
    file.seek(start)
    return _Unpickler(file).load()


class _Unpickler(pickle.Unpickler):
    """Resolves the four names of a checkpoint of tensors, and no other."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _DTYPES:
            return name
        # New functions each time: an instruction can set attributes of what it has.
        if (module, name) == ("collections", "OrderedDict"):
            return lambda: collections.OrderedDict()
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *arguments: _tensor(*arguments)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no tensor needs")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count, view = pid
        known = isinstance(kind, str) and isinstance(dtype, str) and dtype in _DTYPES
        if not known or kind != "storage" or view is not None:
            raise pickle.UnpicklingError("it refers to something else than a storage")
        if not isinstance(key, str) or not isinstance(count, int):
            raise pickle.UnpicklingError("it refers to a storage without key or size")
        return _Storage(dtype, key, count)


def _tensor(storage, offset, shape, strides, _requires_grad, _hooks) -> _Tensor:
    if not isinstance(storage, _Storage) or len(shape) != len(strides):
        raise pickle.UnpicklingError("it describes a tensor without a storage")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _read_storages(file: BinaryIO, keys: Any, used: set[_Storage]) -> dict[str, np.ndarray]:
    known = {storage.key: storage for storage in used}
    is_list = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not is_list or sorted(keys) != sorted(known):
        raise ValueError("its storages are not those of its tensors")
    if len(known) != len(used):
        raise ValueError("it gives one storage two types or sizes")
    storages = {}
    for key in keys:
        storage, dtype = known[key], _DTYPES[known[key].dtype]
        head = file.read(8)
        size = storage.count * dtype.itemsize
        if len(head) < 8 or int.from_bytes(head, "little") != storage.count:
            raise ValueError(f"its storage {key} is cut off or has another size than it says")
        content = file.read(size) if size <= os.fstat(file.fileno()).st_size else b""
        if len(content) < size:
            raise ValueError(f"its storage {key} is cut off")
        storages[key] = np.frombuffer(content, dtype)
    if file.read(1):
        raise ValueError("something follows its last storage")
    return storages


def _array(name: str, tensor: _Tensor, storages: Mapping[str, np.ndarray]) -> np.ndarray:
    """The array of a tensor, which may be a transposed view of its storage, in C order."""
    numbers = storages[tensor.storage.key]
    count = math.prod(tensor.shape)
    last = tensor.offset + sum(
        (side - 1) * stride for side, stride in zip(tensor.shape, tensor.strides, strict=True)
    )
    # Bounds are checked here, because as_strided checks none.
    if (
        min(tensor.offset, *tensor.shape, *tensor.strides, 0) < 0
        or count > len(numbers)
        or (count and last >= len(numbers))
    ):
        raise ValueError(f"its tensor {name} does not fit its storage")
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    try:
        view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides)
    except (OverflowError, ValueError):  # of sides of 0 or 1, whose strides are not used
        raise ValueError(f"its tensor {name} does not fit its storage") from None
    return np.array(view, order="C")
