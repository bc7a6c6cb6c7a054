# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Draws README's pictures: grey | each model | true, on pictures that anybody may show.

    python experiments/showcase.py --saved_model=runs/quickstart/export --output=FILE.png
    python experiments/showcase.py --saved_model=DIR --saved_model=DIR2 --photographs --side=160 \\
        --output=FILE.jpg

Scenes of koala_scenes that are in neither of its splits, and with --photographs (which needs
scikit-image, of the extra [test]) matplotlib's `grace_hopper.jpg` and scikit-image's `astronaut`
(both public domain), `coffee` and `chelsea` (CC0). The models colour them through
`serving_default`.
"""

from collections.abc import Sequence

import matplotlib.cbook
import numpy as np
import tensorflow as tf
from absl import flags
from PIL import Image

from koalagan import errors, evaluate
from koalagan.color import lab
from koalagan.data.koala_scenes import drawing
from koalagan.errors import UserError
from koalagan.inference import saved_model
from koalagan.training import summaries

SIZE = 256


def _scenes(count: int) -> np.ndarray:
    # A seed of one number is none of the dataset's, which are triples.
    return np.stack([drawing.draw_scene(np.random.default_rng(i), SIZE) for i in range(count)])


def _photographs() -> np.ndarray:
    from skimage import data

    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        pictures = [Image.open(file).convert("RGB")]
    pictures += [Image.fromarray(read()) for read in (data.astronaut, data.coffee, data.chelsea)]
    return np.stack([_square(picture) for picture in pictures])


def _square(picture: Image.Image) -> np.ndarray:
    side = min(picture.size)
    left = (picture.width - side) // 2
    return np.asarray(picture.crop((left, 0, left + side, side)).resize((SIZE, SIZE)))


def _shrunk(pictures: np.ndarray, side: int) -> np.ndarray:
    return np.stack([Image.fromarray(picture).resize((side, side)) for picture in pictures])


def main(argv: Sequence[str]) -> None:
    """Runs the command line."""
    settings = flags.FLAGS
    if len(argv) > 1:
        raise UserError(f"showcase takes only flags, and {argv[1]!r} is none.")
    true = _scenes(settings.scenes)
    if settings.photographs:
        true = np.concatenate([_photographs(), true])
    L, ab = lab.rgb_to_lab(true)
    grey = lab.lab_to_rgb(L, tf.zeros_like(ab))
    columns = {"grey": grey.numpy()}
    for name, path in evaluate.names(settings.saved_model).items():
        colorize = saved_model.load(path, "serving_default", "colorized")
        columns[name] = colorize(image=grey).numpy()
    columns["true"] = true
    shown = {title: _shrunk(column, settings.side) for title, column in columns.items()}
    Image.fromarray(summaries.picture_grid(shown)).save(settings.output, quality=90)
    print(settings.output)


if __name__ == "__main__":
    flags.DEFINE_multi_string("saved_model", None, "Runs' export folders.", required=True)
    flags.DEFINE_string("output", None, "The PNG or JPEG to write.", required=True)
    flags.DEFINE_integer("scenes", 3, "How many drawn scenes to show.", lower_bound=1)
    flags.DEFINE_boolean("photographs", False, "Show photographs too.")
    flags.DEFINE_integer("side", SIZE, "Side of the pictures as shown.", lower_bound=16)
    errors.run(main)
