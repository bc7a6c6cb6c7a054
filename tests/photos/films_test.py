# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Films made by the tests: colors, audio, size and timestamps; interrupted and continued."""

import struct
import sys
import types
from fractions import Fraction

import av
import numpy as np
import pytest
import skimage.data
from helpers import photos
from skimage.color import rgb2lab

from koalagan.errors import UserError
from koalagan.inference import colorizer
from koalagan.photos import film_files, film_kinds, films
from koalagan.photos.settings import Rendering

FRAMES = 23
RATE = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Paints by lightness, so that grain makes colors flicker."""
    path = tmp_path_factory.mktemp("model") / "export"
    return colorizer.load(photos.export_painter(path, 32, slope=(0.6, -0.4)))


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


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.avi"])
def test_a_film_keeps_its_audio_size_and_timestamps(model, tmp_path, name):
    film = make(tmp_path / name)
    target = tmp_path / f"out{film_kinds.result_extension(film)}"
    color(film, target, model, smoothing=0)
    times, frames, sound = contents(film)
    new_times, colored, new_sound = contents(target)
    assert len(colored) == FRAMES and colored[0].shape == (48, 64, 3)
    assert_times(new_times, np.arange(FRAMES) / RATE if name.endswith("avi") else times)
    assert new_sound == sound and sound
    for gray, result in zip(frames[::7], colored[::7], strict=True):
        expected = rgb2lab(model.colorize(gray))
        got = rgb2lab(result)
        # Films subsample chroma, four pixels to one, and compress it.
        assert np.abs(got[..., 0] - expected[..., 0]).mean() < 2
        assert np.abs(got[..., 1:] - expected[..., 1:]).mean() < 4
        assert np.abs(got[..., 1:]).mean() > 5
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_dts_audio_is_supported_under_the_name_of_its_decoder(tmp_path):
    codec = types.SimpleNamespace(codec=av.Codec("dca", "r"))  # no encoder for a real film
    stream = types.SimpleNamespace(codec_context=codec)
    source = types.SimpleNamespace(name="a.mkv", streams=types.SimpleNamespace(audio=[stream]))
    film_files.check_audio(source, str(tmp_path / "b.mkv"))


@pytest.mark.parametrize("height, width", [(47, 64), (48, 63)])
def test_odd_sizes_are_kept(model, tmp_path, height, width):
    """Chroma subsampling does not allow such sizes, so that the film needs another codec."""
    film = tmp_path / "film.mkv"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "gray"
        for level in (60, 90, 120):
            frame = np.full((height, width), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())
    color(film, tmp_path / "out.mkv", model)
    _, frames, sound = contents(tmp_path / "out.mkv")
    assert [frame.shape for frame in frames] == [(height, width, 3)] * 3 and not sound


def test_variable_frame_rates_are_kept(model, tmp_path):
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
    color(film, tmp_path / "out.mkv", model)
    assert_times(contents(tmp_path / "out.mkv")[0], [time / 1000 for time in times])


def test_an_interrupted_film_is_continued(model, tmp_path, monkeypatch):
    film = make(tmp_path / "film.mp4")
    monkeypatch.setattr(films, "PART", 5)
    whole = tmp_path / "whole.mp4"
    color(film, whole, model)

    class Killed(BaseException):
        pass

    calls = []

    def die(self, rgb, *args, predict=colorizer.Colorizer.predict):
        calls.append(len(rgb))
        if sum(calls) > 12:
            raise Killed
        return predict(self, rgb, *args)

    target = tmp_path / "out" / "film.mp4"
    target.parent.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(colorizer.Colorizer, "predict", die)
        with pytest.raises(Killed):
            color(film, target, model, batch_size=2)
    assert not target.exists()
    colored = []

    def count(self, rgb, *args, predict=colorizer.Colorizer.predict):
        colored.append(len(rgb))
        return predict(self, rgb, *args)

    monkeypatch.setattr(colorizer.Colorizer, "predict", count)
    color(film, target, model)
    assert sum(colored) == FRAMES - 10  # two parts were finished
    assert list(target.parent.iterdir()) == [target]
    expected, found = contents(whole), contents(target)
    assert found[0] == expected[0] and found[2] == expected[2]
    for one, other in zip(expected[1], found[1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_settings_start_over(model, tmp_path, monkeypatch):
    film = make(tmp_path / "film.mp4", audio=False)
    parts = tmp_path / ".out.mp4.parts"
    parts.mkdir()
    (parts / "state.json").write_text('{"settings": {}, "frames": [5]}')
    color(film, tmp_path / "out.mp4", model)
    assert len(contents(tmp_path / "out.mp4")[1]) == FRAMES


def test_smoothing_reduces_flicker_and_follows_movement():
    rng = np.random.default_rng(0)
    L = np.zeros((8, 8, 1))
    smoother = films.Smoother(0.8)
    predictions = rng.normal(0, 0.1, (40, 8, 8, 2))
    smoothed = [smoother(L, ab) for ab in predictions]
    change = [np.abs(np.diff(series[5:], axis=0)).mean() for series in (predictions, smoothed)]
    # An exponential moving average changes by (1 - s) sqrt(2 / (1 + s)) of the noise, which itself
    # changes by sqrt(2).
    assert change[1] / change[0] == pytest.approx(0.2 / np.sqrt(1.8), rel=0.15)
    moved = smoother(L + 0.5, predictions[0])
    np.testing.assert_allclose(moved, predictions[0], atol=1e-6)
    np.testing.assert_array_equal(films.Smoother(0)(L, predictions[1]), predictions[1])


def test_colorize_takes_films_beside_photographs(model, tmp_path, capfd):
    film = make(tmp_path / "film.mp4", frames=3)
    (tmp_path / "broken.mp4").write_bytes(b"not a film")
    broken = tmp_path / "broken.mp4"
    failed = photos.colorize(model.path, tmp_path / "out", film, broken)
    assert list(failed) == [str(broken)]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["film.mp4"]
    assert "1 of 2 files could not be colored" in capfd.readouterr().err


def test_audio_that_the_result_does_not_support_is_refused_before_any_work(model, tmp_path):
    with av.open(str(tmp_path / "film.avi"), "w") as container:
        picture = container.add_stream("mpeg4", rate=RATE)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "yuv420p"
        sound = container.add_stream("pcm_mulaw", rate=8000, layout="mono")
        gray = np.full((32, 32, 3), 90, np.uint8)
        container.mux(picture.encode(av.VideoFrame.from_ndarray(gray, format="rgb24")))
        container.mux(picture.encode())
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    with pytest.raises(film_files.BadFilm, match="audio in the codec pcm_mulaw, which .mkv files"):
        color(tmp_path / "film.avi", tmp_path / "out.mkv", model)
    assert [path.name for path in tmp_path.iterdir()] == ["film.avi"]


def test_damaged_packets_are_skipped(model, tmp_path, capfd):
    film = tmp_path / "film.mp4"
    make(film, audio=False)
    with av.open(str(film)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    position, size = packets[9]
    content = bytearray(film.read_bytes())
    content[position : position + size] = bytes(size)
    film.write_bytes(content)
    color(film, tmp_path / "out.mp4", model)
    assert 12 < len(contents(tmp_path / "out.mp4")[1]) <= FRAMES
    assert "damaged packets of" in capfd.readouterr().err


def test_upright_films_of_phones_are_upright(model, tmp_path):
    film = tmp_path / "film.mp4"
    make(film, audio=False)
    content = film.read_bytes()
    straight = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    header = content.index(b"tkhd")
    at = content.index(straight, header)
    by_a_quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    film.write_bytes(content[:at] + by_a_quarter + content[at + len(straight) :])
    lying = contents(film)[1][0]
    color(film, tmp_path / "out.mp4", model)
    frame = contents(tmp_path / "out.mp4")[1][0]
    assert frame.shape == (64, 48, 3)
    upright = rgb2lab(np.rot90(lying, -1))[..., 0]  # clockwise
    assert np.abs(rgb2lab(frame)[..., 0] - upright).mean() < 2


def test_files_that_are_not_films(model, tmp_path, monkeypatch):
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    for name, words in (
        ("absent.mp4", "cannot be read: No such"),
        ("sound.mkv", "has no video stream"),
    ):
        with pytest.raises(film_files.BadFilm, match=f"{name} {words}"):
            color(tmp_path / name, tmp_path / "out.mp4", model)
    assert [path.name for path in tmp_path.iterdir()] == ["sound.mkv"]
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'koalagan\[video\]'"):
        color(tmp_path / "sound.mkv", tmp_path / "out.mp4", model)


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


@pytest.mark.parametrize("times", [[0, 1, 2, 9, 10, 20, 35], [0, 10, 11]])
def test_frames_that_an_avi_drops_leave_their_gap(model, tmp_path, times):
    film = irregular(tmp_path / "film.avi", times, "mpeg4")
    color(film, tmp_path / "out.mkv", model)
    found, frames, _ = contents(tmp_path / "out.mkv")
    assert_times(found, [time / 10 for time in times])
    painted, source = (
        [rgb2lab(frame)[..., 0].mean() for frame in shown] for shown in (frames, contents(film)[1])
    )
    np.testing.assert_allclose(painted, source, atol=2)


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.mov"])
def test_the_last_frame_of_a_variable_rate_keeps_its_duration(model, tmp_path, name):
    film = irregular(tmp_path / name, [0, 3, 4, 10], last=50)
    color(film, tmp_path / "out" / name, model)
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


def test_tags_languages_dispositions_and_chapters_are_kept(model, tmp_path):
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
    color(film, result, model)
    with av.open(str(result)) as container:
        assert container.metadata["title"] == "Großmutter 1936"
        (audio,) = container.streams.audio
        assert audio.metadata["language"] == "deu" and audio.metadata["title"] == "Erzählung"
        assert audio.disposition == av.stream.Disposition.comment
        (chapter,) = container.chapters()
        assert chapter["metadata"]["title"] == "Ankunft"


def test_frames_in_color_are_kept_on_request(model, tmp_path):
    astronaut = skimage.data.astronaut()[:256, :256]
    with av.open(str(tmp_path / "film.mkv"), "w") as container:
        picture = container.add_stream("libx264", rate=10, options={"crf": "10"})
        picture.width, picture.height, picture.pix_fmt = 256, 256, "yuv444p"
        for colored in (False, True):
            gray = np.repeat(astronaut[..., 1:2], 3, axis=-1)
            shown = astronaut if colored else gray
            container.mux(picture.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(picture.encode())
    for keep_color in (False, True):
        target = str(tmp_path / f"{keep_color}.mkv")
        films.colorize(
            str(tmp_path / "film.mkv"), target, model, Rendering(), keep_color=keep_color
        )
        first, second = contents(target)[1]
        assert np.ptp(first.astype(int), axis=-1).mean() > 20  # painted
        unchanged = np.abs(second.astype(int) - astronaut).mean() < 5
        assert unchanged == keep_color


@pytest.mark.parametrize("name", ["film.mts", "film.3gp", "film.vob", "film"])
def test_films_are_known_by_their_contents(model, tmp_path, name):
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
    assert photos.colorize(model.path, tmp_path / "out", tmp_path / name) == {}
    (result,) = photos.tree(tmp_path / "out")
    assert len(contents(tmp_path / "out" / result)[1]) == 6
