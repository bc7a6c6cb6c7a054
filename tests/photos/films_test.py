# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Films that the tests make: coloured, with their sound, size and times; killed and continued."""

import struct
import types
from fractions import Fraction

import av
import flicker
import keras
import numpy as np
import pytest
from skimage.color import rgb2lab

import koalagan
from koalagan import colorize, export
from koalagan.errors import UserError
from koalagan.photos import film_files, films

FRAMES = 23
RATE = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Paints by lightness, so that grain makes colours flicker."""
    L = keras.Input((None, None, 1), name="L")
    start = keras.initializers.Constant([[[[0.6, -0.4]]]])
    ab = keras.layers.Conv2D(2, 1, kernel_initializer=start, bias_initializer="zeros")(L)
    path = tmp_path_factory.mktemp("model") / "export"
    export.export_savedmodel(keras.Model({"L": L}, ab), None, str(path), (32, 32))
    return koalagan.load(path)


def make(path, *, sound=True, height=48, width=64, frames=FRAMES):
    """A film: a bright square that wanders over a dark ground, and a tone."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=RATE, options={"crf": "10"})
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        if sound:
            tone = container.add_stream("aac", rate=16000)
        for number in range(frames):
            grey = np.full((height, width, 3), 60, np.uint8)
            grey[10:30, number : number + 20] = 180
            container.mux(picture.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(picture.encode())
        if sound:
            samples = np.sin(np.arange(frames * 16000 // RATE) * 0.2).astype(np.float32)
            for start in range(0, len(samples), 1024):
                part = samples[None, start : start + 1024]
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = 16000, start
                container.mux(tone.encode(frame))
            container.mux(tone.encode())
    return str(path)


def contents(path):
    """Times in seconds and frames of the picture; what the sound's packets hold."""
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
def test_a_film_keeps_its_sound_size_and_times(model, tmp_path, name):
    film = make(tmp_path / name)
    target = tmp_path / f"out{film_files.ending(film)}"
    films.colorize(film, str(target), model, smoothing=0)
    times, frames, sound = contents(film)
    new_times, coloured, new_sound = contents(target)
    assert len(coloured) == FRAMES and coloured[0].shape == (48, 64, 3)
    assert_times(new_times, np.arange(FRAMES) / RATE if name.endswith("avi") else times)
    assert new_sound == sound and sound
    for grey, colour in zip(frames[::7], coloured[::7], strict=True):
        expected = rgb2lab(model.colorize(grey))
        got = rgb2lab(colour)
        # Chroma is shared by four pixels in a film, and compressed.
        assert np.abs(got[..., 0] - expected[..., 0]).mean() < 2
        assert np.abs(got[..., 1:] - expected[..., 1:]).mean() < 4
        assert np.abs(got[..., 1:]).mean() > 5
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_dts_sound_is_known_by_the_name_of_its_decoder(tmp_path):
    codec = types.SimpleNamespace(codec=av.Codec("dca", "r"))  # nothing here encodes it
    stream = types.SimpleNamespace(codec_context=codec)
    source = types.SimpleNamespace(name="a.mkv", streams=types.SimpleNamespace(audio=[stream]))
    film_files.check_sound(source, str(tmp_path / "b.mkv"))


@pytest.mark.parametrize("height, width", [(47, 64), (48, 63)])
def test_odd_sizes_are_kept(model, tmp_path, height, width):
    """Shared chroma has no such sizes: the film is one of another codec."""
    film = tmp_path / "film.mkv"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "gray"
        for level in (60, 90, 120):
            frame = np.full((height, width), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())
    films.colorize(str(film), str(tmp_path / "out.mkv"), model)
    _, frames, sound = contents(tmp_path / "out.mkv")
    assert [frame.shape for frame in frames] == [(height, width, 3)] * 3 and not sound


def test_varying_times_are_kept(model, tmp_path):
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
    films.colorize(str(film), str(tmp_path / "out.mkv"), model)
    assert_times(contents(tmp_path / "out.mkv")[0], [time / 1000 for time in times])


def test_a_film_that_was_stopped_is_continued(model, tmp_path, monkeypatch):
    film = make(tmp_path / "film.mp4")
    monkeypatch.setattr(films, "PART", 5)
    whole = tmp_path / "whole.mp4"
    films.colorize(film, str(whole), model)

    class Killed(BaseException):
        pass

    calls = []

    def die(self, rgb, *args, predict=koalagan.Colorizer.predict):
        calls.append(len(rgb))
        if sum(calls) > 12:
            raise Killed
        return predict(self, rgb, *args)

    target = tmp_path / "out" / "film.mp4"
    target.parent.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(koalagan.Colorizer, "predict", die)
        with pytest.raises(Killed):
            films.colorize(film, str(target), model, batch_size=2)
    assert not target.exists()
    coloured = []

    def count(self, rgb, *args, predict=koalagan.Colorizer.predict):
        coloured.append(len(rgb))
        return predict(self, rgb, *args)

    monkeypatch.setattr(koalagan.Colorizer, "predict", count)
    films.colorize(film, str(target), model)
    assert sum(coloured) == FRAMES - 10  # two parts were whole
    assert list(target.parent.iterdir()) == [target]
    expected, found = contents(whole), contents(target)
    assert found[0] == expected[0] and found[2] == expected[2]
    for one, other in zip(expected[1], found[1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_settings_start_anew(model, tmp_path, monkeypatch):
    film = make(tmp_path / "film.mp4", sound=False)
    parts = tmp_path / ".out.mp4.parts"
    parts.mkdir()
    (parts / "state.json").write_text('{"settings": {}, "frames": [5]}')
    films.colorize(film, str(tmp_path / "out.mp4"), model)
    assert len(contents(tmp_path / "out.mp4")[1]) == FRAMES


def test_smoothing_quiets_what_stands_still_and_follows_what_moves():
    rng = np.random.default_rng(0)
    L = np.zeros((8, 8, 1))
    smoother = films.Smoother(0.8)
    predictions = rng.normal(0, 0.1, (40, 8, 8, 2))
    smoothed = [smoother(L, ab) for ab in predictions]
    change = [np.abs(np.diff(series[5:], axis=0)).mean() for series in (predictions, smoothed)]
    # Of an exponential mean: (1 - s) times sqrt(2 / (1 + s)) of sqrt(2) of the noise.
    assert change[1] / change[0] == pytest.approx(0.2 / np.sqrt(1.8), rel=0.15)
    moved = smoother(L + 0.5, predictions[0])
    np.testing.assert_allclose(moved, predictions[0], atol=1e-6)
    np.testing.assert_array_equal(films.Smoother(0)(L, predictions[1]), predictions[1])


def test_flicker_is_measured(model):
    found = flicker.measure(flicker.made_film(8, (48, 64)), model, [0.0, 0.8], 8)
    assert found[0.0][1] == 0 and found[0.8][1] > 0
    assert found[0.8][0] < 0.7 * found[0.0][0]


def test_colorize_takes_films_beside_photographs(model, tmp_path, capfd):
    film = make(tmp_path / "film.mp4", frames=3)
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    left_out = colorize.colorize_files(
        saved_model=model.path,
        photographs=[film, str(tmp_path / "broken.mp4")],
        output_dir=str(tmp_path / "out"),
    )
    assert list(left_out) == [str(tmp_path / "broken.mp4")]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["film.mp4"]
    assert "1 of 2 pictures were left out" in capfd.readouterr().err


def test_sound_that_the_result_cannot_hold_is_named_before_any_work(model, tmp_path):
    with av.open(str(tmp_path / "film.avi"), "w") as container:
        picture = container.add_stream("mpeg4", rate=RATE)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "yuv420p"
        sound = container.add_stream("pcm_mulaw", rate=8000, layout="mono")
        grey = np.full((32, 32, 3), 90, np.uint8)
        container.mux(picture.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(picture.encode())
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    with pytest.raises(film_files.BadFilm, match="sound of the kind pcm_mulaw, which .mkv files"):
        films.colorize(str(tmp_path / "film.avi"), str(tmp_path / "out.mkv"), model)
    assert [path.name for path in tmp_path.iterdir()] == ["film.avi"]


def test_a_damaged_part_is_left_out(model, tmp_path, capfd):
    film = tmp_path / "film.mp4"
    make(film, sound=False)
    with av.open(str(film)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    position, size = packets[9]
    content = bytearray(film.read_bytes())
    content[position : position + size] = bytes(size)
    film.write_bytes(content)
    films.colorize(str(film), str(tmp_path / "out.mp4"), model)
    assert 12 < len(contents(tmp_path / "out.mp4")[1]) <= FRAMES
    assert "damaged parts of" in capfd.readouterr().err


def test_films_of_upright_telephones_stand_upright(model, tmp_path):
    film = tmp_path / "film.mp4"
    make(film, sound=False)
    content = film.read_bytes()
    straight = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    header = content.index(b"tkhd")
    at = content.index(straight, header)
    by_a_quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    film.write_bytes(content[:at] + by_a_quarter + content[at + len(straight) :])
    lying = contents(film)[1][0]
    films.colorize(str(film), str(tmp_path / "out.mp4"), model)
    frame = contents(tmp_path / "out.mp4")[1][0]
    assert frame.shape == (64, 48, 3)
    upright = rgb2lab(np.rot90(lying, -1))[..., 0]  # clockwise
    assert np.abs(rgb2lab(frame)[..., 0] - upright).mean() < 2


def test_what_is_no_film(model, tmp_path, monkeypatch):
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    for name, words in (("absent.mp4", "cannot be read: No such"), ("sound.mkv", "has no picture")):
        with pytest.raises(film_files.BadFilm, match=f"{name} {words}"):
            films.colorize(str(tmp_path / name), str(tmp_path / "out.mp4"), model)
    assert [path.name for path in tmp_path.iterdir()] == ["sound.mkv"]
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'koalagan\[video\]'"):
        films.colorize(str(tmp_path / "sound.mkv"), str(tmp_path / "out.mp4"), model)
