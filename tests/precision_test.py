# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Which dtype --mixed_precision stands for, and that the global policy is restored."""

import keras
import pytest
import tensorflow as tf

from koalagan import precision


@pytest.mark.parametrize("choice", ["float32", "float16", "bfloat16"])
def test_an_explicit_choice_is_unchanged(choice):
    assert precision.resolve(choice) == choice


@pytest.mark.parametrize(
    "flags, expected",
    [
        ("fpu avx2 amx_bf16 amx_tile", "bfloat16"),
        ("fpu avx512f avx512_bf16", "bfloat16"),
        ("fpu avx2 avx512f", "float32"),
    ],
)
def test_auto_on_a_cpu(monkeypatch, flags, expected):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(precision.Path, "read_text", lambda path: f"flags : {flags}\n")
    assert precision.resolve("auto") == expected


def test_auto_on_an_unknown_cpu(monkeypatch):
    def missing(path):
        raise FileNotFoundError

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(precision.Path, "read_text", missing)
    assert precision.resolve("auto") == "float32"


@pytest.mark.parametrize(
    "capability, expected",
    [((6, 1), "float32"), ((7, 5), "float16"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")],
)
def test_auto_on_a_gpu(monkeypatch, capability, expected):
    devices = {"CPU": ["cpu"], "GPU": ["gpu 0", "gpu 1"]}
    details = {"gpu 0": {"compute_capability": capability}}
    monkeypatch.setattr(tf.config, "list_physical_devices", devices.get)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details.get)
    # Whatever the CPU is.
    monkeypatch.setattr(precision.Path, "read_text", lambda path: "flags : amx_bf16\n")
    assert precision.resolve("auto") == expected


def test_policy_is_restored_after_an_error():
    before = keras.mixed_precision.dtype_policy().name
    with pytest.raises(KeyError), precision.policy("bfloat16"):
        assert keras.mixed_precision.dtype_policy().name == "mixed_bfloat16"
        raise KeyError
    assert keras.mixed_precision.dtype_policy().name == before
