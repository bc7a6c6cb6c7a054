# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Films as files, by PyAV (extra `[video]`): reading frames, writing parts, putting them together.

Times are the source's own, so variable frame rates stay; a frame stands as the film says it is to
be shown. Sound is copied as it is.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from koalagan import lazy
from koalagan.errors import UserError, one_line

av = lazy.module("av")

# What is written as it came; other containers become Matroska.
_KEPT = (".mp4", ".m4v", ".mov", ".mkv")
ENDINGS = (*_KEPT, ".avi", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".ts")


class BadFilm(UserError):
    """A file that cannot be read as a film; its text names it."""


def is_film(path: str) -> bool:
    """Whether a path ends like a film's."""
    return path.lower().endswith(ENDINGS)


def ending(path: str) -> str:
    """The ending of the result for a film."""
    own = Path(path).suffix
    return own if own.lower() in _KEPT else ".mkv"


def opened(film: str) -> av.container.InputContainer:
    """Opens a film that has a picture.

    Raises:
        BadFilm: it cannot be read, or has none.
        UserError: PyAV is not installed.
    """
    try:
        av.__version__  # noqa: B018 - imports it
    except ImportError as error:
        raise UserError("films need PyAV: pip install 'koalagan[video]'.") from error
    try:
        source = av.open(film)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise BadFilm(f"The film {film} cannot be read: {one_line(error)}.") from error
    if not source.streams.video:
        source.close()
        raise BadFilm(f"The film {film} has no picture.")
    source.streams.video[0].thread_type = "AUTO"
    return source


def rate(stream: av.VideoStream) -> Fraction:
    """Frames a second, as far as it is told."""
    return stream.average_rate or stream.guessed_rate or Fraction(25)


def frames(source: av.container.InputContainer, film: str) -> Iterator[av.VideoFrame]:
    """The frames, each with its time. What cannot be decoded is left out, and said at the end.

    Raises:
        BadFilm: it cannot be read on.
    """
    stream = source.streams.video[0]
    apart = max(1, round(1 / (rate(stream) * stream.time_base)))
    # AVI has no times, only a rate; what is made up for it is in the order of coding.
    told = source.format.name != "avi"
    last, damaged = None, 0
    try:
        for packet in source.demux(video=0):
            try:
                decoded = packet.decode()
            except av.InvalidDataError:
                damaged += 1
                continue
            for frame in decoded:
                if last is None:
                    frame.pts = frame.pts if told and frame.pts is not None else 0
                elif not told or frame.pts is None or frame.pts <= last:
                    frame.pts = last + apart
                last = frame.pts
                yield frame
    except (av.FFmpegError, OSError) as error:
        raise BadFilm(f"The film {film} cannot be read on: {one_line(error)}.") from error
    if damaged:
        print(f"koalagan: {damaged} damaged parts of {film} were left out.", file=sys.stderr)


def pixels(frame: av.VideoFrame) -> np.ndarray:
    """A frame as it is to be shown, uint8 [H,W,3]: telephones film upright pictures lying."""
    return np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)


def check_sound(source: av.container.InputContainer, target: str) -> None:
    """Checks that the result can hold the film's sound, before any work.

    Raises:
        BadFilm: it cannot.
    """
    # Asked of a container of this kind that is never begun; its file is not made.
    with av.open(target, "w", format=_format(target)) as container:
        supported = container.supported_codecs
    Path(target).unlink(missing_ok=True)
    for stream in source.streams.audio:
        codec = stream.codec_context.codec if stream.codec_context else None
        name = codec.canonical_name if codec else "unknown"
        # Told by the names of encoders, of which some are also the sound's and some are not.
        if not codec or not {codec.name, codec.canonical_name} & supported:
            raise BadFilm(
                f"The film {source.name} has sound of the kind {name}, which "
                f"{Path(target).suffix} files cannot hold: convert it first, with `ffmpeg -i FILM "
                "-c:v copy -c:a aac NEW.mkv`."
            )


def _format(path: str) -> str:
    return {".mkv": "matroska", ".mov": "mov"}.get(Path(path).suffix.lower(), "mp4")


def encode(path: Path, pictures: Iterable[tuple[np.ndarray, int]], source: av.VideoStream) -> int:
    """Writes a part of a film, in NUT, which keeps times as they are.

    Args:
        path: the part.
        pictures: uint8 [H,W,3] of one size, and the time of each in the source's time base.
        source: what rates and proportions are taken from.

    Returns:
        How many frames it has.

    Raises:
        BadFilm: the frames cannot be encoded.
    """
    count, output = 0, None
    try:
        with av.open(str(path), "w", format="nut") as container:
            for rgb, time in pictures:
                if output is None:
                    output = _video_stream(container, source, *rgb.shape[:2])
                rgb = np.ascontiguousarray(rgb)
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
                    width=output.width,  # of films that change their size on the way
                    height=output.height,
                    format=output.pix_fmt,
                    dst_colorspace="ITU709",
                    dst_color_range="MPEG",
                )
                frame.pts, frame.time_base = time, source.time_base
                container.mux(output.encode(frame))
                count += 1
            if output is not None:
                container.mux(output.encode())
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the disk
        raise BadFilm(f"the film cannot be encoded: {one_line(error)}.") from error
    return count


def _video_stream(
    container: av.container.OutputContainer, source: av.VideoStream, height: int, width: int
) -> av.VideoStream:
    # Without frames that refer forwards, so that parts can follow one another.
    options = {"crf": "18", "preset": "medium", "bf": "0"}
    output = container.add_stream("libx264", rate=rate(source), options=options)
    output.width, output.height = width, height
    # Shared chroma needs even sides.
    output.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
    context = output.codec_context
    context.time_base = source.time_base
    shape = source.sample_aspect_ratio or Fraction(1)
    turned = (height, width) != (source.height, source.width) and height != width
    context.sample_aspect_ratio = 1 / shape if turned else shape
    context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
    context.color_range = 1  # limited
    context.flags |= av.codec.context.Flags.global_header
    return output


def assemble(path: Path, parts: Sequence[Path], film: str) -> None:
    """Puts parts behind one another and the film's sound beside them.

    Raises:
        BadFilm: its sound cannot be read.
    """
    try:
        container = _format(str(path))
        with av.open(str(path), "w", format=container) as result, opened(film) as source:
            with av.open(str(parts[0])) as first:
                video = result.add_stream_from_template(first.streams.video[0])
            sounds = {
                stream.index: result.add_stream_from_template(stream)
                for stream in source.streams.audio
            }
            both = [_timed(_packets_of(parts))]
            if sounds:
                both.append(_timed(source.demux(*source.streams.audio)))
            # As players read them: what is heard beside what is seen.
            for _, packet in heapq.merge(*both, key=lambda one: one[0]):
                is_sound = packet.stream.type == "audio"
                packet.stream = sounds[packet.stream.index] if is_sound else video
                result.mux(packet)
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise BadFilm(f"The film {film} cannot be put together: {one_line(error)}.") from error


def _packets_of(parts: Sequence[Path]) -> Iterator[av.Packet]:
    for part in parts:
        with av.open(str(part)) as container:
            yield from container.demux(video=0)


def _timed(packets: Iterable[av.Packet]) -> Iterator[tuple[Fraction, av.Packet]]:
    """Packets that hold something, with their times in seconds."""
    time = Fraction(0)
    for packet in packets:
        if packet.size:
            if packet.dts is not None:
                time = packet.dts * packet.time_base
            yield time, packet
