# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Loading what `koalagan.export` writes, for the commands that use it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from koalagan import files, lazy
from koalagan.errors import UserError, one_line

tf = lazy.module("tensorflow")


def facts(path: str) -> dict[str, Any]:
    """What `koalagan.export` wrote beside a SavedModel: image_size, embedding_weights, ...

    Empty where there is nothing to read, as in a SavedModel of another program.
    """
    try:
        return json.loads((Path(path) / "assets.extra" / "koalagan.json").read_text())
    except (OSError, ValueError):
        return {}


def find(path: str) -> str:
    """The SavedModel's folder, for that folder itself or a run's."""
    export = Path(path) / "export"
    return str(export) if (export / "saved_model.pb").is_file() else path


def load(path: str, signature: str, output: str) -> Callable[..., tf.Tensor]:
    """The named output of a signature, as a function of the signature's keyword arguments.

    Args:
        path: the SavedModel's folder, such as a run's `export`.
        signature: `serving_default`, `colorize_bytes` or `predict_ab`.
        output: the name of what it returns.

    Raises:
        UserError: there is no such SavedModel, it cannot be read, or koalagan did not export it.
    """
    if not tf.saved_model.contains_saved_model(path):
        if (Path(path) / "checkpoints").is_dir():
            raise UserError(
                f"the run in {path} has no export yet: make one of it as it stands, with "
                f"`python -m koalagan.export --workdir={path} --output_dir=DIR`, and name that."
            )
        raise UserError(
            f"there is no SavedModel in {path}: name the folder that holds saved_model.pb, such as "
            "the `export` folder of a run."
        )
    files.check_readable(path)
    try:
        loaded = tf.saved_model.load(path)
    except Exception as error:  # A damaged protobuf surfaces as many kinds, plain ValueErrors too.
        raise UserError(
            f"the SavedModel in {path} cannot be read, export it again ({one_line(error)})."
        ) from error
    function = loaded.signatures.get(signature)
    if function is None or output not in function.structured_outputs:
        raise UserError(
            f"the SavedModel in {path} has no signature {signature} that gives {output}: name one "
            "that koalagan exported."
        )

    # By way of `loaded`: a signature alone does not keep the variables alive.
    return lambda **inputs: loaded.signatures[signature](**inputs)[output]


def predictor(path: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """The SavedModel's `predict_ab` as a function from L to ab.

    Raises:
        UserError: there is no such SavedModel, it cannot be read, or koalagan did not export it;
            when called, it does not take pictures of that size.
    """
    if given := facts(path).get("inputs"):
        raise UserError(
            f"the SavedModel in {path} was exported with --frozen_inputs: beside each picture it "
            f"needs {' and '.join(given)}, which only programs of your own give it."
        )
    signature = load(path, "predict_ab", "ab")

    def predict(L: tf.Tensor) -> tf.Tensor:
        try:
            ab = signature(L=L)
            # What halves and doubles sides gives others back where they do not divide.
            if ab.shape[1:3] != L.shape[1:3]:
                raise ValueError(f"it gives {ab.shape[1]}x{ab.shape[2]} back")
            return ab
        except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
            height, width = L.shape[1:3]
            own = facts(path).get("image_size")
            named = f" (it was exported for {own[0]}x{own[1]})" if own else ""
            raise UserError(
                f"the SavedModel in {path} does not take pictures of {height}x{width}{named}: pass "
                "a size that it takes, with --image_size to measure and --render_size to colour "
                f"({one_line(error)})."
            ) from error

    return predict
