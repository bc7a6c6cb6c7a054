# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Measures how much the colors of a film flicker, with and without temporal smoothing.

    python experiments/studies/flicker.py --saved_model=DIR [FILM] [--smoothing=0,0.5,0.8,0.9]

Flicker is the mean change of the predicted (a, b) from frame to frame, in Lab units, at pixels that
stand still: whose L* changes by less than 1. The cost of smoothing is the mean distance between the
smoothed and the predicted colors of all pixels.

Without FILM, it makes one: a drawn scene that stands still and then pans slowly, with film grain.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from koalagan import cli, progress
from koalagan.color import lab
from koalagan.data.koala_scenes import drawing
from koalagan.errors import UserError
from koalagan.inference import colorizer
from koalagan.options import option
from koalagan.photos import films

_STILL = 1.0  # of L*
_GRAIN = 3.0  # of 255 levels, standard deviation


@dataclasses.dataclass(frozen=True)
class FlickerSettings:
    """Flicker."""

    saved_model: str = option(None, "The model that colors the film.", required=True)
    smoothing: str = option("0,0.5,0.8,0.9", "Strengths to compare, separated by commas.")
    frames: int = option(60, "How many frames of the film.", minimum=2)


def made_film(
    frames: int, size: tuple[int, int] = (240, 320), seed: int = 0
) -> Iterator[np.ndarray]:
    """Grayscale frames, uint8 [H,W,3]: a scene that stands still for half of them, then pans."""
    rng = np.random.default_rng(seed)
    height, width = size
    scene = drawing.draw_scene(rng, 2 * max(size)).astype(np.float32) @ [0.299, 0.587, 0.114]
    for number in range(frames):
        left = max(0, number - frames // 2)
        view = scene[:height, left : left + width] + rng.normal(0, _GRAIN, size)
        gray = np.clip(np.rint(view), 0, 255).astype(np.uint8)
        yield np.repeat(gray[..., None], 3, axis=-1)


def measure(
    frames: Iterator[np.ndarray], model: colorizer.Colorizer, strengths: Sequence[float], total: int
) -> dict[float, tuple[float, float]]:
    """Returns (flicker, distance to the predictions) in Lab units by strength of smoothing.

    Args:
        frames: uint8 [H,W,3].
        model: what colors them.
        strengths: of smoothing; see `films.Smoother`.
        total: the number of frames.
    """
    smoothers = {strength: films.Smoother(strength) for strength in strengths}
    before: dict[float, tuple[np.ndarray, np.ndarray]] = {}
    changes = {strength: [] for strength in strengths}
    distances = {strength: [] for strength in strengths}
    with progress.bar("measure", total, unit="frame") as bar:
        for rgb in frames:
            (L,), (ab,) = model.predict([rgb])
            for strength, smoother in smoothers.items():
                smoothed = smoother(L, ab)
                lightness, *colors = np.moveaxis(lab.lab_units(L, smoothed).numpy(), -1, 0)
                _, *predicted = np.moveaxis(lab.lab_units(L, ab).numpy(), -1, 0)
                distances[strength].append(_distance(colors, predicted).mean())
                if strength in before:
                    former_lightness, former = before[strength]
                    still = np.abs(lightness - former_lightness) < _STILL
                    if still.any():
                        changes[strength].append(_distance(colors, former)[still].mean())
                before[strength] = lightness, colors
            bar.update()
    return {
        strength: (float(np.mean(changes[strength])), float(np.mean(distances[strength])))
        for strength in strengths
    }


def _distance(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> np.ndarray:
    return np.hypot(*(one - other for one, other in zip(first, second, strict=True)))


def main(settings: FlickerSettings, arguments: list[str]) -> None:
    """Prints a Markdown table."""
    if len(arguments) > 1:
        raise UserError("flicker measures a single film.")
    try:
        strengths = [float(strength) for strength in settings.smoothing.split(",")]
    except ValueError:
        raise UserError(f"--smoothing={settings.smoothing} is not a list of numbers.") from None
    if not all(0 <= strength < 1 for strength in strengths):
        raise UserError("--smoothing takes numbers from 0 to less than 1.")
    if arguments:
        frames = itertools.islice(films.read(arguments[0]), settings.frames)
    else:
        frames = made_film(settings.frames)
    found = measure(frames, colorizer.load(settings.saved_model), strengths, settings.frames)
    print("| smoothing | flicker | distance to the predictions |\n| ---: | ---: | ---: |")
    for strength, (flicker, distance) in found.items():
        print(f"| {strength:g} | {flicker:.3f} | {distance:.3f} |")


COMMAND = cli.Command(__doc__, FlickerSettings, main, arguments="[FILM]")

if __name__ == "__main__":
    cli.run(COMMAND)
