# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The compute dtype that `--mixed_precision` stands for on this machine."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import keras
import tensorflow as tf


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 natively; False if the system does not say."""
    try:
        cpu = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "amx_bf16" in cpu or "avx512_bf16" in cpu


def resolve(choice: str) -> str:
    """Replaces "auto" by the fastest dtype that is safe here; returns other choices unchanged.

    NVIDIA GPUs of compute capability 8 and newer and CPUs with AMX or AVX512-BF16 get bfloat16,
    GPUs of compute capability 7 get float16 (with loss scaling), everything else float32.
    """
    if choice != "auto":
        return choice
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        major = details.get("compute_capability", (0, 0))[0]
        return "bfloat16" if major >= 8 else "float16" if major == 7 else "float32"
    return "bfloat16" if _cpu_has_bfloat16() else "float32"


@contextlib.contextmanager
def policy(dtype: str) -> Iterator[None]:
    """Makes layers that are built inside compute in `dtype`: float32, float16 or bfloat16."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("float32" if dtype == "float32" else f"mixed_{dtype}")
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)
