# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Loading what `koalagan.export` writes, and the model that comes along; what is known of them."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from koalagan import files
from koalagan.errors import UserError, one_line
from koalagan.inference import pretrained
from koalagan.options import PRETRAINED

# The parts of a model that start from published weights, or else are untrained.
_NETWORKS = ("embedding", "segmentation", "backbone")
# Names of rows and columns in every table ("grey" in tables of older versions).
_TAKEN = ("gray", "grey", "true")


def facts(path: str) -> dict[str, Any]:
    """What `koalagan.export` wrote beside a SavedModel: image_size, embedding_weights and more.

    Empty for a SavedModel of another program.
    """
    if path == PRETRAINED:
        return pretrained.card()["facts"]
    try:
        return json.loads((Path(path) / "assets.extra" / "koalagan.json").read_text())
    except (OSError, ValueError):
        return {}


def find(path: str) -> str:
    """The SavedModel's folder, for that folder itself or a run's.

    "koala" stays as it is: it names the model that comes along, not a folder.
    """
    if path == PRETRAINED:
        if any((Path(path) / name).exists() for name in ("export", "saved_model.pb")):
            logging.warning(
                "%s is the model that comes with koalagan, not the folder of that name: pass ./%s "
                "for the folder",
                path,
                path,
            )
        return path
    export = Path(path) / "export"
    return str(export) if (export / "saved_model.pb").is_file() else path


def in_words(path: str) -> str:
    """What error messages call a model."""
    if path == PRETRAINED:
        return "the model that comes with koalagan"
    return f"the SavedModel in {path}"


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
                f"the run in {path} has no export yet: export its newest checkpoint with "
                f"`python -m koalagan.export --workdir={path} --output_dir=DIR`, and name DIR."
            )
        raise UserError(
            f"there is no SavedModel in {path}: name the folder that holds saved_model.pb, such as "
            "the `export` folder of a run."
        )
    files.check_readable(path)
    try:
        loaded = tf.saved_model.load(path)
    except Exception as error:  # A damaged protobuf raises many kinds, plain ValueError included.
        raise UserError(
            f"the SavedModel in {path} cannot be read ({one_line(error)}): export it again."
        ) from error
    function = loaded.signatures.get(signature)
    if function is None or output not in function.structured_outputs:
        raise UserError(
            f"the SavedModel in {path} has no signature {signature} with the output {output}: name "
            "one that koalagan exported."
        )

    # Through `loaded`: a signature alone does not keep the variables alive.
    return lambda **inputs: loaded.signatures[signature](**inputs)[output]


def predictor(path: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """A model as a function from L to ab.

    Args:
        path: the SavedModel's folder, or "koala" for the model that comes along.

    Raises:
        UserError: there is no such model, it cannot be read, or koalagan did not export it; when
            called, it does not take pictures of that size.
    """
    if given := facts(path).get("inputs"):
        raise UserError(
            f"the SavedModel in {path} was exported with --frozen_inputs: it needs "
            f"{' and '.join(given)} for each picture, which only your own program can provide."
        )
    if path == PRETRAINED:
        call = _pretrained()
    else:
        signature = load(path, "predict_ab", "ab")

        def call(L: tf.Tensor) -> tf.Tensor:
            return signature(L=L)

    def predict(L: tf.Tensor) -> tf.Tensor:
        try:
            ab = call(L)
            # A network that halves and doubles sides returns other sizes where they do not divide.
            if ab.shape[1:3] != L.shape[1:3]:
                raise ValueError(f"it returns {ab.shape[1]}x{ab.shape[2]}")
            return ab
        except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
            height, width = L.shape[1:3]
            own = facts(path).get("image_size")
            named = f" (its own size is {own[0]}x{own[1]})" if own else ""
            raise UserError(
                f"{in_words(path)} does not take pictures of {height}x{width}{named}: pass a size "
                "that it takes, with --image_size to measure and --render_size to color "
                f"({one_line(error)})."
            ) from error

    return predict


def _pretrained() -> Callable[[tf.Tensor], tf.Tensor]:
    """The model that comes along, as one graph for all sizes."""
    generator = pretrained.generator()
    return tf.function(
        lambda L: generator({"L": L}, training=False),
        autograph=False,
        input_signature=[tf.TensorSpec([None, None, None, 1], tf.float32)],
    )


def names(paths: Sequence[str]) -> dict[str, str]:
    """The names of SavedModels in tables: name -> path.

    A model is named after its folder, or after its run's where that is `export`, or by its whole
    path where names clash. The network of the embedding is part of the name, and so are untrained
    networks, so that no figure is shown without that word.
    """
    short = []
    for path in paths:
        if path == PRETRAINED:
            short.append(path)
            continue
        folder = Path(os.path.abspath(path))
        name = folder.parent.name if folder.name == "export" else folder.name
        parts = _parts(facts(path))
        short.append(f"{name} ({', '.join(parts)})" if parts else name)
    taken = {name for name in short if short.count(name) > 1} | {*_TAKEN}
    return {
        name if path == PRETRAINED or name not in taken else os.path.abspath(path): path
        for name, path in zip(short, paths, strict=True)
    }


def _parts(known: dict[str, Any]) -> list[str]:
    """What a model's name says of its networks."""
    used = [part for part in _NETWORKS if known.get(f"{part}_weights", "none") != "none"]
    named = dict(zip(used, used, strict=True))
    # Older versions had one embedding network, and did not note it.
    if "embedding" in used and "embedding" in known:
        named["embedding"] = f"{known['embedding']} embedding"
    untrained = [part for part in used if known[f"{part}_weights"] == "random"]
    parts = [f"random {' and '.join(named[part] for part in untrained)}"] if untrained else []
    if named.get("embedding", "embedding") != "embedding" and "embedding" not in untrained:
        parts.insert(0, named["embedding"])
    return parts
