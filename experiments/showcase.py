# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Draws README's picture: grey | coloured | true, on pictures that anybody may show.

    python experiments/showcase.py --saved_model=runs/quickstart/export --output=FILE.png

Scenes of koala_scenes that are in neither of its splits, and with --photographs matplotlib's
`grace_hopper.jpg` (public domain). The model colours each in full size through `serving_default`.
"""

from collections.abc import Sequence

import matplotlib.cbook
import numpy as np
import tensorflow as tf
from absl import flags
from PIL import Image

from koalagan import errors, lab, saved_model, summaries
from koalagan.data.koala_scenes import drawing
from koalagan.errors import UserError

SIZE = 256


def _scenes(count: int) -> np.ndarray:
    # A seed of one number is none of the dataset's, which are triples.
    return np.stack([drawing.draw_scene(np.random.default_rng(i), SIZE) for i in range(count)])


def _photographs() -> np.ndarray:
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        portrait = Image.open(file).convert("RGB")
    side = min(portrait.size)
    return np.asarray(portrait.crop((0, 0, side, side)).resize((SIZE, SIZE)))[None]


def main(argv: Sequence[str]) -> None:
    """Runs the command line."""
    settings = flags.FLAGS
    if len(argv) > 1:
        raise UserError(f"showcase takes only flags, and {argv[1]!r} is none.")
    colorize = saved_model.load(settings.saved_model, "serving_default", "colorized")
    true = _scenes(settings.scenes)
    if settings.photographs:
        true = np.concatenate([_photographs(), true])
    L, ab = lab.rgb_to_lab(true)
    grey = lab.lab_to_rgb(L, tf.zeros_like(ab))
    columns = {"grey": grey.numpy(), "coloured": colorize(image=grey).numpy(), "true": true}
    Image.fromarray(summaries.picture_grid(columns)).save(settings.output)
    print(settings.output)


if __name__ == "__main__":
    flags.DEFINE_string("saved_model", None, "A run's export folder.", required=True)
    flags.DEFINE_string("output", None, "The PNG to write.", required=True)
    flags.DEFINE_integer("scenes", 3, "How many drawn scenes to show.", lower_bound=1)
    flags.DEFINE_boolean("photographs", False, "Show a photograph too.")
    errors.run(main)
