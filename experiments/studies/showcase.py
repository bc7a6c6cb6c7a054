# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Makes the pictures of README.md: gray | each model | true, on freely licensed pictures.

    python experiments/studies/showcase.py --saved_model=runs/quickstart/export --output=FILE.png
    python experiments/studies/showcase.py --saved_model=koala --photographs --scenes=0 \\
        --side=200 --output=FILE.jpg

Shows scenes of koala_scenes that are in neither of its splits. --photographs adds matplotlib's
`grace_hopper.jpg` and scikit-image's `astronaut` (both public domain), `coffee` and `chelsea`
(CC0); it needs scikit-image, which the extra [test] installs.
"""

import dataclasses

import matplotlib.cbook
import numpy as np
import tensorflow as tf
from PIL import Image

from koalagan import cli
from koalagan.color import lab
from koalagan.data.koala_scenes import drawing
from koalagan.errors import UserError
from koalagan.evaluation.grids import picture_grid
from koalagan.inference import colorizer, saved_model
from koalagan.options import PRETRAINED, option

SIZE = 256


@dataclasses.dataclass(frozen=True)
class ShowcaseSettings:
    """Showcase."""

    saved_model: tuple[str, ...] = option(
        (PRETRAINED,),
        "Folder of an exported model; repeat the flag to compare several. koala is the model that "
        "comes with koalagan.",
    )
    output: str = option(None, "The PNG or JPEG file to write.", required=True)
    scenes: int = option(3, "How many drawn scenes to show.", minimum=0)
    photographs: bool = option(False, "Also show photographs.")
    side: int = option(SIZE, "Side of the pictures as shown.", minimum=16)


def _scenes(count: int) -> np.ndarray:
    # The dataset's seeds are triples, so single numbers give other scenes.
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


def main(settings: ShowcaseSettings, _: list[str]) -> None:
    """Runs the command."""
    if not settings.photographs and not settings.scenes:
        raise UserError("there is nothing to show: pass --photographs or more --scenes.")
    shown = [_photographs()] if settings.photographs else []
    shown += [_scenes(settings.scenes)] if settings.scenes else []
    true = np.concatenate(shown)
    L, ab = lab.rgb_to_lab(true)
    gray = lab.lab_to_rgb(L, tf.zeros_like(ab))
    columns = {"gray": gray.numpy()}
    for name, path in saved_model.names(settings.saved_model).items():
        columns[name] = np.stack(colorizer.load(path).colorize(list(gray.numpy())))
    columns["true"] = true
    shown = {title: _shrunk(column, settings.side) for title, column in columns.items()}
    Image.fromarray(picture_grid(shown)).save(settings.output, quality=90)
    print(settings.output)


COMMAND = cli.Command(__doc__, ShowcaseSettings, main)

if __name__ == "__main__":
    cli.run(COMMAND)
