# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""koala_scenes: the drawing and the TFDS builder."""

import socket

import numpy as np
import pytest
import tensorflow_datasets as tfds
from skimage import color

from koalagan.data.koala_scenes import KoalaScenes, drawing
from koalagan.data.koala_scenes.koala_scenes_dataset_builder import split_picture


class FewKoalaScenes(KoalaScenes, skip_registration=True):
    """The same dataset with few pictures, for speed."""

    PICTURES = {"train": 5, "validation": 3}


@pytest.fixture(scope="module")
def scenes() -> np.ndarray:
    return np.stack([drawing.draw_scene(np.random.default_rng([5, i]), 64) for i in range(96)])


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)


def test_a_seed_always_draws_the_same_picture_and_other_seeds_draw_others():
    first, again, other = (drawing.draw_scene(np.random.default_rng(s), 128) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 5


@pytest.mark.parametrize("size", [1, 2, 31, 256])
def test_any_size(size):
    for seed in range(4):
        picture = drawing.draw_scene(np.random.default_rng([size, seed]), size)
        assert picture.shape == (size, size, 3)
        assert picture.dtype == np.uint8


def test_size_must_be_positive():
    with pytest.raises(ValueError, match="size must be at least 1, not 0"):
        drawing.draw_scene(np.random.default_rng(0), 0)


def test_a_scene_is_the_same_at_every_size():
    for seed in range(4):
        large = drawing.draw_scene(np.random.default_rng([6, seed]), 128).astype(np.float64)
        small = drawing.draw_scene(np.random.default_rng([6, seed]), 32)
        averaged = large.reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
        assert np.abs(averaged - small).mean() < 12


def test_mean_colorfulness(scenes):
    red, green, blue = np.moveaxis(scenes.astype(np.float64), -1, 0)
    rg, yb = red - green, (red + green) / 2 - blue
    spread = np.hypot(rg.std(axis=(1, 2)), yb.std(axis=(1, 2)))
    shift = np.hypot(rg.mean(axis=(1, 2)), yb.mean(axis=(1, 2)))
    assert 35 < (spread + 0.3 * shift).mean() < 62


def test_lightness_varies_and_does_not_clip(scenes):
    lightness = color.rgb2lab(scenes)[..., 0]
    assert lightness.std(axis=(1, 2)).min() > 8
    assert np.mean((scenes == 255).all(axis=-1)) < 0.02
    assert np.mean((scenes == 0).all(axis=-1)) < 0.01


def test_color_can_be_predicted_from_lightness(scenes):
    """Least squares on a block's lightness, without its position, must beat any single color."""
    lab = color.rgb2lab(scenes)
    features, chroma = _block_features(lab[..., 0]), _block_means(lab[..., 1:])
    train, test = slice(0, 72), slice(72, 96)
    x, y = (a[train].reshape(-1, a.shape[-1]) for a in (features, chroma))
    weights, *_ = np.linalg.lstsq(x, y, rcond=None)
    error = np.abs(features[test] @ weights - chroma[test]).mean()
    gray = np.abs(chroma[test]).mean()
    one_color = np.abs(chroma[test] - np.median(y, axis=0)).mean()
    assert error < 0.85 * one_color
    assert error < 0.75 * gray


def _block_means(values: np.ndarray) -> np.ndarray:
    count, side = values.shape[:2]
    blocks = values.reshape(count, side // 8, 8, side // 8, 8, -1)
    return blocks.mean(axis=(2, 4))


def _block_features(lightness: np.ndarray) -> np.ndarray:
    """Level and roughness of each 8x8 block, along both axes, and their products."""
    planes = [lightness / 50 - 1]
    for axis in (1, 2):
        for step in (1, 2):
            planes.append(np.abs(np.roll(lightness, step, axis) - lightness) / 20)
    means = _block_means(np.stack(planes, axis=-1))
    means[..., 1:] = np.log(means[..., 1:] + 0.02)
    linear = np.concatenate([np.ones_like(means[..., :1]), means], axis=-1)
    products = linear[..., :, None] * linear[..., None, :]
    first, second = np.triu_indices(linear.shape[-1])
    return products[..., first, second]


def test_splits_have_different_pictures():
    train, validation = split_picture("train", 0), split_picture("validation", 0)
    assert np.abs(train.astype(int) - validation).mean() > 5
    np.testing.assert_array_equal(train, split_picture("train", 0))
    with pytest.raises(ValueError):
        split_picture("test", 0)


def test_tfds_finds_it_by_name(tmp_path):
    builder = tfds.builder("koala_scenes", data_dir=tmp_path)
    assert isinstance(builder, KoalaScenes)
    assert builder.PICTURES == {"train": 512, "validation": 64}
    assert builder.info.full_name == "koala_scenes/1.0.0"
    assert "Apache License 2.0" in builder.info.redistribution_info.license
    assert str(builder.version) in builder.release_notes


def test_prepares_without_a_network(tmp_path, no_network):
    builder = FewKoalaScenes(data_dir=tmp_path)
    builder.download_and_prepare()
    names = set()
    for split, count in FewKoalaScenes.PICTURES.items():
        assert builder.info.splits[split].num_examples == count
        for record in builder.as_dataset(split=split).as_numpy_iterator():
            name = record["id"].decode()
            names.add(name)
            drawn = split_picture(split, int(name.removeprefix(f"{split}-")))
            difference = np.abs(record["image"].astype(int) - drawn)
            assert difference.mean() < 4  # Only JPEG changes it.
    assert len(names) == 8
