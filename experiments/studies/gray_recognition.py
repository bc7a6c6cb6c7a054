# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What EfficientNet-Lite2 recognizes in pictures without color, beside the same pictures in color.

    python experiments/studies/gray_recognition.py --dataset=folder --data_dir=PHOTOS \\
        --split=train --classes=151-268,281-285

It was trained on color pictures, and the embedding shows it gray ones. Agreement is the share of
pictures whose most likely class is the same both ways, or among the five most likely. With
--classes, classes of ImageNet from 0 in which everything in these pictures is, such as dogs and
cats, also the share of pictures that it places in one of them.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from koalagan import cli
from koalagan.color import lab
from koalagan.data import sources, store
from koalagan.data.settings import PictureSettings
from koalagan.errors import UserError
from koalagan.models import efficientnet_lite
from koalagan.options import option

_VERSION = efficientnet_lite.LITE2
_BATCH = 16


@dataclasses.dataclass(frozen=True)
class Settings(PictureSettings):
    """Pictures to recognize."""

    split: str = option("validation", "Which pictures, in TFDS's slice syntax.")
    classes: str | None = option(None, "Ranges of classes that the pictures show.")


def classifier(channels: int) -> keras.Model:
    """The published classifier of pictures in [-1, 1] with 1 or 3 channels."""
    image = keras.Input((_VERSION.image_size, _VERSION.image_size, channels))
    last = efficientnet_lite.features(image, _VERSION)[-1]
    model = keras.Model(image, efficientnet_lite.logits(efficientnet_lite.head(last)))
    efficientnet_lite.load_published(model, _VERSION)
    return model


def classify(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes [N, 1000] of pictures, most likely first: in color, and gray."""
    color, gray = classifier(3), classifier(1)
    found = []
    for start in range(0, len(pictures), _BATCH):
        rgb = tf.constant(pictures[start : start + _BATCH])
        L, _ = lab.rgb_to_lab(rgb)
        shown = tf.cast(rgb, tf.float32) / 127.5 - 1.0
        found.append([color(shown, training=False), gray(L, training=False)])
    logits = (np.concatenate(both) for both in zip(*found, strict=True))
    return tuple(np.argsort(-values, axis=-1) for values in logits)


def ranges(text: str) -> set[int]:
    """The classes of "1-3,7".

    Raises:
        UserError: it is not of this form.
    """
    try:
        pairs = [part.split("-") for part in text.split(",")]
        return {number for pair in pairs for number in range(int(pair[0]), int(pair[-1]) + 1)}
    except ValueError:
        raise UserError(f"--classes={text} must be ranges such as 151-268,281-285.") from None


def main(settings: Settings, _: list[str]) -> None:
    """Runs the script."""
    expected = ranges(settings.classes) if settings.classes else set()
    prepared = store.prepare(
        sources.open_source(settings.dataset, settings.split, data_dir=settings.data_dir),
        store_dir=settings.store_dir,
        image_size=(_VERSION.image_size, _VERSION.image_size),
        resize=settings.resize,
        on_bad_picture=settings.on_bad_picture,
    )
    color, gray = classify(prepared.pictures)
    first = np.mean(color[:, 0] == gray[:, 0])
    among = np.mean((color[:, :5] == gray[:, :1]).any(axis=1))
    print(f"{len(color)} pictures: the same class {first:.1%}, among the first five {among:.1%}")
    if expected:
        for name, classes in (("color", color), ("gray", gray)):
            inside = np.mean([number in expected for number in classes[:, 0]])
            print(f"{name}: {inside:.1%} in the classes {settings.classes}")


COMMAND = cli.Command(__doc__, Settings, main)

if __name__ == "__main__":
    cli.run(COMMAND)
