# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Interlaced films: each frame holds two moments, in its even and in its odd rows."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from koalagan.photos import film_files

if TYPE_CHECKING:
    import av

# Frames from which the order is told: the first ones of a film are often black.
_EXAMINED = 50


def order(film: str) -> str | None:
    """Which field of the frames comes first: "tff" (top), "bff" (bottom), or None: progressive.

    PyAV does not tell, but FFmpeg's filter `separatefields` gives that field first.

    Raises:
        BadFilm: the film cannot be read.
        UserError: PyAV is not installed.
    """
    votes = {"tff": 0, "bff": 0, None: 0}
    with film_files.opened(film) as source:
        stream = source.streams.video[0]
        for frame in itertools.islice(film_files.frames(source, film), _EXAMINED):
            if not frame.interlaced_frame:
                votes[None] += 1
                continue
            first = _luma(_filtered(frame, stream.time_base, ("separatefields", "")))
            rows = _luma(frame)
            is_top, is_bottom = (np.array_equal(first, rows[start::2]) for start in (0, 1))
            if is_top != is_bottom:  # They are equal in a frame of one color.
                votes["tff" if is_top else "bff"] += 1
    return max(votes, key=votes.get)


def marked(frame: av.VideoFrame, order: str) -> av.VideoFrame:
    """A frame, as yet unmarked, whose fields have an order: "tff" or "bff"."""
    return _filtered(frame, frame.time_base, ("setfield", f"mode={order}"))


def _filtered(frame: av.VideoFrame, time_base: Fraction, filter: tuple[str, str]) -> av.VideoFrame:
    """The first frame that a filter makes of one."""
    import av

    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format.name, time_base=time_base
    )
    graph.link_nodes(source, graph.add(*filter), graph.add("buffersink")).configure()
    graph.push(frame)
    graph.push(None)
    return graph.pull()


def _luma(frame: av.VideoFrame) -> np.ndarray:
    """The lightness of a frame, uint8 [H, W]."""
    return frame.to_ndarray(format="gray")
