# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Films made by the tests, and what is in them."""

from fractions import Fraction

import av
import numpy as np

from koalagan.photos import films
from koalagan.photos.settings import Rendering

FRAMES = 23
RATE = 12


def color(film, target, model, **rendering):
    films.colorize(str(film), str(target), model, Rendering(**rendering))


def make(path, *, audio=True, height=48, width=64, frames=FRAMES):
    """A film: a bright square that moves over a dark background, and a tone."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=RATE, options={"crf": "10"})
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        if audio:
            tone = container.add_stream("aac", rate=16000)
        for number in range(frames):
            gray = np.full((height, width, 3), 60, np.uint8)
            gray[10:30, number : number + 20] = 180
            container.mux(picture.encode(av.VideoFrame.from_ndarray(gray, format="rgb24")))
        container.mux(picture.encode())
        if audio:
            samples = np.sin(np.arange(frames * 16000 // RATE) * 0.2).astype(np.float32)
            for start in range(0, len(samples), 1024):
                part = samples[None, start : start + 1024]
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = 16000, start
                container.mux(tone.encode(frame))
            container.mux(tone.encode())
    return str(path)


def contents(path):
    """Timestamps in seconds, frames, and the contents of the audio packets."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [
            (frame.pts * stream.time_base, frame.to_ndarray(format="rgb24"))
            for frame in container.decode(video=0)
        ]
    with av.open(str(path)) as container:
        sound = [bytes(p) for p in container.demux() if p.stream.type == "audio" and p.size]
    return [time for time, _ in frames], [frame for _, frame in frames], sound


def assert_times(found, expected):
    np.testing.assert_allclose([float(t) for t in found], [float(t) for t in expected], atol=2e-3)


def irregular(path, times, codec="libx264", last=None, **tags):
    """A film of gray frames at these times in tenths of a second; the last one lasts `last`."""
    with av.open(str(path), "w") as container:
        container.metadata.update(tags)
        picture = container.add_stream(codec, rate=10, options={"bf": "0"})
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        picture.codec_context.time_base = Fraction(1, 10)
        packets = []
        for number, time in enumerate(times):
            gray = np.full((48, 64, 3), 60 + 10 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(gray, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 10)
            packets += picture.encode(frame)
        for packet in packets + picture.encode():
            if last and packet.pts == times[-1]:
                packet.duration = last
            container.mux(packet)
    return path
