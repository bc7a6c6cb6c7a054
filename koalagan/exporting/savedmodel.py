# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""A trained generator as a SavedModel that TensorFlow loads without koalagan.

The SavedModel contains the whole chain (`koalagan.exporting.signatures`). It has three signatures,
each with one named input and one named output:

    serving_default  image uint8 [B,H,W,C], C 1 or 3   -> colorized uint8 [B,H,W,3]
    colorize_bytes   image_bytes string [B]            -> colorized_bytes string [B], PNG
    predict_ab       L float32 [B,h,w,1] in [-1,1]     -> ab float32 [B,h,w,2] in [-1,1]

The networks see what they saw in training: L of the picture resized as uint8
(`koalagan.color.resizing`). `predict_ab` takes any size that the generator takes, the others any
size at all. Pictures in `image_bytes` are JPEG, PNG, BMP, GIF or WebP and may differ in size.
They are turned upright by their EXIF orientation; their color profiles are ignored, which
TensorFlow cannot read.

Without the frozen networks (`frozen_inputs`), each signature also takes their outputs: embedding
float32 [B,1001] and segmentation float32 [B,h,w,21], as far as the generator has these branches.
The other formats contain `predict_ab` alone: see `koalagan.exporting.formats`.

TensorFlow Serving warms a SavedModel up by the requests that lie beside it: see
`koalagan.exporting.warmup`.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

import koalagan
from koalagan import files
from koalagan.errors import UserError, one_line
from koalagan.exporting import formats, model_card, signatures, warmup
from koalagan.exporting.settings import ExportSettings
from koalagan.inference import saved_model


def export(
    generator: keras.Model,
    frozen: Mapping[str, keras.Model],
    output_dir: str,
    image_size: tuple[int, int],
    settings: ExportSettings | None = None,
    *,
    given: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Writes a model in one of the formats; see the module for the signatures.

    `output_dir` appears whole or not at all. An earlier export there is replaced.

    Args:
        generator: takes {"L": [B,h,w,1]} and, as "embedding" and "segmentation", the outputs of the
            frozen networks that it uses; returns ab [B,h,w,2]. In float32, built for any height
            and width.
        frozen: the frozen networks by those names: L [B,h,w,1] -> [B,1001] and [B,h',w',21].
        output_dir: the folder to write.
        image_size: (height, width) at which the generator colors pictures.
        settings: the format and the dtype of the weights.
        given: inputs of the generator that the caller of the exported model provides.
        metadata: JSON-able facts, kept beside the model in assets.extra/koalagan.json.

    Raises:
        UserError: `output_dir` holds something else or cannot be written, or the format cannot hold
            this model.
        ValueError: the generator's inputs are not L, `frozen` and `given`.
    """
    settings = settings or ExportSettings()
    inputs, expected = set(generator.input), {"L", *frozen, *given}
    if inputs != expected:
        raise ValueError(f"The generator takes {sorted(inputs)} instead of {sorted(expected)}.")
    check_format(settings)
    output_dir = os.path.abspath(os.path.expanduser(output_dir))
    files.check_readable(output_dir)
    if os.path.lexists(output_dir) and not _is_replaceable(output_dir):
        raise UserError(
            f"{output_dir} exists and is not an export of koalagan: choose another folder."
        )
    format, dtype = settings.format, settings.export_dtype
    facts = {
        **(metadata or {}),
        "koalagan": koalagan.__version__,
        "tensorflow": tf.__version__,
        "image_size": list(image_size),
        **({"inputs": sorted(given)} if given else {}),
        **({"format": format} if format != "savedmodel" else {}),
        **({"weights": dtype} if dtype != "float32" else {}),
    }
    try:
        with files.published_folder(output_dir) as folder:
            if format == "savedmodel":
                chain = signatures.Chain(generator, frozen, image_size, dtype)
                # Not keras.export.ExportArchive, which stores every weight twice (Keras 3.15).
                traced = chain.signatures()
                tf.saved_model.save(chain.module(), folder, signatures=traced)
                warmup.write(folder, traced, image_size)
            else:
                chain = signatures.Chain(generator, frozen, image_size)
                formats.FORMATS[format].write(chain, image_size, dtype, folder)
            model_card.write_facts(folder, facts)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"{output_dir} cannot be written: {one_line(error)}.") from error


def check_format(settings: ExportSettings) -> None:
    """Raises UserError if a format cannot store weights so, or its packages are missing."""
    dtypes = ("float32", "float16")
    if settings.format != "savedmodel":
        formats.FORMATS[settings.format].check()
        dtypes = formats.FORMATS[settings.format].dtypes
    if settings.export_dtype not in dtypes:
        raise UserError(
            f"--format={settings.format} does not support --export_dtype={settings.export_dtype}: "
            f"pass {' or '.join(dtypes)}."
        )


def _is_replaceable(path: str) -> bool:
    """Whether `path` is an export of ours, or an empty folder."""
    return os.path.isdir(path) and bool(saved_model.facts(path) or not os.listdir(path))
