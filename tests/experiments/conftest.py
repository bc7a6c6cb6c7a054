# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What the tests of the benchmark share."""

import pytest
from helpers.pictures import encode, picture


@pytest.fixture
def benchmark_pictures(tmp_path):
    """The settings for a folder of a few small photographs."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.png").write_bytes(encode(picture(number, 40, 50)))
    return {
        "dataset": "folder",
        "data_dir": str(folder),
        "train_split": "train",
        "eval_split": "train[:2]",
        "store_dir": str(tmp_path / "store"),
        "image_size": 32,
        "batch_size": 2,
        "rounds": 1,
        "mixed_precision": "float32",
    }
