# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Measures exported models on a split of a dataset."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from koalagan.color import lab, resizing
from koalagan.data import sources, store
from koalagan.data.objects import Objects
from koalagan.errors import UserError
from koalagan.evaluation import protocol
from koalagan.evaluation import report as reports
from koalagan.inference import joining, saved_model
from koalagan.models import picture_features


def evaluate_saved_models(
    saved_models: Sequence[str],
    *,
    dataset: str,
    split: str,
    output_dir: str,
    data_dir: str | None = None,
    download: bool = False,
    image_size: int | None = None,
    own_size: bool = False,
    resize: str = "stretch",
    on_bad_picture: str = "fail",
    store_dir: str | None = None,
    compare: str = "first",
    features: str = "none",
    objects: bool = False,
    report: str | None = None,
    batch_size: int = 16,
) -> dict[str, Any]:
    """Measures exported models, gray first; prepares the pictures where they are not prepared yet.

    Args:
        saved_models: folders of exported models, or of their runs.
        dataset: a TFDS name, or "folder".
        split: in TFDS's slice syntax.
        output_dir, compare, features, batch_size: see `protocol.evaluate_models`.
        objects: also measure the objects that the dataset marks.
        report: where to write a page (.html); None does not.
        data_dir, download: see `sources.open_source`.
        image_size: side of the pictures; None for what the models were exported for.
        own_size: whether each model sees the pictures at the size that it was exported for, and its
            colors are brought to `image_size`.
        resize, on_bad_picture, store_dir: see `store.prepare`.

    Returns:
        The content of `metrics.json`.

    Raises:
        UserError: a model or the pictures cannot be read, or a folder cannot be written.
    """
    paths = saved_model.names([saved_model.find(os.path.expanduser(path)) for path in saved_models])
    image_size = image_size or _image_size(paths.values())
    models = {name: saved_model.predictor(path) for name, path in paths.items()}
    if own_size:
        models = {
            name: _at_own_size(predict, _exported_size(paths[name]))
            for name, predict in models.items()
        }
    source = sources.open_source(dataset, split, data_dir=data_dir, download=download)
    if objects and not source.objects:
        raise UserError(f"{source.name} marks no objects in its pictures: leave --objects out.")
    if objects and resize == "crop":
        raise UserError("--objects has boxes of whole pictures: leave --resize=crop out.")
    # Before pictures are prepared, which may take hours.
    if features != "none":
        picture_features.fetch(features)
    if report:
        reports.check(report)
    prepared = store.prepare(
        source,
        store_dir=store_dir,
        image_size=(image_size, image_size),
        resize=resize,
        on_bad_picture=on_bad_picture,
    )
    return protocol.evaluate_models(
        models,
        prepared.pictures,
        data={**describe(prepared.manifest, paths), "own_size": own_size},
        output_dir=output_dir,
        ids=prepared.ids(),
        compare=compare,
        features=features,
        objects=_objects(source, prepared) if objects else None,
        report_path=report,
        batch_size=batch_size,
    )


def _objects(source: sources.Source, prepared: store.Store) -> list[Objects | None]:
    """The objects of each row's picture."""
    known = source.objects()
    return [known.get(picture) for picture in prepared.ids()]


def describe(manifest: Mapping[str, Any], paths: Mapping[str, str]) -> dict[str, Any]:
    """The "data" of `metrics.json`: a store's manifest, and what is known of each model."""
    known = {name: {"saved_model": path, **saved_model.facts(path)} for name, path in paths.items()}
    return {**manifest, "models": known}


def _at_own_size(predict: protocol.Predictor, size: tuple[int, int]) -> protocol.Predictor:
    """A model that sees pictures at its own size, and colors them at theirs."""

    def predict_at_own_size(L: tf.Tensor) -> tf.Tensor:
        if tuple(L.shape[1:3]) == size:
            return predict(L)
        gray = lab.lab_to_rgb(L, tf.repeat(tf.zeros_like(L), 2, axis=-1))
        seen = lab.lightness(resizing.resize(gray, size))
        return joining.resize_ab(L, seen, predict(seen))

    return predict_at_own_size


def _exported_size(path: str) -> tuple[int, int]:
    return tuple(saved_model.facts(path).get("image_size", (256, 256)))


def _image_size(paths: Iterable[str]) -> int:
    """The side that the models were exported for."""
    known = {_exported_size(path) for path in paths}
    if len(known) > 1:
        raise UserError(
            "the models were exported for different sizes: choose the size to measure at with "
            "--image_size."
        )
    return known.pop()[0]
