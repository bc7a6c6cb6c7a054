# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Writes the pictures of a TensorFlow Datasets split into a folder, as they are stored.

    python experiments/studies/dataset_to_folder.py --dataset=coco/2017 --data_dir=DIR \\
        --split=train --output_dir=PHOTOS/coco --digits=12

A file has the id of its picture as its name. COCO's own file names have 12 digits; the order of a
folder's pictures, and so which of them are held out, follows their names.

A run has one dataset: with --dataset=folder, pictures of a dataset and others can be trained on
together.
"""

import dataclasses
from pathlib import Path

from koalagan import cli, progress
from koalagan.data import sources
from koalagan.options import option


@dataclasses.dataclass(frozen=True)
class Settings:
    """Pictures to write."""

    dataset: str = option(None, "A TensorFlow Datasets name.", required=True)
    data_dir: str | None = option(None, "Where the dataset lies.")
    split: str = option("train", "Which pictures, in TFDS's slice syntax.")
    output_dir: str = option(None, "The folder to write; created if absent.", required=True)
    digits: int = option(0, "Fill ids up with zeros to this number of digits.", minimum=0)


def main(settings: Settings, _: list[str]) -> None:
    """Runs the script."""
    source = sources.open_source(settings.dataset, settings.split, data_dir=settings.data_dir)
    folder = Path(settings.output_dir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with progress.bar("write", source.count) as bar:
        for name, encoded in source.records():
            name = name.replace("/", "_")
            filled = name.rjust(settings.digits, "0")
            path = folder / (name if Path(name).suffix else f"{filled}.jpg")
            path.write_bytes(encoded)
            bar.update()
    print(folder)


COMMAND = cli.Command(__doc__, Settings, main)

if __name__ == "__main__":
    cli.run(COMMAND)
