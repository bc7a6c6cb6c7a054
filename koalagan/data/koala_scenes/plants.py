# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Plants in a scene: trees and their leaves, grass, flowers.

Leaves, bark and grass have one color each; petals have several. Lengths are fractions of the
picture, and `brightness` is that of the weather.
"""

import math

import numpy as np

from koalagan.data.koala_scenes.canvas import (
    Canvas,
    around,
    clumps,
    ink,
    mix,
    noise,
    pick,
    shade,
    smoothstep,
)

LEAF = "#7fa383"
BARK = "#c9b49a"
PETALS = ("#e8433f", "#f7c52d", "#b45fd0", "#f58ab5", "#fbfbf4", "#fbfbf4", "#f58a2e")


def leaves(
    canvas: Canvas,
    rng: np.random.Generator,
    center: tuple[float, float],
    spread: float,
    count: int,
    length: float,
) -> None:
    """Sickle-shaped eucalyptus leaves that hang around `center`."""
    along = np.linspace(0, 1, 6)
    with canvas.pen(*around(*center, spread + 1.3 * length)) as pen:
        for _ in range(count):
            angle, reach = rng.uniform(0, 2 * np.pi), spread * np.sqrt(rng.random())
            x, y = center[0] + reach * np.cos(angle), center[1] + 0.6 * reach * np.sin(angle)
            down = rng.normal(np.pi / 2, 0.5)
            size, bend = length * rng.uniform(0.7, 1.2), rng.normal(0, 0.35)
            path = down + bend * (along - 0.3) * 2
            spine = np.cumsum(np.stack([np.cos(path), np.sin(path)], 1) * size / 6, axis=0) + (x, y)
            width = 0.12 * size * np.sin(np.pi * along**0.8)[:, None]
            across = np.stack([-np.sin(path), np.cos(path)], 1) * width
            tone = shade(ink(LEAF), rng.uniform(-0.75, 0.35))
            pen.polygon([*(spine + across), *(spine - across)[::-1]], tone)
            pen.line(spine, shade(tone, 0.3), 0.0018)


def bough(
    canvas: Canvas,
    rng: np.random.Generator,
    start: tuple[float, float],
    stop: tuple[float, float],
    thickness: tuple[float, float],
) -> None:
    """A branch of pale eucalyptus bark from `start` to `stop` that peels in long patches."""
    (x0, y0), (x1, y1) = start, stop
    pad = max(thickness)
    where, x, y = canvas.window(
        min(x0, x1) - pad, min(y0, y1) - pad, max(x0, x1) + pad, max(y0, y1) + pad
    )
    length = math.hypot(x1 - x0, y1 - y0)
    along = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length**2
    bend = 0.06 * length * np.sin(np.pi * np.clip(along, 0, 1)) * rng.uniform(-1, 1)
    aside = ((x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)) / length + bend
    radius = thickness[0] + (thickness[1] - thickness[0]) * np.clip(along, 0, 1)
    across = aside / radius
    side = canvas.side
    upright = abs(y1 - y0) > abs(x1 - x0)
    cell = (side / 9, side / 70) if upright else (side / 70, side / 9)
    grain = noise(rng, across.shape, cell)
    peel = smoothstep(0.25, 0.4, noise(rng, across.shape, (cell[0] * 1.3, cell[1] * 1.3)))
    bark = mix(ink(BARK), ink("#a98a6b"), peel)
    facing = (-0.55 * (y1 - y0) + 0.8 * (x1 - x0)) / length
    light = 0.22 * grain - 0.75 * across**2 + 0.7 * facing * across + 0.2
    alpha = np.clip((radius - np.abs(aside)) * side + 0.5, 0, 1) * ((along > -0.02) & (along < 1))
    canvas.paint(where, shade(bark, light), alpha)


def crown(
    canvas: Canvas,
    rng: np.random.Generator,
    x: float,
    y: float,
    radius: float,
    color: str,
    brightness: float,
) -> None:
    """A leafy crown of overlapping clusters, lit from above."""
    where, gx, gy = canvas.window(x - 1.5 * radius, y - 1.1 * radius, x + 1.5 * radius, y + radius)
    shape, side = (gy.shape[0], gx.shape[1]), canvas.side
    clusters = [
        (rng.normal(0, 0.5), rng.normal(0, 0.33), rng.uniform(0.36, 0.55)) for _ in range(9)
    ]
    clusters.sort(key=lambda cluster: cluster[1])
    ragged = noise(rng, shape, (side * 0.014, side * 0.014))
    dapple = clumps(rng, shape, side * 0.014)
    for dx, dy, size in clusters:
        u, v = (gx - x) / radius - dx, (gy - y) / radius - dy
        distance = np.hypot(u, v * 1.3) / size
        alpha = smoothstep(1.02, 0.92, distance + 0.22 * ragged)
        light = 0.55 * dapple - 0.55 * v / size - 0.25 * u / size - 0.12
        canvas.paint(where, shade(ink(color) * brightness, light), alpha)


def tree(
    canvas: Canvas,
    rng: np.random.Generator,
    x: float,
    y: float,
    height: float,
    color: str,
    brightness: float,
) -> None:
    """A tree `height` tall with its base at (x, y)."""
    top = (x + rng.uniform(-0.12, 0.12) * height, y - 0.72 * height)
    canvas.shadow((x + 0.1 * height, y), (0.3 * height, 0.045 * height), ink("#1d3320"))
    bough(canvas, rng, (x, y), top, (0.042 * height, 0.022 * height))
    for side in (-1, 1):
        fork = (x + (top[0] - x) * 0.55, y - 0.42 * height)
        tip = (x + side * rng.uniform(0.16, 0.26) * height, y - rng.uniform(0.62, 0.75) * height)
        bough(canvas, rng, fork, tip, (0.02 * height, 0.012 * height))
    for dx, dy, size in ((-0.23, -0.68, 0.26), (0.22, -0.66, 0.25), (0, -0.84, 0.3)):
        crown(canvas, rng, x + dx * height, y + dy * height, size * height, color, brightness)


def grass_blades(
    canvas: Canvas, rng: np.random.Generator, brightness: float, top: float, count: int = 900
) -> None:
    """Single blades from `top` down, the nearest drawn last and longest."""
    y = np.sort(top + (1.06 - top) * rng.random(count) ** 0.8)
    x, lean = rng.uniform(-0.02, 1.02, count), rng.normal(0, 0.012, count)
    near = (y - top) / (1.06 - top)
    height = rng.uniform(0.02, 0.05, count) * (0.5 + near)
    tones = [shade(ink("#5fae3f") * brightness, v) for v in np.linspace(-0.6, 0.45, 12)]
    tone = rng.integers(len(tones), size=count)
    with canvas.pen(top=top - 0.12) as pen:
        for i in range(count):
            half = 0.0022 + 0.0018 * near[i]
            foot = (x[i] - half, y[i]), (x[i] + half, y[i])
            pen.polygon([*foot, (x[i] + lean[i] * (1 + near[i]), y[i] - height[i])], tones[tone[i]])


def flowers(
    canvas: Canvas, rng: np.random.Generator, top: float, count: int, brightness: float
) -> None:
    """Daisies and poppies below `top`, larger toward the viewer, in beds of one color."""
    y = np.sort(rng.uniform(top, 1.0, count))
    beds = [(rng.random(), pick(rng, PETALS)) for _ in range(4)]
    with canvas.pen(top=top - 0.03) as pen:
        for cy in y:
            bed, code = pick(rng, beds)
            cx = bed + rng.normal(0, 0.13)
            near = (cy - top) / (1 - top)
            size = (0.006 + 0.02 * near) * rng.uniform(0.8, 1.2)
            petal = ink(code) * brightness
            pen.line(
                [(cx, cy), (cx + rng.normal(0, size), cy + 3 * size)], ink("#3f7d34"), size / 4
            )
            start, squash = rng.random() * np.pi, rng.uniform(0.6, 0.9)
            petals = 5 if size < 0.012 else 8
            for k in range(petals):
                angle = start + 2 * np.pi * k / petals
                px, py = cx + 0.62 * size * np.cos(angle), cy + 0.62 * squash * size * np.sin(angle)
                tone = shade(petal, rng.uniform(-0.12, 0.1) - 0.3 * np.sin(angle) * 0.6)
                pen.ellipse(px, py, 0.36 * size, 0.36 * size * squash, tone)
            center = "#6b3f1f" if code == "#f7c52d" else "#f5bb2c"
            pen.ellipse(cx, cy, 0.3 * size, 0.3 * size * squash, ink(center) * brightness)
