# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.pictures import picture
from helpers.published import write_keras_2_file

from koalagan.errors import UserError
from koalagan.models import efficientnet_lite, picture_features


def test_efficientnet_lite2_is_the_classifier_without_its_last_layer():
    version = efficientnet_lite.LITE2
    image = keras.Input((260, 260, 3))
    head = efficientnet_lite.head(efficientnet_lite.features(image, version)[-1])
    classifier = keras.Model(image, efficientnet_lite.logits(head))
    efficientnet_lite.load_published(classifier, version)
    rgb = np.stack([picture(seed, 260, 260) for seed in range(2)])
    features = picture_features.load("efficientnet_lite2")(tf.constant(rgb))
    assert features.shape == (2, 1280) and features.dtype == tf.float32
    kernel, bias = classifier.get_layer("logits").get_weights()
    expected = classifier(rgb.astype(np.float32) / 127.5 - 1.0, training=False)
    np.testing.assert_allclose(features.numpy() @ kernel + bias, expected, atol=1e-3)


def test_pictures_of_any_size():
    features = picture_features.load("efficientnet_lite2")
    assert features(tf.zeros([1, 32, 48, 3], tf.uint8)).shape == (1, 1280)


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path


def test_inception_v3_without_a_network(keras_home, monkeypatch):
    monkeypatch.setattr(picture_features, "_INCEPTION_URL", "file:///nothing/to/download")
    with pytest.raises(UserError, match="pass --features=efficientnet_lite2") as error:
        picture_features.load("inception_v3")
    path = keras_home / "models" / "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
    assert f"put the file from file:///nothing/to/download at {path}" in str(error.value)
    assert not path.exists()


def test_inception_v3_from_the_cache(keras_home):
    """A file in the format of the published one, which cannot be had here."""
    path = keras_home / "models" / "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
    path.parent.mkdir()
    network = keras.applications.InceptionV3(
        include_top=False, weights=None, input_shape=(299, 299, 3), pooling="avg"
    )
    write_keras_2_file(network, path)
    rgb = picture(0, 299, 299)[None]
    expected = network(rgb.astype(np.float32) / 127.5 - 1.0, training=False)
    features = picture_features.load("inception_v3")(tf.constant(rgb))
    assert features.shape == (1, 2048)
    np.testing.assert_allclose(features, expected, atol=1e-4)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="is damaged or is not Keras's Inception-v3"):
        picture_features.load("inception_v3")
