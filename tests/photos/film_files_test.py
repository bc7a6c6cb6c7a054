# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Film files: sizes, times, orientation, fields, tags and contents."""

import struct
import types
from fractions import Fraction

import av
import numpy as np
import pytest
from helpers import photos
from helpers.films import FRAMES, RATE, assert_times, color, contents, irregular, make
from skimage.color import rgb2lab

from koalagan.photos import film_fields, film_files


def test_dts_audio_is_supported_under_the_name_of_its_decoder(tmp_path):
    codec = types.SimpleNamespace(codec=av.Codec("dca", "r"))  # no encoder for a real film
    stream = types.SimpleNamespace(codec_context=codec)
    source = types.SimpleNamespace(name="a.mkv", streams=types.SimpleNamespace(audio=[stream]))
    film_files.check_audio(source, str(tmp_path / "b.mkv"))


@pytest.mark.parametrize("height, width", [(47, 64), (48, 63)])
def test_odd_sizes_are_kept(lightness_model, tmp_path, height, width):
    """Chroma subsampling does not allow such sizes, so that the film needs another codec."""
    film = tmp_path / "film.mkv"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "gray"
        for level in (60, 90, 120):
            frame = np.full((height, width), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())
    color(film, tmp_path / "out.mkv", lightness_model)
    _, frames, sound = contents(tmp_path / "out.mkv")
    assert [frame.shape for frame in frames] == [(height, width, 3)] * 3 and not sound


def test_variable_frame_rates_are_kept(lightness_model, tmp_path):
    film = tmp_path / "film.mkv"
    times = [0, 40, 200, 220, 1000]
    with av.open(str(film), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time in times:
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 99, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    color(film, tmp_path / "out.mkv", lightness_model)
    assert_times(contents(tmp_path / "out.mkv")[0], [time / 1000 for time in times])


def test_damaged_packets_are_skipped(lightness_model, tmp_path, capfd):
    film = tmp_path / "film.mp4"
    make(film, audio=False)
    with av.open(str(film)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    position, size = packets[9]
    content = bytearray(film.read_bytes())
    content[position : position + size] = bytes(size)
    film.write_bytes(content)
    color(film, tmp_path / "out.mp4", lightness_model)
    assert 12 < len(contents(tmp_path / "out.mp4")[1]) <= FRAMES
    assert "damaged packets of" in capfd.readouterr().err


def test_upright_films_of_phones_are_upright(lightness_model, tmp_path):
    film = tmp_path / "film.mp4"
    make(film, audio=False)
    content = film.read_bytes()
    straight = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    header = content.index(b"tkhd")
    at = content.index(straight, header)
    by_a_quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    film.write_bytes(content[:at] + by_a_quarter + content[at + len(straight) :])
    lying = contents(film)[1][0]
    color(film, tmp_path / "out.mp4", lightness_model)
    frame = contents(tmp_path / "out.mp4")[1][0]
    assert frame.shape == (64, 48, 3)
    upright = rgb2lab(np.rot90(lying, -1))[..., 0]  # clockwise
    assert np.abs(rgb2lab(frame)[..., 0] - upright).mean() < 2


@pytest.mark.parametrize("times", [[0, 1, 2, 9, 10, 20, 35], [0, 10, 11]])
def test_frames_that_an_avi_drops_leave_their_gap(lightness_model, tmp_path, times):
    film = irregular(tmp_path / "film.avi", times, "mpeg4")
    color(film, tmp_path / "out.mkv", lightness_model)
    found, frames, _ = contents(tmp_path / "out.mkv")
    assert_times(found, [time / 10 for time in times])
    painted, source = (
        [rgb2lab(frame)[..., 0].mean() for frame in shown] for shown in (frames, contents(film)[1])
    )
    np.testing.assert_allclose(painted, source, atol=2)


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.mov"])
def test_the_last_frame_of_a_variable_rate_keeps_its_duration(lightness_model, tmp_path, name):
    film = irregular(tmp_path / name, [0, 3, 4, 10], last=50)
    color(film, tmp_path / "out" / name, lightness_model)
    found, _, _ = contents(tmp_path / "out" / name)
    assert_times(found, [0.0, 0.3, 0.4, 1.0])
    assert float(film_files.end(str(film))) == pytest.approx(6.0, abs=0.01)
    assert float(film_files.end(str(tmp_path / "out" / name))) == pytest.approx(6.0, abs=0.01)


# The display matrix (a, b, c, d) of each of the eight orientations, and what shows it upright.
ORIENTATIONS = {
    (1, 0, 0, 1): lambda stored: stored,
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (-1, 0, 0, -1): lambda stored: np.rot90(stored, 2),
    (0, 1, -1, 0): lambda stored: np.rot90(stored, -1),
    (0, -1, 1, 0): lambda stored: np.rot90(stored, 1),
    (0, 1, 1, 0): lambda stored: stored.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
}


@pytest.mark.parametrize("matrix", ORIENTATIONS)
def test_a_film_is_turned_and_mirrored_as_players_show_it(matrix):
    class Data:
        type = av.sidedata.sidedata.Type.DISPLAYMATRIX

        def __bytes__(self):
            a, b, c, d = (part << 16 for part in matrix)
            return np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32).tobytes()

    class Frame:
        side_data = (Data(),)

        def to_ndarray(self, format):
            return stored

    stored = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    np.testing.assert_array_equal(film_files.pixels(Frame()), ORIENTATIONS[matrix](stored))


def test_tags_languages_dispositions_and_chapters_are_kept(lightness_model, tmp_path):
    plain = make(tmp_path / "plain.mkv")
    film, result = tmp_path / "film.mkv", tmp_path / "out.mkv"
    with av.open(plain) as source, av.open(str(film), "w") as container:
        copies = {s.index: container.add_stream_from_template(s) for s in source.streams}
        container.metadata["title"] = "Großmutter 1936"
        copies[1].metadata.update(language="deu", title="Erzählung")
        copies[1].disposition = av.stream.Disposition.comment
        container.set_chapters(
            [
                {
                    "id": 1,
                    "start": 0,
                    "end": 1000,
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": "Ankunft"},
                }
            ]
        )
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                container.mux(packet)
    color(film, result, lightness_model)
    with av.open(str(result)) as container:
        assert container.metadata["title"] == "Großmutter 1936"
        (audio,) = container.streams.audio
        assert audio.metadata["language"] == "deu" and audio.metadata["title"] == "Erzählung"
        assert audio.disposition == av.stream.Disposition.comment
        (chapter,) = container.chapters()
        assert chapter["metadata"]["title"] == "Ankunft"


@pytest.mark.parametrize("name", ["film.mts", "film.3gp", "film.vob", "film"])
def test_films_are_known_by_their_contents(lightness_model, tmp_path, name):
    kind = {"film.mts": "mpegts", "film.3gp": "3gp", "film.vob": "vob", "film": "matroska"}[name]
    codec = {"vob": "mpeg2video", "3gp": "mpeg4"}.get(kind, "libx264")
    rate = 25
    with av.open(str(tmp_path / name), "w", format=kind) as container:
        picture = container.add_stream(codec, rate=rate)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        for _ in range(6):
            gray = np.full((48, 64, 3), 120, np.uint8)
            container.mux(picture.encode(av.VideoFrame.from_ndarray(gray, format="rgb24")))
        container.mux(picture.encode())
    assert photos.colorize(lightness_model.path, tmp_path / "out", tmp_path / name) == {}
    (result,) = photos.tree(tmp_path / "out")
    assert len(contents(tmp_path / "out" / result)[1]) == 6


def interlaced(path, order, codec="libx264", frames=12):
    """A film whose square moves between the fields of a frame: "tff" or "bff"."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream(codec, rate=25, options={"bf": "0"})
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        flags = av.codec.context.Flags
        picture.codec_context.flags |= flags.interlaced_dct | flags.interlaced_me
        for number in range(frames):
            gray = np.full((48, 64, 3), 60, np.uint8)
            if number > 1:  # it begins black
                for moment, top in enumerate([0, 1] if order == "tff" else [1, 0]):
                    gray[top::2, 4 * number + 2 * moment :][:, :12] = 180
            frame = av.VideoFrame.from_ndarray(gray, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(picture.encode(film_fields.marked(frame, order)))
        container.mux(picture.encode())
    return path


def square_positions(path):
    """The column at which the square begins, in each field as players show them."""
    fields = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for frame in container.decode(video=0):
            graph = av.filter.Graph()
            nodes = graph.add_buffer(template=stream), graph.add("separatefields")
            graph.link_nodes(*nodes, graph.add("buffersink")).configure()
            graph.push(frame)
            graph.push(None)
            fields += [graph.pull(), graph.pull()]
    lightness = [field.to_ndarray(format="gray").mean(axis=0) for field in fields]
    return [int(np.argmax(row > row.min() + 50)) for row in lightness if np.ptp(row) > 50]


@pytest.mark.parametrize("codec, name", [("libx264", "film.mp4"), ("mpeg2video", "film.mpg")])
@pytest.mark.parametrize("order", ["tff", "bff"])
def test_fields_keep_their_order(lightness_model, tmp_path, order, codec, name):
    film = interlaced(tmp_path / name, order, codec)
    assert film_fields.order(str(film)) == order
    color(film, tmp_path / "out.mkv", lightness_model)
    with av.open(str(tmp_path / "out.mkv")) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 12 and all(frame.interlaced_frame for frame in frames)
    assert film_fields.order(str(tmp_path / "out.mkv")) == order
    positions = square_positions(tmp_path / "out.mkv")
    # It moves to the right in every field; in the wrong order, it would go back and forth.
    np.testing.assert_allclose(np.diff(positions), 2, atol=1)
    assert np.all(np.diff(positions) > 0) and len(positions) == 20


def test_progressive_films_stay_progressive(lightness_model, tmp_path):
    film = make(tmp_path / "film.mp4", frames=3)
    assert film_fields.order(film) is None
    color(film, tmp_path / "out.mp4", lightness_model)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not any(frame.interlaced_frame for frame in container.decode(video=0))
