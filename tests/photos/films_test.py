# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Coloring films: colors, audio and timestamps; interrupted and continued."""

import sys

import av
import numpy as np
import pytest
import skimage.data
from helpers import photos
from helpers.films import FRAMES, RATE, assert_times, color, contents, make
from skimage.color import rgb2lab

from koalagan.errors import UserError
from koalagan.inference import colorizer
from koalagan.photos import film_files, film_kinds, films
from koalagan.photos.settings import Rendering


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.avi"])
def test_a_film_keeps_its_audio_size_and_timestamps(lightness_model, tmp_path, name):
    film = make(tmp_path / name)
    target = tmp_path / f"out{film_kinds.result_extension(film)}"
    color(film, target, lightness_model, smoothing=0)
    times, frames, sound = contents(film)
    new_times, colored, new_sound = contents(target)
    assert len(colored) == FRAMES and colored[0].shape == (48, 64, 3)
    assert_times(new_times, np.arange(FRAMES) / RATE if name.endswith("avi") else times)
    assert new_sound == sound and sound
    for gray, result in zip(frames[::7], colored[::7], strict=True):
        expected = rgb2lab(lightness_model.colorize(gray))
        got = rgb2lab(result)
        # Films subsample chroma, four pixels to one, and compress it.
        assert np.abs(got[..., 0] - expected[..., 0]).mean() < 2
        assert np.abs(got[..., 1:] - expected[..., 1:]).mean() < 4
        assert np.abs(got[..., 1:]).mean() > 5
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_interrupted_film_is_continued(lightness_model, tmp_path, monkeypatch):
    film = make(tmp_path / "film.mp4")
    monkeypatch.setattr(films, "PART", 5)
    whole = tmp_path / "whole.mp4"
    color(film, whole, lightness_model)

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
            color(film, target, lightness_model, batch_size=2)
    assert not target.exists()
    colored = []

    def count(self, rgb, *args, predict=colorizer.Colorizer.predict):
        colored.append(len(rgb))
        return predict(self, rgb, *args)

    monkeypatch.setattr(colorizer.Colorizer, "predict", count)
    color(film, target, lightness_model)
    assert sum(colored) == FRAMES - 10  # two parts were finished
    assert list(target.parent.iterdir()) == [target]
    expected, found = contents(whole), contents(target)
    assert found[0] == expected[0] and found[2] == expected[2]
    for one, other in zip(expected[1], found[1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_settings_start_over(lightness_model, tmp_path, monkeypatch):
    film = make(tmp_path / "film.mp4", audio=False)
    parts = tmp_path / ".out.mp4.parts"
    parts.mkdir()
    (parts / "state.json").write_text('{"settings": {}, "frames": [5]}')
    color(film, tmp_path / "out.mp4", lightness_model)
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


def test_colorize_takes_films_beside_photographs(lightness_model, tmp_path, capfd):
    film = make(tmp_path / "film.mp4", frames=3)
    (tmp_path / "broken.mp4").write_bytes(b"not a film")
    broken = tmp_path / "broken.mp4"
    failed = photos.colorize(lightness_model.path, tmp_path / "out", film, broken)
    assert list(failed) == [str(broken)]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["film.mp4"]
    assert "1 of 2 files could not be colored" in capfd.readouterr().err


def test_audio_that_the_result_does_not_support_is_refused_before_any_work(
    lightness_model, tmp_path
):
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
        color(tmp_path / "film.avi", tmp_path / "out.mkv", lightness_model)
    assert [path.name for path in tmp_path.iterdir()] == ["film.avi"]


def test_files_that_are_not_films(lightness_model, tmp_path, monkeypatch):
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
            color(tmp_path / name, tmp_path / "out.mp4", lightness_model)
    assert [path.name for path in tmp_path.iterdir()] == ["sound.mkv"]
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'koalagan\[video\]'"):
        color(tmp_path / "sound.mkv", tmp_path / "out.mp4", lightness_model)


def shots(path, *frames):
    """A film of frames, uint8 [H, W, 3], without loss of color."""
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=10, options={"crf": "10"})
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv444p"
        for frame in frames:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(picture.encode())
    return str(path)


def test_shots_in_color_are_kept_on_request(lightness_model, tmp_path):
    colored = skimage.data.astronaut()[:256, :256]
    gray = np.repeat(skimage.data.camera()[:256, :256, None], 3, axis=-1)
    film = shots(tmp_path / "film.mkv", gray, gray, colored, colored)
    for keep_color in (False, True):
        target = str(tmp_path / f"{keep_color}.mkv")
        films.colorize(film, target, lightness_model, Rendering(), keep_color=keep_color)
        frames = contents(target)[1]
        assert all(np.ptp(frame.astype(int), axis=-1).mean() > 20 for frame in frames[:2])
        for frame in frames[2:]:
            assert (np.abs(frame.astype(int) - colored).mean() < 5) == keep_color


def test_a_pale_frame_does_not_flicker_in_a_shot(lightness_model, tmp_path, monkeypatch):
    """Also where the film was stopped in the middle of the shot."""
    colored = skimage.data.astronaut()[:256, :256]
    pale = np.repeat(colored.mean(axis=-1, keepdims=True), 3, axis=-1).astype(np.uint8)
    film = shots(tmp_path / "film.mkv", *[colored] * 4, pale, colored)
    monkeypatch.setattr(films, "PART", 4)
    add, parts = films._Parts.add, []

    def stop(self, *given):
        if parts:
            raise KeyboardInterrupt
        parts.append(add(self, *given))

    monkeypatch.setattr(films._Parts, "add", stop)
    target = str(tmp_path / "out.mkv")
    with pytest.raises(KeyboardInterrupt):
        films.colorize(film, target, lightness_model, Rendering(), keep_color=True)
    monkeypatch.setattr(films._Parts, "add", add)
    films.colorize(film, target, lightness_model, Rendering(), keep_color=True)
    frames = contents(target)[1]
    assert len(frames) == 6
    assert np.ptp(frames[4].astype(int), axis=-1).mean() < 5  # left as it is
