# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""How much the colours of a film flicker, with and without smoothing over time.

    python experiments/flicker.py --saved_model=DIR FILM [--smoothing=0,0.5,0.8,0.9]

Flicker is the mean change of the predicted (a, b) from frame to frame, in Lab units, where the
picture stands still: where L* changes by less than 1. What smoothing costs is the mean distance of
the smoothed colours to the predicted ones, everywhere.

Without a FILM it makes one: a drawn scene under a slow pan, with the grain of film.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from absl import flags

from koalagan import errors, lazy, progress
from koalagan.data.koala_scenes import drawing
from koalagan.errors import UserError
from koalagan.inference import colorizer
from koalagan.photos import films

lab = lazy.module("koalagan.color.lab")

_STILL = 1.0  # of L*
_GRAIN = 3.0  # of 255 levels, standard deviation


def made_film(
    frames: int, size: tuple[int, int] = (240, 320), seed: int = 0
) -> Iterator[np.ndarray]:
    """Greyscale frames, uint8 [H,W,3]: a scene that stands still for half of them, then pans."""
    rng = np.random.default_rng(0)
    height, width = size
    scene = drawing.draw_scene(rng, 2 * max(size)).astype(np.float32) @ [0.299, 0.587, 0.114]
    for number in range(frames):
        left = max(0, number - frames // 2)
        view = scene[:height, left : left + width] + rng.normal(0, _GRAIN, size)
        grey = np.clip(np.rint(view), 0, 255).astype(np.uint8)
        yield np.repeat(grey[..., None], 3, axis=-1)


def measure(
    frames: Iterator[np.ndarray], model: colorizer.Colorizer, strengths: Sequence[float], total: int
) -> dict[float, tuple[float, float]]:
    """(flicker, distance to the predictions) in Lab units, by strength of smoothing."""
    smoothers = {strength: films.Smoother(strength) for strength in strengths}
    before: dict[float, tuple[np.ndarray, np.ndarray]] = {}
    changes = {strength: [] for strength in strengths}
    distances = {strength: [] for strength in strengths}
    with progress.bar("measure", total, unit="frame") as bar:
        for rgb in frames:
            (L,), (ab,) = model.predict([rgb])
            for strength, smoother in smoothers.items():
                smoothed = smoother(L, ab)
                lightness, *colours = np.moveaxis(lab.lab_units(L, smoothed).numpy(), -1, 0)
                _, *predicted = np.moveaxis(lab.lab_units(L, ab).numpy(), -1, 0)
                distances[strength].append(_distance(colours, predicted).mean())
                if strength in before:
                    former_lightness, former = before[strength]
                    still = np.abs(lightness - former_lightness) < _STILL
                    if still.any():
                        changes[strength].append(_distance(colours, former)[still].mean())
                before[strength] = lightness, colours
            bar.update()
    return {
        strength: (float(np.mean(changes[strength])), float(np.mean(distances[strength])))
        for strength in strengths
    }


def _distance(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> np.ndarray:
    return np.hypot(*(one - other for one, other in zip(first, second, strict=True)))


def main(argv: Sequence[str]) -> None:
    """Prints a Markdown table."""
    settings = flags.FLAGS
    if len(argv) > 2:
        raise UserError("flicker measures one film at a time.")
    try:
        strengths = [float(strength) for strength in settings.smoothing]
    except ValueError:
        raise UserError(f"--smoothing={','.join(settings.smoothing)} are no numbers.") from None
    if not all(0 <= strength < 1 for strength in strengths):
        raise UserError("--smoothing takes numbers from 0 to less than 1.")
    if len(argv) == 2:
        frames = itertools.islice(films.read(argv[1]), settings.frames)
    else:
        frames = made_film(settings.frames)
    found = measure(frames, colorizer.load(settings.saved_model), strengths, settings.frames)
    print("| smoothing | flicker | distance to the predictions |\n| ---: | ---: | ---: |")
    for strength, (flicker, distance) in found.items():
        print(f"| {strength:g} | {flicker:.3f} | {distance:.3f} |")


if __name__ == "__main__":
    flags.DEFINE_string("saved_model", None, "The model that colours.", required=True)
    flags.DEFINE_list("smoothing", ["0", "0.5", "0.8", "0.9"], "Strengths to compare.")
    flags.DEFINE_integer("frames", 60, "How many of the film's frames.", lower_bound=2)
    errors.run(main)
