# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Whole runs of the command `train`, on pictures of 32 pixels."""

import json
import subprocess
import sys
from pathlib import Path

import skimage.data
from PIL import Image

from koalagan import run
from koalagan.training.settings import parse

SMALL = {
    "dataset": "folder",
    "train_split": "train[:16]",
    "eval_split": "train[16:]",
    "image_size": 32,
    "embedding_weights": "none",
    "segmentation_weights": "none",
    "batch_size": 4,
    "pretrain_epochs": 1,
    "epochs": 1,
    "mixed_precision": "float32",
}


def write_photographs(folder: Path) -> Path:
    """Writes windows of two photographs, 20 files."""
    astronaut, coffee = skimage.data.astronaut(), skimage.data.coffee()
    for number in range(20):
        picture = (astronaut, coffee)[number % 2][number * 10 :][:160, number * 10 :][:, :200]
        Image.fromarray(picture).save(folder / f"{number}.jpg")
    return folder


class Trainer:
    """Trains in `workdir` with small settings; keyword arguments are further flags."""

    def __init__(self, photographs: Path, folder: Path):
        self.workdir = folder / "run"
        self.store_dir = folder / "store"
        self._photographs = photographs

    def arguments(self, **flags) -> list[str]:
        """The flags of the command."""
        places = {
            "workdir": self.workdir,
            "store_dir": self.store_dir,
            "data_dir": self._photographs,
        }
        return [f"--{name}={value}" for name, value in {**SMALL, **places, **flags}.items()]

    def __call__(self, **flags) -> int:
        given = {**SMALL, **flags}
        return run.train(parse(self.arguments(**flags)), list(given))

    def metrics(self) -> dict:
        return json.loads((self.workdir / "metrics.json").read_text())


def command(module: str, *arguments, **options) -> subprocess.CompletedProcess:
    """Runs a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", f"koalagan.{module}", *map(str, arguments)],
        capture_output=True,
        text=True,
        **options,
    )
