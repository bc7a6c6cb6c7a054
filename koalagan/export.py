# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Exports the generator of a run as a SavedModel, or for LiteRT or ONNX.

    python -m koalagan.export [--workdir=runs/NAME] --output_dir=DIR \\
        [--format=savedmodel|tflite|onnx]

Without --workdir, it exports the model that comes with koalagan, whose license is CC BY-NC 4.0.

TensorFlow loads the SavedModel without koalagan; `koalagan.exporting.savedmodel` describes its
signatures.
"""

import dataclasses
import os

from koalagan import cli
from koalagan.exporting.settings import ExportSettings
from koalagan.options import option


@dataclasses.dataclass(frozen=True)
class _Folders:
    """Folders."""

    workdir: str | None = option(
        None, "The run to export (default: the model that comes with koalagan)."
    )
    output_dir: str = option(None, "The folder to write.", required=True)


@dataclasses.dataclass(frozen=True)
class _Settings:
    """All settings of the command."""

    folders: _Folders
    model: ExportSettings


def main(settings: _Settings, arguments: list[str]) -> None:
    """Runs the command."""
    from koalagan.exporting import trained

    folders = settings.folders
    if folders.workdir:
        trained.export_run(os.path.expanduser(folders.workdir), folders.output_dir, settings.model)
    else:
        trained.export_pretrained(folders.output_dir, settings.model)
    kind = "SavedModel" if settings.model.format == "savedmodel" else "model"
    print(f"{kind}: {folders.output_dir}")


COMMAND = cli.Command(__doc__, _Settings, main)

if __name__ == "__main__":
    cli.run(COMMAND)
