# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""A trained generator as a SavedModel that TensorFlow loads without koalagan.

    python -m koalagan.export --workdir=runs/NAME --output_dir=DIR [--format=savedmodel|tflite|onnx]

The whole chain is inside (`chain.py`). Three signatures, each with one named input and one named
output:

    serving_default  image uint8 [B,H,W,C], C 1 or 3   -> colorized uint8 [B,H,W,3]
    colorize_bytes   image_bytes string [B]            -> colorized_bytes string [B], PNG
    predict_ab       L float32 [B,h,w,1] in [-1,1]     -> ab float32 [B,h,w,2] in [-1,1]

The networks see what they saw in training: L of the picture resized as uint8 (`data/pictures.py`).
`predict_ab` takes any size that the generator takes, the other two any size at all. Pictures in
`image_bytes` are JPEG, PNG, BMP (without a palette), GIF or WebP and may differ in size; their EXIF
orientation and colour profiles are not applied, TensorFlow cannot read them.

Without the frozen networks (--frozen_inputs) each signature also takes what they say: embedding
float32 [B,1001] and segmentation float32 [B,h,w,21], as far as the generator has these branches.
The other formats hold `predict_ab` alone: see `convert.py`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import flags

import koalagan
from koalagan import errors, files, lazy, precision
from koalagan.errors import UserError, one_line
from koalagan.exporting import formats, model_card
from koalagan.inference import saved_model
from koalagan.models import FROZEN
from koalagan.training import run_flags, run_folder

keras = lazy.module("keras")
tf = lazy.module("tensorflow")
signatures = lazy.module("koalagan.exporting.signatures")
checkpoint = lazy.module("koalagan.training.checkpoint")

# Flags of the run that the model's metadata repeats.
_DESCRIBED = (
    "generator",
    "embedding_weights",
    "segmentation_weights",
    "backbone_weights",
    "dropout_at_inference",
    "dataset",
    "train_split",
)


def export_savedmodel(
    generator: keras.Model,
    embedding: keras.Model | None,
    output_dir: str,
    image_size: tuple[int, int],
    metadata: Mapping[str, Any] | None = None,
    segmentation: keras.Model | None = None,
    *,
    given: Sequence[str] = (),
    format: str = "savedmodel",
    dtype: str = "float32",
) -> None:
    """Writes a SavedModel; see the module for its signatures.

    `output_dir` appears whole or not at all. An earlier export there is replaced.

    Args:
        generator: takes {"L": [B,h,w,1]} and, where they are given, what the frozen networks answer
            as "embedding" and "segmentation"; returns ab [B,h,w,2]. All in float32, built for any
            height and width.
        embedding: L [B,h,w,1] -> [B,1001], where the generator uses it.
        output_dir: the folder to write.
        image_size: (height, width) at which the generator colours pictures.
        metadata: JSON-able facts kept beside the model, in assets.extra/koalagan.json.
        segmentation: L [B,h,w,1] -> scores [B,h',w',21], where the generator uses them.
        given: inputs of the generator that whoever calls the model gives.
        format: "savedmodel", or another one of `formats.FORMATS`.
        dtype: what kernels are kept in: "float32", "float16", or what the format takes besides.

    Raises:
        UserError: `output_dir` is in use for something else, or cannot be written, or the model
            cannot be had in this format.
        ValueError: the generator's inputs are not those that the chain can give.
    """
    inputs = set(generator.input)
    frozen = {"embedding": embedding, "segmentation": segmentation}
    frozen = {name: model for name, model in frozen.items() if model is not None}
    expected = {"L", *frozen, *given}
    if inputs != expected:
        raise ValueError(f"The generator takes {sorted(inputs)} instead of {sorted(expected)}.")
    check_format(format, dtype)
    output_dir = os.path.abspath(os.path.expanduser(output_dir))
    files.check_readable(output_dir)
    if os.path.lexists(output_dir) and not _replaceable(output_dir):
        raise UserError(f"{output_dir} exists and is no export of koalagan: name another folder.")
    facts = {
        **(metadata or {}),
        "koalagan": koalagan.__version__,
        "tensorflow": tf.__version__,
        "image_size": list(image_size),
        **({"inputs": sorted(given)} if given else {}),
        **({"format": format} if format != "savedmodel" else {}),
        **({"weights": dtype} if dtype != "float32" else {}),
    }
    with _published(output_dir) as folder:
        if format == "savedmodel":
            whole = signatures.Chain(generator, frozen, image_size, dtype)
            # Not keras.export.ExportArchive: it stores every weight twice (Keras 3.15, TensorFlow
            # 2.21).
            tf.saved_model.save(whole.module(), folder, signatures=whole.signatures())
        else:
            formats.FORMATS[format].write(
                signatures.Chain(generator, frozen, image_size), image_size, dtype, folder
            )
        model_card.write_facts(folder, facts)


def check_format(format: str, dtype: str) -> None:
    """Raises UserError where a format does not have weights of this dtype, or its tools lack."""
    dtypes = ("float32", "float16")
    if format != "savedmodel":
        formats.FORMATS[format].check()
        dtypes = formats.FORMATS[format].dtypes
    if dtype not in dtypes:
        raise UserError(
            f"--format={format} does not have --export_dtype={dtype}: pass {' or '.join(dtypes)}."
        )


def export_run(
    run: str,
    output_dir: str,
    *,
    best: bool = False,
    dropout_at_inference: bool = False,
    frozen_inputs: bool = False,
    format: str = "savedmodel",
    dtype: str = "float32",
) -> None:
    """Exports the generator of a run's newest checkpoint, with the frozen networks it learned by.

    Args:
        run: the run's folder, as `koalagan.train` writes it.
        output_dir: the folder to write.
        best: of its best epoch, by the run's `--best_metric`, instead.
        dropout_at_inference: drop out when colouring, also where the run's flags do not say so: a
            call then colours the same picture differently every time.
        frozen_inputs: leave the frozen networks out; what they say becomes inputs.
        format, dtype: see `export_savedmodel`.

    Raises:
        UserError: the run has no checkpoint, a frozen network's weights cannot be had, dropout is
            asked of a generator that has none, `output_dir` cannot be written, or the model cannot
            be had in this format.
    """
    check_format(format, dtype)
    output_dir = os.path.expanduser(output_dir)
    settings = run_folder.read_flags(run)
    if dropout_at_inference:
        settings.dropout_at_inference = True
    # Float32 whatever the run computed in: its weights are float32 anyway.
    with precision.policy("float32"):
        generator = run_flags.build_generator(settings, (None, None))
    checkpoint.restore_generator(generator, run, best=best)
    kept = run_folder.read_data(run)
    for name, fingerprint in run_flags.frozen_fingerprints(settings).items():
        if kept is not None and kept.get(name) != fingerprint:
            raise UserError(
                f"the weights that --{name}={settings[name].value} names are not those that {run} "
                "was trained with: bring them back."
            )
    export_generator(
        generator, settings, output_dir, frozen_inputs=frozen_inputs, format=format, dtype=dtype
    )
    # What the run was measured at is its newest weights, as they are and as its flags say.
    measured = not (best or dropout_at_inference) and dtype == "float32"
    # As it was trained, whatever it is exported with.
    trained = run_folder.read_flags(run)
    model_card.write(output_dir, trained, run_folder.read_metrics(run) if measured else None)


def export_generator(
    generator: keras.Model,
    settings: flags.FlagValues,
    output_dir: str,
    *,
    frozen_inputs: bool = False,
    **options: Any,
) -> None:
    """Exports a generator with the frozen networks that a run's flags name.

    Args:
        generator: of these flags, in float32, for any height and width.
        settings: resolved (see `run_flags.resolve`).
        output_dir: the folder to write.
        frozen_inputs: leave the frozen networks out; what they say becomes inputs.
        options: `format` and `dtype` of `export_savedmodel`.

    Raises:
        UserError: a frozen network's weights cannot be had, or the model cannot be written.
    """
    used = [name for name in FROZEN if settings[f"{name}_weights"].value != "none"]
    frozen = {}
    for name in () if frozen_inputs else used:
        frozen[name] = FROZEN[name].build()
        FROZEN[name].load_weights(frozen[name], settings[f"{name}_weights"].value)
    export_savedmodel(
        generator,
        frozen.get("embedding"),
        output_dir,
        (settings.image_size, settings.image_size),
        metadata={name: settings[name].value for name in _DESCRIBED},
        segmentation=frozen.get("segmentation"),
        given=used if frozen_inputs else (),
        **options,
    )


def _replaceable(path: str) -> bool:
    """Whether `path` is an export of ours, or an empty folder."""
    return os.path.isdir(path) and bool(saved_model.facts(path) or not os.listdir(path))


@contextlib.contextmanager
def _published(output_dir: str) -> Iterator[str]:
    """A folder to write to, which takes the place of `output_dir` when all is written."""
    # Beside its final place, so that the rename stays on one file system.
    temporary = f"{output_dir}.writing-{os.getpid()}"
    try:
        os.makedirs(temporary)
        yield temporary
        _publish(temporary, output_dir)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"{output_dir} cannot be written: {one_line(error)}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _publish(temporary: str, output_dir: str) -> None:
    """Renames the finished folder into place; a full folder cannot be renamed over."""
    if not os.path.isdir(output_dir):
        os.rename(temporary, output_dir)
        return
    earlier = f"{output_dir}.replaced-{os.getpid()}"
    os.rename(output_dir, earlier)
    os.rename(temporary, output_dir)
    shutil.rmtree(earlier)


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of the command line."""
    flags.DEFINE_string(
        "workdir", None, "The run to export.", required=True, flag_values=flag_values
    )
    flags.DEFINE_string(
        "output_dir", None, "The folder to write.", required=True, flag_values=flag_values
    )
    flags.DEFINE_boolean(
        "dropout_at_inference",
        False,
        "Drop out when colouring, so that each time differs, also where the run does not.",
        flag_values=flag_values,
    )
    flags.DEFINE_boolean(
        "frozen_inputs",
        False,
        "Leave the frozen networks out: what they say becomes inputs, embedding and segmentation.",
        flag_values=flag_values,
    )
    flags.DEFINE_enum(
        "checkpoint",
        "latest",
        ["latest", "best"],
        "The newest checkpoint, or the one after the epoch that --best_metric of the run chose.",
        flag_values=flag_values,
    )
    flags.DEFINE_enum(
        "format",
        "savedmodel",
        ["savedmodel", *formats.FORMATS],
        "What to write; tflite and onnx hold predict_ab, at the model's size.",
        flag_values=flag_values,
    )
    flags.DEFINE_enum(
        "export_dtype",
        "float32",
        ["float32", "float16", "int8"],
        "What the weights are kept in: half or a quarter of the size (int8: tflite).",
        flag_values=flag_values,
    )


def main(argv: Sequence[str]) -> None:
    """Runs the command line."""
    settings = flags.FLAGS
    if len(argv) > 1:
        raise UserError(f"export takes only flags, and {argv[1]!r} is none: see --help.")
    export_run(
        os.path.expanduser(settings.workdir),
        settings.output_dir,
        best=settings.checkpoint == "best",
        dropout_at_inference=settings.dropout_at_inference,
        frozen_inputs=settings.frozen_inputs,
        format=settings.format,
        dtype=settings.export_dtype,
    )
    kind = "SavedModel" if settings.format == "savedmodel" else "model"
    print(f"{kind}: {settings.output_dir}")


if __name__ == "__main__":
    define_flags()
    errors.run(main)
