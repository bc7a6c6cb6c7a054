# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Animals and buildings in a scene: koalas, birds, houses, boats.

Koalas and bricks have one color each; wooden walls, roofs and sails have several. Lengths are
fractions of the picture.
"""

import math

import numpy as np

from koalagan.data.koala_scenes.canvas import Canvas, Pen, around, ink, mix, pick, shade
from koalagan.data.koala_scenes.plants import leaves

FUR = "#9a9ca6"
WALLS = ("#f4e3bf", "#e9b7a2", "#b9d6e4", "#f3f0e6", "#f2cf6d", "#bcd9b4")
BRICK = "#b9654a"
DOOR = "#7d4a35"
ROOFS = ("#c2553a", "#5d7695", "#8a5a41", "#a8433f")
SAILS = ("#ffffff", "#f6d96b", "#ef7a5c")


def koala(canvas: Canvas, rng: np.random.Generator, x: float, y: float, height: float) -> None:
    """A koala that faces the viewer, `height` tall, seated at (x, y); some eat a leaf."""
    unit = height / 3.45
    tone = ink(FUR) * rng.uniform(0.92, 1.08)
    pale = mix(tone, ink("#ffffff"), 0.65)
    pink = mix(pale, ink("#f3b5b2"), 0.5)
    dark = ink("#2f2d33")
    tilt, gaze = rng.uniform(-0.16, 0.16), rng.uniform(-0.13, 0.13)
    neck = (x, y - 1.35 * unit)

    def body(dx, dy, rx, ry, color, **style):
        radii = rx * unit, ry * unit
        canvas.blob(rng, (x + dx * unit, y + (dy - 0.15) * unit), radii, color, **style)

    def on_head(dx, dy):
        dy -= 0.85
        cos, sin = math.cos(tilt), math.sin(tilt)
        return neck[0] + (dx * cos - dy * sin) * unit, neck[1] + (dx * sin + dy * cos) * unit

    def head(dx, dy, rx, ry, color, **style):
        canvas.blob(rng, on_head(dx, dy), (rx * unit, ry * unit), color, turn=tilt, **style)

    canvas.shadow((x + 0.15 * unit, y), (1.15 * unit, 0.16 * unit), ink("#1c2a1e"))
    body(0, -0.72, 0.86, 0.95, tone, fuzz=0.1, fur=0.16)
    body(0, -0.62, 0.5, 0.72, pale, softness=0.7, fur=0.12, opacity=0.9, light=0.25)
    for side in (-1, 1):
        body(0.58 * side, -0.04, 0.4, 0.26, tone * 0.92, turn=-0.25 * side, fuzz=0.1, fur=0.15)
        for toe in (-0.17, 0, 0.17):
            body(0.64 * side + toe, 0.1, 0.05, 0.09, dark, light=0.2)
        body(0.62 * side, -0.85, 0.25, 0.6, tone * 0.95, turn=0.5 * side, fuzz=0.12, fur=0.16)
        body(0.36 * side, -0.45, 0.2, 0.17, tone * 0.9, fuzz=0.14, fur=0.15)
    for side in (-1, 1):
        head(0.98 * side, -0.4, 0.56, 0.55, tone * 0.94, fuzz=0.2, fur=0.2)
        head(0.98 * side, -0.34, 0.36, 0.36, pink, fuzz=0.35, softness=0.35, fur=0.2, light=0.3)
    head(0, 0.02, 1.1, 0.92, tone, fuzz=0.07, fur=0.13, light=0.55)
    head(gaze, 0.5, 0.6, 0.33, pale, softness=0.8, fur=0.1, opacity=0.9, light=0.1)
    for side in (-1, 1):
        at = 0.52 * side + gaze
        head(at * 1.25, 0.34, 0.22, 0.15, ink("#f08f94"), softness=1.2, opacity=0.55, light=0)
        head(at, -0.02, 0.19, 0.2, mix(tone, dark, 0.3), softness=0.6, light=0)
        head(at, -0.01, 0.145, 0.16, ink("#17151a"), light=0.1)
        head(at - 0.05, -0.08, 0.052, 0.055, ink("#ffffff"), light=0)
        head(at + 0.05, 0.06, 0.025, 0.028, ink("#d8dce6"), light=0)
    head(gaze * 1.3, 0.16, 0.23, 0.34, dark, light=0.45, softness=0.08)
    head(gaze * 1.3 - 0.07, 0.0, 0.07, 0.1, ink("#8d8b96"), softness=1.0, opacity=0.7, light=0)
    bend = np.linspace(-1, 1, 9)
    smile = [on_head(gaze * 1.2 + 0.2 * t, 0.66 - 0.09 * t * t) for t in bend]
    with canvas.pen(*around(*smile[4], 0.4 * unit)) as pen:
        pen.line(smile, mix(tone, dark, 0.75), 0.045 * unit)
    if rng.random() < 0.4:
        leaves(canvas, rng, on_head(gaze * 1.2 + 0.12, 0.62), 0.02 * unit, 2, 0.75 * unit)


def house(
    canvas: Canvas, rng: np.random.Generator, x: float, y: float, width: float, brightness: float
) -> None:
    """A cottage `width` wide seen from a corner, gable left and eaves right, its base at y.

    Brick walls are always brick red; wooden walls have any of `WALLS`, roofs any of `ROOFS`.
    """
    bricks = rng.random() < 0.3
    wall = ink(BRICK if bricks else pick(rng, WALLS)) * brightness
    roof = ink(pick(rng, ROOFS)) * brightness
    trim, glass = ink("#fbf8ef") * brightness, ink("#5f8fb0") * brightness
    canvas.shadow((x + 0.06 * width, y), (0.62 * width, 0.05 * width), ink("#1d3320"))

    def at(*points):
        """Converts house units (widths right of the middle, above the ground) to the picture's."""
        return [(x + right * width, y - up * width) for right, up in points]

    with canvas.pen(*around(x, y - 0.35 * width, 0.62 * width)) as pen:
        pen.polygon(at((0.3, 0.36), (0.3, 0.8), (0.4, 0.8), (0.4, 0.36)), ink(BRICK) * brightness)
        front, side = shade(wall, 0.08), shade(wall, -0.35)
        pen.polygon(at((-0.1, 0), (-0.1, 0.36), (0.5, 0.36), (0.5, 0)), side)
        pen.polygon(at((-0.5, 0), (-0.5, 0.36), (-0.3, 0.7), (-0.1, 0.36), (-0.1, 0)), front)
        courses = 9 if bricks else 7
        for i in range(1, courses):
            up = 0.36 * i / courses
            pen.line(at((-0.5, up), (-0.1, up)), shade(wall, -0.3), 0.0022)
            pen.line(at((-0.1, up), (0.5, up)), shade(wall, -0.6), 0.0022)
            for j in range(9 if bricks else 0):
                right = -0.5 + (j + 0.5 * (i % 2)) / 9
                tone = shade(wall, -0.3 if right < -0.1 else -0.6)
                pen.line(at((right, up), (right, up - 0.36 / courses)), tone, 0.002)
        pen.polygon(at((-0.11, 0.32), (0.5, 0.32), (0.5, 0.27), (-0.1, 0.27)), shade(wall, -0.6))
        pen.polygon(at((-0.3, 0.7), (0.4, 0.7), (0.54, 0.32), (-0.11, 0.32)), roof)
        for i in range(1, 9):  # Rows of tiles, the top row first.
            up, left, length = 0.7 - 0.042 * i, -0.3 + 0.021 * i, 0.7 - 0.0055 * i
            pen.line(at((left, up), (left + length, up)), shade(roof, -0.45), 0.0024)
            for j in range(12):
                right = left + length * (j + 0.5 * (i % 2)) / 12
                pen.line(at((right, up), (right, up + 0.042)), shade(roof, -0.3), 0.0018)
        gable = at((-0.54, 0.32), (-0.3, 0.7), (-0.09, 0.32))
        pen.line(gable, shade(roof, 0.25), 0.02 * width + 0.002)
        for middle in at((0.04, 0.2), (0.34, 0.2), (-0.3, 0.38)):
            _window(pen, *middle, 0.055 * width, trim, glass)
        for half, top, color in ((0.06, 0.22, trim), (0.045, 0.205, ink(DOOR) * brightness)):
            pen.polygon(
                at((-0.3 - half, 0), (-0.3 - half, top), (-0.3 + half, top), (-0.3 + half, 0)),
                color,
            )


def _window(pen: Pen, x: float, y: float, half: float, trim: np.ndarray, glass: np.ndarray) -> None:
    for reach, color in ((1.3 * half, trim), (half, glass)):
        pen.box(*around(x, y, reach), color)
    gleam = [(x - half, y - half), (x + 0.4 * half, y - half), (x - half, y + 0.4 * half)]
    pen.polygon(gleam, shade(glass, 0.35))
    pen.line([(x, y - half), (x, y + half)], trim, half * 0.2)
    pen.line([(x - half, y), (x + half, y)], trim, half * 0.2)


def boat(canvas: Canvas, rng: np.random.Generator, x: float, y: float, size: float) -> None:
    """A sailboat on the water, `size` tall, and its shadow."""
    sail = ink(pick(rng, SAILS))
    canvas.shadow((x, y + 0.16 * size), (0.4 * size, 0.16 * size), ink("#12414d"))

    def at(*points):
        return [(x + right * size, y - up * size) for right, up in points]

    with canvas.pen(*around(x, y - 0.4 * size, 0.7 * size)) as pen:
        pen.line(at((0, 0), (0, 1)), ink("#5b4632"), 0.025 * size)
        pen.polygon(at((0.03, 0.98), (0.03, 0.16), (0.42, 0.16)), sail)
        pen.polygon(at((-0.03, 0.85), (-0.03, 0.16), (-0.3, 0.16)), shade(sail, -0.25))
        pen.polygon(at((-0.42, 0.1), (0.46, 0.1), (0.3, -0.06), (-0.3, -0.06)), ink("#8c4a32"))
        pen.line(at((-0.42, 0.1), (0.46, 0.1)), ink("#f6efe0"), 0.03 * size)


def birds(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    """A small flock of birds in the sky."""
    cx, cy = rng.uniform(0.15, 0.85), rng.uniform(0.1, 0.6) * horizon
    with canvas.pen(bottom=horizon) as pen:
        for _ in range(int(rng.integers(3, 7))):
            x, y = cx + rng.normal(0, 0.06), cy + rng.normal(0, 0.03)
            span = rng.uniform(0.01, 0.018)
            wings = [(-1, 0.3), (-0.4, 0.5), (0, 0), (0.4, 0.5), (1, 0.3)]
            points = [(x + right * span, y - up * span) for right, up in wings]
            pen.line(points, ink("#3a4152"), 0.0028)
