# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The model that comes with koalagan: the weights of a trained `koala` generator.

    koala.npz       its weights by their paths: kernels in float16, the others in float32
    card.json       what is known of it: facts, the flags of its run, its evaluation
    MODEL_CARD.md   the same, to read; its license is CC BY-NC 4.0

The weights are arrays of numbers that NumPy reads without unpickling: loading them executes nothing
of the file. `experiments/studies/ship.py` writes the folder from a run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from koalagan.errors import UserError, one_line
from koalagan.options import PRETRAINED

if TYPE_CHECKING:
    import keras

FOLDER = Path(__file__).parent
WEIGHTS, CARD = FOLDER / "koala.npz", FOLDER / "card.json"


def card() -> dict[str, Any]:
    """What is known of the model: `facts`, `flags` of its run and its `evaluation`.

    Raises:
        UserError: the card is missing or damaged.
    """
    try:
        known = json.loads(CARD.read_text("utf-8"))
        return {name: known[name] for name in ("facts", "flags", "evaluation")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(CARD, error) from error


def generator() -> keras.Model:
    """The trained generator in float32, for any height and width that are multiples of 32.

    Raises:
        UserError: the file of the weights or the card is missing or damaged.
    """
    # The settings of a run read the card, and need neither Keras nor its seconds.
    from koalagan import precision
    from koalagan.models import heads

    flags = card()["flags"]
    with precision.policy("float32"):
        model = heads.build(PRETRAINED, (None, None), flags["head"], flags["temperature"])
    restore(model)
    return model


def restore(model: keras.Model) -> None:
    """Sets the weights of a `koala` generator to the trained ones.

    Raises:
        UserError: the file of the weights is missing or damaged.
    """
    try:
        # NumPy would leave a damaged file open.
        with WEIGHTS.open("rb") as file, np.load(file, allow_pickle=False) as weights:
            if missing := {weight.path for weight in model.weights} ^ set(weights):
                raise ValueError(f"{sorted(missing)[0]} is not in both the file and the network")
            values = {path: weights[path].astype(np.float32) for path in weights}
        for weight in model.weights:
            weight.assign(values[weight.path])
    # A damaged zip file raises many kinds.
    except Exception as error:
        raise _unreadable(WEIGHTS, error) from error


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} cannot be read ({one_line(error)}): install koalagan again, or name another model."
    )


def save(model: keras.Model, path: Path) -> None:
    """Writes the weights of a generator in the format that `generator` reads."""
    arrays = {}
    for weight in model.weights:
        values = weight.numpy()
        # Kernels are nearly all of the size; statistics and biases stay in float32.
        arrays[weight.path] = values.astype(np.float16) if values.ndim > 1 else values
    np.savez(path, **arrays)
