# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Reading and writing film files with PyAV (extra `[video]`).

Frames keep the timestamps of the source and the last one its duration, so that variable frame rates
and lengths are preserved, and are turned and mirrored as its metadata says. Audio is copied without
being decoded; tags, languages, dispositions and chapters are copied too.
"""

from __future__ import annotations

import collections
import heapq
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from koalagan.errors import UserError, one_line

if TYPE_CHECKING:
    import av

# Tags that describe the file, which the result has its own of.
_OF_THE_FILE = {
    *("encoder", "major_brand", "minor_version", "compatible_brands", "duration", "vendor_id"),
    *("number_of_frames", "number_of_bytes", "bps", "handler_name", "rotate", "_statistics_tags"),
    *("_statistics_writing_app", "_statistics_writing_date_utc"),
}


class BadFilm(UserError):
    """A file that cannot be read as a film; the message names it."""


def opened(film: str) -> av.container.InputContainer:
    """Opens a film for reading.

    Raises:
        BadFilm: it cannot be read, or has no video stream.
        UserError: PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UserError("Films need PyAV: pip install 'koalagan[video]'.") from error
    try:
        source = av.open(film)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise BadFilm(f"The film {film} cannot be read: {one_line(error)}.") from error
    if not source.streams.video:
        source.close()
        raise BadFilm(f"The film {film} has no video stream.")
    source.streams.video[0].thread_type = "AUTO"
    return source


def rate(stream: av.VideoStream) -> Fraction:
    """Frames per second, as far as the file states them."""
    return stream.average_rate or stream.guessed_rate or Fraction(25)


def frames(source: av.container.InputContainer, film: str) -> Iterator[av.VideoFrame]:
    """Yields the frames with increasing timestamps.

    Packets that cannot be decoded are skipped, and counted on stderr at the end.

    Raises:
        BadFilm: the film cannot be read to its end.
    """
    import av

    stream = source.streams.video[0]
    interval = max(1, round(1 / (rate(stream) * stream.time_base)))
    # AVI has a frame rate but no timestamps, only numbered places; an empty one repeats the frame
    # before. FFmpeg numbers packets in decoding order: the n-th frame shown has the n-th place.
    has_timestamps = source.format.name != "avi"
    places: collections.deque[int] = collections.deque()
    last, damaged = None, 0
    try:
        for packet in source.demux(video=0):
            if packet.size and packet.dts is not None:
                places.append(packet.dts)
            try:
                decoded = packet.decode()
            except av.InvalidDataError:
                damaged += 1
                if places:
                    places.pop()
                continue
            for frame in decoded:
                if not has_timestamps:
                    frame.pts = places.popleft() if places else None
                if last is None:
                    frame.pts = frame.pts or 0
                elif frame.pts is None or frame.pts <= last:
                    frame.pts = last + interval
                last = frame.pts
                yield frame
    except (av.FFmpegError, OSError) as error:
        raise BadFilm(f"The film {film} cannot be read to its end: {one_line(error)}.") from error
    if damaged:
        print(f"koalagan: skipped {damaged} damaged packets of {film}.", file=sys.stderr)


def pixels(frame: av.VideoFrame) -> np.ndarray:
    """A frame as players show it, uint8 [H, W, 3]: phones store films rotated or mirrored."""
    rgb = frame.to_ndarray(format="rgb24")
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            # FFmpeg's display.h: x' = a x + c y, y' = b x + d y, rows of three fixed-point numbers.
            a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32)
            if abs(int(b)) + abs(int(c)) > abs(int(a)) + abs(int(d)):
                rgb, a, d = rgb.transpose(1, 0, 2), c, b
            rgb = rgb[:, ::-1] if a < 0 else rgb
            rgb = rgb[::-1] if d < 0 else rgb
    return rgb


def end(film: str) -> Fraction | None:
    """When the last frame of a film ends, in seconds; None if the file does not say."""
    with opened(film) as source:
        stream = source.streams.video[0]
        ends = [
            (packet.pts + packet.duration) * stream.time_base
            for packet in source.demux(video=0)
            if packet.pts is not None and packet.duration
        ]
        if stream.duration:
            ends.append(((stream.start_time or 0) + stream.duration) * stream.time_base)
        # As Matroska has it.
        if match := re.fullmatch(r"(\d+):(\d+):(\d+\.\d+)", stream.metadata.get("DURATION", "")):
            hours, minutes, seconds = map(Fraction, match.groups())
            ends.append(3600 * hours + 60 * minutes + seconds)
    return max(ends, default=None)


def check_audio(source: av.container.InputContainer, target: str) -> None:
    """Checks that the container of the result supports the film's audio codecs.

    Args:
        source: the film.
        target: a path with the extension of the result, in an existing folder.

    Raises:
        BadFilm: it does not.
    """
    import av

    # Only a container opened for writing knows its codecs. The file stays empty.
    with av.open(target, "w", format=_format(target)) as container:
        supported = container.supported_codecs
    Path(target).unlink(missing_ok=True)
    for stream in source.streams.audio:
        codec = stream.codec_context.codec if stream.codec_context else None
        name = codec.canonical_name if codec else "unknown"
        # The container lists names of encoders; only some equal the name of the decoder.
        if not codec or not {codec.name, codec.canonical_name} & supported:
            raise BadFilm(
                f"The film {source.name} has audio in the codec {name}, which "
                f"{Path(target).suffix} files do not support: convert it first, with "
                "`ffmpeg -i FILM -c:v copy -c:a aac NEW.mkv`."
            )


def _format(path: str) -> str:
    return {".mkv": "matroska", ".mov": "mov"}.get(Path(path).suffix.lower(), "mp4")


def encode(
    path: Path,
    pictures: Iterable[tuple[np.ndarray, int]],
    source: av.VideoStream,
    mark: Callable[[av.VideoFrame], av.VideoFrame] | None = None,
) -> int:
    """Writes a part of a film as H.264 in NUT, a container that keeps timestamps unchanged.

    Args:
        path: the file to write.
        pictures: frames, uint8 [H, W, 3], and their timestamps in the time base of `source`. All
            are scaled to the size of the first.
        source: gives the frame rate, the time base and the pixel aspect ratio.
        mark: marks frames as interlaced; None for progressive ones.

    Returns:
        The number of frames.

    Raises:
        BadFilm: the frames cannot be encoded.
        OSError: the file cannot be written.
    """
    import av

    count, output = 0, None
    try:
        with av.open(str(path), "w", format="nut") as container:
            for rgb, time in pictures:
                if output is None:
                    output = _add_video_stream(container, source, *rgb.shape[:2])
                    if mark:
                        flags = av.codec.context.Flags
                        output.codec_context.flags |= flags.interlaced_dct | flags.interlaced_me
                rgb = np.ascontiguousarray(rgb)
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
                    width=output.width,  # a film may change its size midway
                    height=output.height,
                    format=output.pix_fmt,
                    dst_colorspace="ITU709",
                    dst_color_range="MPEG",
                )
                frame.pts, frame.time_base = time, source.time_base
                frame = mark(frame) if mark else frame
                container.mux(output.encode(frame))
                count += 1
            if output is not None:
                container.mux(output.encode())
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # an error of the disk
        raise BadFilm(f"The film cannot be encoded: {one_line(error)}.") from error
    return count


def _add_video_stream(
    container: av.container.OutputContainer, source: av.VideoStream, height: int, width: int
) -> av.VideoStream:
    import av

    # No B-frames, so that parts can be concatenated.
    options = {"crf": "18", "preset": "medium", "bf": "0"}
    output = container.add_stream("libx264", rate=rate(source), options=options)
    output.width, output.height = width, height
    # Chroma subsampling needs even sides.
    output.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
    context = output.codec_context
    context.time_base = source.time_base
    aspect_ratio = source.sample_aspect_ratio or Fraction(1)
    rotated = (height, width) != (source.height, source.width) and height != width
    context.sample_aspect_ratio = 1 / aspect_ratio if rotated else aspect_ratio
    context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
    context.color_range = 1  # limited
    context.flags |= av.codec.context.Flags.global_header
    return output


def assemble(path: Path, parts: Sequence[Path], film: str) -> None:
    """Concatenates parts, and copies the film's audio and tags to them.

    Raises:
        BadFilm: the audio cannot be copied.
        OSError: the file cannot be written.
    """
    import av

    try:
        container = _format(str(path))
        with av.open(str(path), "w", format=container) as result, opened(film) as source:
            with av.open(str(parts[0])) as first:
                video = result.add_stream_from_template(first.streams.video[0])
            audio = {
                stream.index: result.add_stream_from_template(stream)
                for stream in source.streams.audio
            }
            _copy_tags(source, result, {source.streams.video[0].index: video, **audio})
            streams = [_timed(_packets(parts, end(film)))]
            if audio:
                streams.append(_timed(source.demux(*source.streams.audio)))
            # Interleaved by time, as players read them.
            for _, packet in heapq.merge(*streams, key=lambda timed: timed[0]):
                is_audio = packet.stream.type == "audio"
                packet.stream = audio[packet.stream.index] if is_audio else video
                result.mux(packet)
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # an error of the disk
        raise BadFilm(f"The film {film} cannot be assembled: {one_line(error)}.") from error


def _copy_tags(
    source: av.container.InputContainer,
    result: av.container.OutputContainer,
    streams: Mapping[int, av.stream.Stream],
) -> None:
    """Copies tags, languages, dispositions and chapters, but for what describes the file.

    Args:
        source, result: the films.
        streams: of the result, by the index of theirs in the source.
    """

    def of_the_film(tags: Mapping[str, str]) -> dict[str, str]:
        return {name: tag for name, tag in tags.items() if name.lower() not in _OF_THE_FILE}

    result.metadata.update(of_the_film(source.metadata))
    for index, stream in streams.items():
        stream.metadata.update(of_the_film(source.streams[index].metadata))
        stream.disposition = source.streams[index].disposition
    result.set_chapters(source.chapters())


def _packets(parts: Sequence[Path], end: Fraction | None) -> Iterator[av.Packet]:
    """The packets of all parts, each of which lasts until the next one, and the last until `end`.

    They come in the order in which they are shown: `encode` makes no B-frames.
    """
    import av

    # A packet must not outlive the container that it comes from.
    opened_parts: list[av.container.InputContainer] = []
    before = None
    try:
        for part in parts:
            opened_parts.append(av.open(str(part)))
            for packet in opened_parts[-1].demux(video=0):
                if not packet.size:
                    continue
                if before is not None:
                    before.duration = packet.pts - before.pts
                    yield before
                before = packet
                while len(opened_parts) > 1:
                    opened_parts.pop(0).close()
        if before is not None:
            if end is not None:
                before.duration = max(1, round(end / before.time_base) - before.pts)
            yield before
    finally:
        for container in opened_parts:
            container.close()


def _timed(packets: Iterable[av.Packet]) -> Iterator[tuple[Fraction, av.Packet]]:
    """Packets that are not empty, with their times in seconds."""
    time = Fraction(0)
    for packet in packets:
        if packet.size:
            if packet.dts is not None:
                time = packet.dts * packet.time_base
            yield time, packet
