# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import pickle
import random

import numpy as np
import pytest
from helpers.torch_files import checkpoint, tensor, value

from koalagan.models import torch_checkpoint

ARRAYS = {
    "kernel": np.arange(24, dtype="<f4").reshape(2, 3, 4),
    "steps": np.array(7, "<i8"),
    "bias": np.array([0.5, -1.5], "<f4"),
}


def read(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    return torch_checkpoint.read(path)


def refusal(tmp_path, content):
    with pytest.raises(ValueError) as info:
        read(tmp_path, content)
    return str(info.value)


def test_the_tensors_by_name(tmp_path):
    found = read(tmp_path, checkpoint(ARRAYS))
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        found[name] += 1  # It owns its memory.


def test_views_of_a_storage(tmp_path):
    """The published weights are transposed views: TensorFlow's kernels in PyTorch's order."""
    kernel = ARRAYS["kernel"]
    views = {
        "transposed": tensor("kernel", kernel, shape=(4, 3, 2), strides=(1, 4, 12)),
        "part": tensor("kernel", kernel, offset=5, shape=(2, 2), strides=(12, 1)),
        "empty": tensor("kernel", kernel, shape=(0, 3), strides=(3, 1)),
    }
    found = read(tmp_path, checkpoint({"kernel": kernel}, tensors=views))
    np.testing.assert_array_equal(found["transposed"], kernel.transpose())
    np.testing.assert_array_equal(found["part"], [[5, 6], [17, 18]])
    assert found["empty"].shape == (0, 3)
    assert found["transposed"].flags.c_contiguous


KERNEL = ARRAYS["kernel"]


@pytest.mark.parametrize(
    "view",
    [
        {"offset": 1},
        {"offset": -1},
        {"shape": (25,), "strides": (1,)},
        {"shape": (2, 3), "strides": (-1, 1), "offset": 12},
        {"shape": (10**12,), "strides": (0,)},
        {"shape": (-2, -12), "strides": (12, 1)},
        {"shape": (2, 12), "strides": (2**62, 1)},
        {"shape": (1, 24), "strides": (2**70, 1)},
        {"shape": (0, 2**70), "strides": (1, 1)},
    ],
    ids=str,
)
def test_a_tensor_outside_of_its_storage(tmp_path, view):
    content = checkpoint({"k": KERNEL}, tensors={"kernel": tensor("k", KERNEL, **view)})
    assert "kernel does not fit its storage" in refusal(tmp_path, content)


@pytest.mark.parametrize(
    "code, part",
    [
        (b"cos\nsystem\n" + value("touch {path}") + b"\x85R", "names os.system"),
        (b"cbuiltins\neval\n" + value("open('{path}', 'w')") + b"\x85R", "names builtins.eval"),
        (b"ctorch\nload\n", "names torch.load"),
        (b"(icollections\nOrderedDict\n", "instruction INST"),
        (b"r\xff\xff\xff\x7f", "numbers more values"),
    ],
    ids=["os.system", "eval", "torch.load", "INST", "memory"],
)
def test_nothing_is_executed(tmp_path, code, part):
    target = tmp_path / "made"
    # The same length, so that the pickle stays whole.
    code = code.replace(b"{path}", b"made!!")
    content = checkpoint({"k": KERNEL}, tensors={"kernel": code})
    assert part in refusal(tmp_path, content)
    assert not target.exists() and sorted(tmp_path.iterdir()) == [tmp_path / "weights.pth"]


@pytest.mark.parametrize(
    "content, part",
    [
        (b"", "older format"),
        (b"PK\x03\x04 a file of PyTorch 1.6 and newer", "older format"),
        (pickle.dumps({"kernel": 1}, 2), "older format"),
        (checkpoint(ARRAYS, version=1002), "older format"),
        (checkpoint(ARRAYS, machine={"little_endian": False}), "big-endian"),
        (checkpoint(ARRAYS, keys=["kernel", "steps"]), "storages are not those"),
        (checkpoint(ARRAYS, keys=["kernel", "steps", "other"]), "storages are not those"),
        (checkpoint(ARRAYS, tensors={"kernel": value(3)}), "something else than tensors"),
        (checkpoint(ARRAYS)[:-1], "cut off"),
        (checkpoint(ARRAYS) + b"x", "follows its last storage"),
        (
            checkpoint({"k": KERNEL}, tensors={"kernel": tensor("k", KERNEL, count=23)}),
            "another size",
        ),
        (
            checkpoint({"k": KERNEL}, tensors={"kernel": tensor("k", KERNEL, count=10**15)}),
            "another size",
        ),
    ],
    ids=range(12),
)
def test_other_files(tmp_path, content, part):
    assert part in refusal(tmp_path, content)


def test_attributes_that_a_file_sets_are_not_used(tmp_path):
    """BUILD sets attributes: here, `items` of the dict of tensors."""
    code = b"}" + value("items") + b"ccollections\nOrderedDict\nsb."
    whole = checkpoint({"k": KERNEL})
    tensors = b"\x80\x02ccollections\nOrderedDict\n)R(" + value("k") + tensor("k", KERNEL) + b"u."
    assert whole.count(tensors) == 1
    found = read(tmp_path, whole.replace(tensors, tensors[:-1] + code))
    np.testing.assert_array_equal(found["k"], KERNEL)


def test_damaged_files_are_refused_or_read(tmp_path):
    """Cut anywhere it is refused; with a wrong byte too, unless a number or a name changes."""
    whole = checkpoint(ARRAYS)
    for length in range(0, len(whole), 3):
        refusal(tmp_path, whole[:length])
    draw = random.Random(0)
    for _ in range(2000):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] = draw.randrange(256)
        try:
            found = read(tmp_path, bytes(damaged))
        except ValueError:
            continue
        assert sum(array.size for array in found.values()) <= 24 + 1 + 2
