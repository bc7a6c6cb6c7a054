# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What a classifier sees in color pictures: features whose distributions can be compared.

Input: sRGB pictures, uint8 [B,H,W,3] of any size. Output: float32 [B,D].

- `efficientnet_lite2`: the 1280 channels before the classifier, averaged over a picture resized to
  260x260. Its weights come by pip.
- `inception_v3`: the 2048 channels before the classifier of `keras.applications.InceptionV3`, of a
  picture resized to 299x299. Keras publishes its weights for download. The FID of most papers is
  computed from another training of this network (TF-Slim's of 2015): values of the two differ.

Pictures are resized bilinearly with antialiasing; both networks take values in [-1,1].
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from koalagan import precision
from koalagan.errors import UserError, one_line
from koalagan.models import downloads, efficientnet_lite
from koalagan.models.channels import channels_last
from koalagan.models.weights import LOADING_ERRORS

_INCEPTION_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
_INCEPTION_URL = (
    f"https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/{_INCEPTION_FILE}"
)
_INCEPTION_MD5 = "bcbd6486424b2319ff4ef7d526e38f63"


def _efficientnet_lite2() -> keras.Model:
    version = efficientnet_lite.LITE2
    image = keras.Input((version.image_size, version.image_size, 3))
    head = efficientnet_lite.head(efficientnet_lite.features(image, version)[-1])
    features = keras.layers.GlobalAveragePooling2D()(head)
    model = keras.Model(image, features)
    efficientnet_lite.load_published(model, version)
    return model


def _fetch_inception_v3() -> str:
    return downloads.fetch_keras_file(
        _INCEPTION_FILE, _INCEPTION_URL, _INCEPTION_MD5, ", or pass --features=efficientnet_lite2"
    )


def _inception_v3() -> keras.Model:
    path = _fetch_inception_v3()
    try:
        return keras.applications.InceptionV3(
            include_top=False, weights=path, input_shape=(299, 299, 3), pooling="avg"
        )
    except LOADING_ERRORS as error:
        raise UserError(
            f"{path} is damaged or is not Keras's Inception-v3 ({one_line(error)}): delete it to "
            f"have it downloaded from {_INCEPTION_URL}, or pass --features=efficientnet_lite2."
        ) from error


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that gives features.

    Attributes:
        title: how tables call it.
        fetch: makes sure that its weights are on disk; returns their path.
        load: builds it with its weights.
    """

    title: str
    fetch: Callable[[], Any]
    load: Callable[[], keras.Model]


NETWORKS = {
    "efficientnet_lite2": Network(
        "EfficientNet-Lite2",
        lambda: efficientnet_lite.published_file(efficientnet_lite.LITE2),
        _efficientnet_lite2,
    ),
    "inception_v3": Network("Inception-v3", _fetch_inception_v3, _inception_v3),
}


def fetch(name: str) -> None:
    """Downloads the weights of a network of `NETWORKS` where they are neither installed nor cached.

    Raises:
        UserError: they cannot be downloaded, or their package is missing.
    """
    NETWORKS[name].fetch()


def load(name: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """The features of a network of `NETWORKS`, as a function of pictures.

    Raises:
        UserError: its weights cannot be downloaded or read.
    """
    with precision.policy("float32"):
        network = channels_last()(NETWORKS[name].load)()
    network.trainable = False
    size = network.input_shape[1:3]

    @tf.function(autograph=False, reduce_retracing=True)
    def features(rgb: tf.Tensor) -> tf.Tensor:
        image = tf.image.resize(tf.cast(rgb, tf.float32), size, "bilinear", antialias=True)
        return network(image / 127.5 - 1.0, training=False)

    return features
