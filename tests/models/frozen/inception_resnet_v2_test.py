# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The embedding network at its real size, compared to TF-Slim's written in plain tf.nn."""

import hashlib
import os
import shutil

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.published import graph, one_sentence, pictures, write_keras_2_file
from helpers.slim import SlimNetwork, training_variables, write_checkpoint, write_v2

from koalagan.errors import UserError
from koalagan.models.frozen import inception_resnet_v2

IMAGENET_FILE = "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels.h5"


@pytest.fixture(scope="module")
def model():
    return inception_resnet_v2.build()


@pytest.fixture(scope="module")
def forward(model):
    return graph(model)


@pytest.fixture(scope="module")
def random_weights(model):
    """Drawn once: that takes longer than setting them."""
    inception_resnet_v2.load_weights(model, "random")
    return model.get_weights()


@pytest.fixture
def random_model(model, random_weights):
    model.set_weights(random_weights)
    return model


@pytest.fixture(scope="module")
def slim():
    """(lightness, the slim network's logits for it, the network's variables)"""
    lightness = pictures(height=120, width=120, seed=3)[:, :, 10:80]
    network = SlimNetwork(seed=5)
    rgb = tf.image.grayscale_to_rgb(tf.image.resize(lightness, (299, 299)))
    return lightness, network.logits(rgb).numpy(), network.values


@pytest.fixture
def big_folder(tmp_path):
    """A folder for files of 200 MB, which pytest would keep for three runs."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def test_is_the_published_network_frozen(model):
    assert model.input_shape == (None, None, None, 1)
    assert model.output_shape == (None, 1001)
    # 55,873,736 with Keras's 1000 classes, plus 1536 weights and a bias of the background class.
    assert model.count_params() == 55_873_736 + 1537
    assert not model.trainable and not model.trainable_weights


@pytest.mark.parametrize("height,width", [(96, 64), (450, 310)])
def test_any_size_is_resized_bilinearly(random_model, forward, height, width):
    lightness = pictures(1, 512, 512)[:, :height, :width]
    resized = tf.image.resize(lightness, (299, 299), "bilinear")
    actual = forward(lightness)
    assert actual.shape == (1, 1001)
    np.testing.assert_allclose(actual, forward(resized), atol=1e-4)
    antialiased = tf.image.resize(lightness, (299, 299), "bilinear", antialias=True)
    if height > 299:  # the comparison above would notice antialiasing
        assert np.abs(actual - forward(antialiased)).max() > 1e-2


def test_training_changes_nothing(random_model, forward):
    lightness = pictures(2)
    expected = forward(lightness)
    np.testing.assert_allclose(random_model(lightness, training=True), expected, atol=1e-4)
    np.testing.assert_array_equal(forward(lightness), expected)


def test_random_logits_are_of_order_one_and_differ_between_pictures(random_model, forward):
    logits = forward(pictures(8))
    assert np.isfinite(logits).all()
    assert 0.3 < logits.std() < 5.0
    assert np.abs(logits.mean()) < 0.2
    assert logits.std(axis=0).mean() > 0.1
    distances = np.linalg.norm(logits[:, None] - logits[None], axis=-1) / 1001**0.5
    assert distances[np.triu_indices(8, 1)].min() > 0.05


def test_random_has_these_weights(random_model):
    """Golden values: a change here changes every prepared store and needs a new "random-v.."."""
    first = random_model.get_layer("Conv2d_1a_3x3").kernel.numpy()
    last = random_model.get_layer("logits").kernel.numpy()
    np.testing.assert_allclose(first[0, 0, 0, :3], [0.21144815, -0.5349006, -0.27385905], rtol=1e-6)
    np.testing.assert_allclose(last[0, :3], [-0.13515821, 0.13986012, -0.16940628], rtol=1e-6)


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_slim_checkpoint_gives_slims_logits(model, forward, slim, big_folder, version):
    lightness, expected, values = slim
    path = big_folder / "inception_resnet_v2_2016_08_30.ckpt"
    leftovers = training_variables()
    write_checkpoint(path, values | leftovers, getattr(tf.compat.v1.train.SaverDef, version))
    assert path.is_file() == (version == "V1")
    assert len(values) == len(model.weights)
    for weight in model.weights:
        weight.assign(tf.fill(weight.shape, np.nan))

    inception_resnet_v2.load_weights(model, f"slim:{path}")

    actual = forward(lightness)
    assert expected.std() > 0.1 and np.abs(expected[0] - expected[1]).max() > 0.1
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * expected.std())
    # Each variable of the checkpoint is in the network exactly once.
    digests = sorted(hashlib.sha256(value.tobytes()).digest() for value in values.values())
    loaded = sorted(hashlib.sha256(weight.numpy().tobytes()).digest() for weight in model.weights)
    assert loaded == digests

    digest = hashlib.sha256()
    for file in sorted(big_folder.iterdir(), key=lambda file: ".index" not in file.name):
        digest.update(file.read_bytes())
    assert inception_resnet_v2.fingerprint(f"slim:{path}") == f"slim-{digest.hexdigest()[:16]}"


@pytest.mark.parametrize(
    "name,replacement",
    [
        ("InceptionResnetV2/Repeat_1/block17_7/Branch_1/Conv2d_0b_1x7/BatchNorm/beta", None),
        ("InceptionResnetV2/Repeat_2/block8_3/Conv2d_1x1/biases", np.zeros(5, np.float32)),
        ("InceptionResnetV2/Conv2d_2b_3x3/weights", np.zeros((3, 3, 32, 64), np.float64)),
        ("InceptionResnetV2/Conv2d_1a_3x3/BatchNorm/gamma", np.ones(32, np.float32)),
        ("InceptionV4/Conv2d_1a_3x3/weights", np.ones((3, 3, 3, 32), np.float32)),
    ],
    ids=["missing", "other shape", "other type", "unknown", "another network's"],
)
def test_slim_checkpoint_that_does_not_fit(random_model, slim, big_folder, name, replacement):
    values = dict(slim[2])
    values.pop(name, None)
    if replacement is not None:
        values[name] = replacement
    write_v2(big_folder / "model.ckpt", values)
    before = random_model.get_layer("logits").kernel.numpy()

    with pytest.raises(UserError) as error:
        inception_resnet_v2.load_weights(random_model, f"slim:{big_folder / 'model.ckpt'}")

    assert name in one_sentence(error)
    np.testing.assert_array_equal(random_model.get_layer("logits").kernel, before)


def test_slim_checkpoint_that_cannot_be_read(model, slim, big_folder):
    (big_folder / "text.ckpt").write_text("weights" * 1000)
    write_v2(big_folder / "whole.ckpt", slim[2])
    shutil.copy(big_folder / "whole.ckpt.index", big_folder / "no_data.ckpt.index")
    shutil.copy(big_folder / "whole.ckpt.index", big_folder / "cut.ckpt.index")
    data = "ckpt.data-00000-of-00001"
    shutil.copy(big_folder / f"whole.{data}", big_folder / f"cut.{data}")
    os.truncate(big_folder / f"cut.{data}", 1_000_000)
    for name in ("text.ckpt", "no_data.ckpt", "cut.ckpt"):
        with pytest.raises(UserError) as error:
            inception_resnet_v2.load_weights(model, f"slim:{big_folder / name}")
        assert str(big_folder / name) in one_sentence(error)
        assert "cannot be read" in one_sentence(error)
    with pytest.raises(UserError, match="without .index") as error:
        inception_resnet_v2.load_weights(model, f"slim:{big_folder / 'whole.ckpt.index'}")
    one_sentence(error)


@pytest.mark.parametrize("name", ["none.ckpt", ""])
def test_missing_slim_checkpoint(model, tmp_path, name):
    path = f"{tmp_path}/{name}" if name else str(tmp_path)
    for call in (
        lambda: inception_resnet_v2.load_weights(model, f"slim:{path}"),
        lambda: inception_resnet_v2.fingerprint(f"slim:{path}"),
    ):
        with pytest.raises(UserError) as error:
            call()
        assert f"there is no TF-Slim checkpoint {path}" in one_sentence(error)


@pytest.fixture(scope="module")
def imagenet_file(tmp_path_factory):
    """(a weights file in Keras 2's format, its network's logits for pictures(1, 80, 80))"""
    network = keras.applications.InceptionResNetV2(
        weights=None, classes=1000, classifier_activation=None
    )
    path = tmp_path_factory.mktemp("imagenet") / IMAGENET_FILE
    write_keras_2_file(network, path)
    rgb = tf.image.grayscale_to_rgb(tf.image.resize(pictures(1, 80, 80), (299, 299)))
    yield path, network(rgb, training=False).numpy()
    shutil.rmtree(path.parent)


@pytest.fixture
def keras_home(monkeypatch, big_folder):
    monkeypatch.setenv("KERAS_HOME", str(big_folder))
    return big_folder


def assert_holds_imagenet(forward, expected):
    actual = forward(pictures(1, 80, 80))
    assert expected.std() > 0.1
    np.testing.assert_allclose(actual[:, 1:], expected, rtol=0, atol=1e-4 * expected.std())
    np.testing.assert_array_equal(actual[:, 0], 0.0)


def test_imagenet_file_in_the_keras_cache(model, forward, imagenet_file, keras_home, monkeypatch):
    path, expected = imagenet_file
    cached = keras_home / "models" / IMAGENET_FILE
    cached.parent.mkdir()
    os.link(path, cached)
    monkeypatch.setattr(inception_resnet_v2, "IMAGENET_URL", "file:///nothing/to/download")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inception_resnet_v2.load_weights(model, "imagenet")
    finally:
        keras.config.set_dtype_policy(before)
    assert_holds_imagenet(forward, expected)
    # The fingerprint distinguishes it from the file that Keras publishes.
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert inception_resnet_v2.fingerprint("imagenet") == f"imagenet-{digest[:16]}"


def test_imagenet_is_downloaded_into_the_keras_cache(model, imagenet_file, keras_home, monkeypatch):
    path, _ = imagenet_file
    monkeypatch.setattr(inception_resnet_v2, "IMAGENET_URL", path.as_uri())
    assert inception_resnet_v2.fingerprint("imagenet") == "imagenet"

    with pytest.raises(UserError):  # refused, because it is not the published file
        inception_resnet_v2.load_weights(model, "imagenet")
    cached = keras_home / "models" / IMAGENET_FILE
    assert not cached.exists()

    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(inception_resnet_v2, "IMAGENET_MD5", md5)
    inception_resnet_v2.fetch("imagenet")
    assert cached.read_bytes() == path.read_bytes()
    assert [file.name for file in cached.parent.iterdir()] == [IMAGENET_FILE]
    assert inception_resnet_v2.fingerprint("imagenet") == "imagenet"


@pytest.mark.parametrize("damage", ["cut", "another network's"])
def test_damaged_imagenet_file_in_the_cache(model, imagenet_file, keras_home, damage):
    cached = keras_home / "models" / IMAGENET_FILE
    cached.parent.mkdir()
    if damage == "cut":
        shutil.copy(imagenet_file[0], cached)
        os.truncate(cached, 1_000_000)
    else:
        with h5py.File(cached, "w") as file:
            file.attrs["layer_names"] = [b"dense"]
            file.create_group("dense").attrs["weight_names"] = [b"dense/kernel:0"]
            file["dense"].create_dataset("dense/kernel:0", data=np.zeros((2, 3), np.float32))
    with pytest.raises(UserError) as error:
        inception_resnet_v2.load_weights(model, "imagenet")
    assert str(cached) in one_sentence(error)
    assert cached.exists()  # deleting it is up to the user
