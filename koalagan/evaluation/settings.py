# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The settings of an evaluation: the flags of `koalagan.evaluate`."""

import dataclasses

from koalagan.data.settings import PictureSettings
from koalagan.options import PRETRAINED, option


@dataclasses.dataclass(frozen=True)
class EvaluationSettings(PictureSettings):
    """Evaluation: models, pictures and results."""

    saved_model: tuple[str, ...] = option(
        (PRETRAINED,),
        "Folder of an exported model, or of its run; repeat the flag to compare several. koala is "
        "the model that comes with koalagan, ./koala a folder.",
    )
    split: str = option("validation", "The pictures to measure on.")
    compare: str = option(
        "first",
        "Which models are compared, with intervals: the first one with gray and all others, all "
        "pairs, or none.",
        choices=("first", "pairs", "none"),
    )
    features: str = option(
        "none",
        "Also measure how far the colored pictures as a whole are from the true ones (FID and KID) "
        "by the features of this classifier; inception_v3 is downloaded.",
        choices=("none", "efficientnet_lite2", "inception_v3"),
    )
    objects: bool = option(
        False,
        "Also measure the objects that the dataset marks, as COCO does, by class and by size.",
    )
    image_size: int | None = option(
        None, "Side of the pictures (default: what the models were exported for).", minimum=8
    )
    own_size: bool = option(
        False,
        "Let each model see the pictures at the size that it was exported for, and bring its "
        "colors to --image_size, as koalagan colorize does: for models of different sizes.",
    )
    output_dir: str = option(
        None,
        "Where metrics.json, table.md, pictures.csv, pictures.jsonl and grid.png go.",
        required=True,
    )
    report: str | None = option(
        None,
        "Also write a page to this .html file: tables, curves, best and worst pictures, and a "
        "blind test. It holds pictures of the dataset.",
    )
    batch_size: int = option(16, "Pictures at a time.", minimum=1)
