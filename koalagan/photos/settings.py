# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Options for coloring photographs and films, and for their results."""

import dataclasses
from typing import Any

from koalagan.options import PRETRAINED, option

# --format: the extension of its files; "same" keeps that of each photograph.
FORMATS = {"png": ".png", "jpeg": ".jpg", "tiff": ".tif", "webp": ".webp", "bmp": ".bmp"}


@dataclasses.dataclass(frozen=True)
class Folders:
    """Model and output."""

    saved_model: str = option(
        PRETRAINED,
        "The exported model, or the folder of its run; koala is the model that comes with "
        "koalagan (its license is CC BY-NC 4.0), ./koala a folder.",
    )
    output_dir: str = option(
        "colored", "The folder for colored pictures; created if it does not exist."
    )


@dataclasses.dataclass(frozen=True)
class ResultForm:
    """What becomes of a photograph."""

    format: str = option(
        "png",
        "The format of results; 'same' keeps each photograph's own.",
        choices=(*FORMATS, "same"),
    )
    quality: int = option(95, "The quality of JPEG, WebP and AVIF results.", minimum=1, maximum=100)
    depth: str = option(
        "auto",
        "The bits of each sample of a result. auto: 16 for photographs that have more than 8, in "
        "formats that hold them (PNG, TIFF), else 8.",
        choices=("auto", "8", "16"),
    )
    recolor: bool = option(
        False, "Also color photographs that already have color, instead of copying them."
    )
    keep_color: bool = option(
        False,
        "Copy photographs with any color at all, also those that look like toned, yellowed or "
        "stamped prints; in films, shots in color.",
    )
    max_megapixels: int = option(
        500,
        "The largest photograph to color, in megapixels. A small file can claim any size.",
        minimum=1,
    )


@dataclasses.dataclass(frozen=True)
class ResultSettings(ResultForm):
    """Results."""

    suffix: str = option("", "Text to append to the names of results, such as _colorized.")
    overwrite: bool = option(True, "Replace existing results; otherwise they are an error.")
    skip_existing: bool = option(False, "Skip photographs whose results exist.")
    contact_sheet: str | None = option(
        None,
        "An HTML page to write, which compares the photographs of this call with their results "
        "under sliders.",
    )


@dataclasses.dataclass(frozen=True)
class Coloring:
    """How the network colors a photograph."""

    saturation: float = option(
        1.0, "The factor by which the predicted chroma is multiplied.", minimum=0.0, maximum=10.0
    )
    render_size: int | None = option(
        None,
        "The side length at which the network sees a photograph (default: the size that the model "
        "was exported for).",
        minimum=8,
    )


@dataclasses.dataclass(frozen=True)
class Rendering(Coloring):
    """Colors."""

    variants: int = option(
        1,
        "The number of results for each photograph, from a model exported with "
        "--dropout_at_inference.",
        minimum=1,
        maximum=99,
    )
    batch_size: int = option(
        4, "The number of photographs or frames in one call of the network.", minimum=1
    )
    smoothing: float = option(
        0.8,
        "For films: the weight of the previous frame's color where nothing moves.",
        minimum=0.0,
        maximum=0.99,
    )


@dataclasses.dataclass(frozen=True)
class ColorizeSettings:
    """Which model colors photographs, how, and where the results go."""

    folders: Folders = Folders()
    results: ResultSettings = ResultSettings()
    rendering: Rendering = Rendering()


@dataclasses.dataclass(frozen=True)
class BeamSettings(Coloring, ResultForm):
    """Photographs, model and results."""

    input: str = option(
        None, "A pattern of files: * matches in a folder, ** folders too.", required=True, url=True
    )
    output: str = option(None, "The folder of the results.", required=True, url=True)
    saved_model: str = option(
        PRETRAINED,
        "The exported model, which every worker must be able to read; koala is the model that "
        "comes with koalagan (its license is CC BY-NC 4.0).",
    )
    overwrite: bool = option(False, "Replace results that exist, instead of skipping them.")
    batch_size: int = option(
        16, "The largest number of photographs in one call of the network.", minimum=1
    )

    def results(self) -> ResultSettings:
        """How results are written."""
        return ResultSettings(**self._those_of(ResultForm))

    def rendering(self) -> Rendering:
        """How photographs are colored."""
        return Rendering(**self._those_of(Coloring))

    def _those_of(self, group: type) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(group)}
