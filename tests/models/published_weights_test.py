# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What all networks with published weights do with the values of their weights flags."""

import hashlib
import os
import socket
import time
import warnings

import h5py
import keras
import numpy as np
import pytest
import requests
import tensorflow as tf
from helpers.published import (
    EMBEDDING,
    RESNET18,
    SEGMENTATION,
    close_network,
    one_sentence,
    pictures,
    use_empty_caches,
)

from koalagan import precision
from koalagan.errors import UserError
from koalagan.models import downloads


@pytest.fixture(scope="module", params=[EMBEDDING, SEGMENTATION, RESNET18], ids=str)
def network(request):
    return request.param


@pytest.fixture(scope="module")
def model(network):
    """A model with its random weights, which tests leave as they are."""
    model = network.build()
    network.load(model, "random")
    return model


@pytest.fixture(scope="module")
def mixed(network):
    """A model built and loaded under another dtype policy."""
    before = keras.config.dtype_policy()
    with precision.policy("bfloat16"):
        model = network.build()
        network.load(model, "random")
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert keras.config.dtype_policy() == before
    return model


def refused(network, model, weights):
    """The error message of `load`, which must not have changed the model."""
    before = model.get_weights()
    with pytest.raises(UserError) as error, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as outside of pytest, where they are no errors
        network.load(model, str(weights))
    for weight, former in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, former)
    return one_sentence(error)


def refused_everywhere(network, model, weights):
    """The error messages of `load` and `fingerprint`."""
    texts = [refused(network, model, weights)]
    if network.frozen:
        with pytest.raises(UserError) as error:
            network.module.fingerprint(str(weights))
        texts.append(one_sentence(error))
    return texts


@pytest.mark.parametrize(
    "weights",
    ["", "none", "slim", "Random", "Imagenet", "PascalVOC", "resnet_18_imagenet", "hf://a/b"]
    + ["w.h5", "model.keras", "{}/folder"],
)
def test_other_values_are_refused(network, model, tmp_path, weights):
    weights = weights.format(tmp_path)
    for text in refused_everywhere(network, model, weights):
        for accepted in (f"{network.flag}={weights} ", *network.accepted):
            assert accepted in text


def test_missing_weights_file(network, model, tmp_path):
    path = tmp_path / "none.weights.h5"
    for text in refused_everywhere(network, model, path):
        assert f"there is no weights file {path}" in text and network.flag in text


def test_random_is_the_same_for_any_global_seed_and_leaves_it_alone(network, model):
    network.module.fetch("random")
    before = model.get_weights()
    if network.frozen:  # the others keep the weights that they were built with
        for weight in model.weights:
            weight.assign(tf.fill(weight.shape, np.nan))
    keras.utils.set_random_seed(1)
    np.random.seed(4)
    expected = np.random.random_sample()
    np.random.seed(4)
    network.load(model, "random")
    assert np.random.random_sample() == expected
    for weight, former in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, former)
        assert np.isfinite(weight).all()
    if network.frozen:
        assert network.module.fingerprint("random") == "random-v1"


def test_frozen_networks_are_float32_under_any_policy(network, model, mixed):
    assert [layer.name for layer in mixed.layers] == [layer.name for layer in model.layers]
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    dtypes = {layer.compute_dtype for layer in mixed._flatten_layers()}
    assert dtypes == ({"float32"} if network.frozen else {"float32", "bfloat16"})
    if network.frozen:
        actual = mixed(pictures(1))
        assert actual.dtype == tf.float32
        np.testing.assert_allclose(actual, model(pictures(1)), atol=1e-4)


def test_weights_file_is_loaded_into_another_model(network, model, mixed, tmp_path):
    path = tmp_path / "network.weights.h5"
    writer = network.writer(model)
    writer.save_weights(path)
    others = {id(weight): weight.numpy() for weight in mixed.weights}
    for weight in network.loaded(mixed).values():
        weight.assign(tf.zeros(weight.shape))
        del others[id(weight)]

    network.module.fetch(str(path))
    network.load(mixed, str(path))

    expected, actual = network.loaded(writer), network.loaded(mixed)
    assert actual.keys() == expected.keys()
    for key, weight in actual.items():
        np.testing.assert_array_equal(weight, expected[key])
    assert (len(others) == 0) == network.frozen
    for weight in mixed.weights:
        np.testing.assert_array_equal(weight, others.get(id(weight), weight))
    if network.frozen:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert network.module.fingerprint(str(path)) == f"file-{digest[:16]}"

    with h5py.File(path, "r+") as file:
        del file[f"layers/{network.layer}"]
    for damage in ("without a layer", "truncated"):
        if damage == "truncated":
            os.truncate(path, 1_000_000)
        with pytest.raises(UserError) as error, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network.load(mixed, str(path))
        assert f"{path} is damaged" in one_sentence(error) and network.flag in str(error.value)
    path.unlink()


def test_weights_file_of_another_network(network, model, tmp_path):
    path = tmp_path / "other.weights.h5"
    path.write_text("not HDF5")
    assert f"{path} is damaged" in refused(network, model, path)
    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Dense(3)(inputs)).save_weights(path, overwrite=True)
    assert f"{path} is damaged" in refused(network, model, path)


def test_download_without_a_network(network, model, monkeypatch, tmp_path):
    close_network(monkeypatch, tmp_path)
    start = time.monotonic()
    with pytest.raises(UserError) as error:
        network.module.fetch(network.published)
    assert time.monotonic() - start < 10.0
    for text in (one_sentence(error), refused(network, model, network.published)):
        for part in network.download:
            assert part in text
    assert not list(tmp_path.rglob("*.h5*"))
    if network.frozen:
        assert network.module.fingerprint(network.published) in ("imagenet", "pascalvoc-4")


def test_download_from_a_server_that_does_not_answer(network, monkeypatch, tmp_path):
    use_empty_caches(monkeypatch, tmp_path)
    monkeypatch.setattr(downloads, "TIMEOUT", 0.2)
    look_up, send = socket.getaddrinfo, requests.Session.send
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, _, *args, **kwargs: look_up("127.0.0.1", port, *args, **kwargs),
        )
        start = time.monotonic()
        with pytest.raises(UserError) as error:
            network.module.fetch(network.published)
        assert time.monotonic() - start < 10.0
        server.settimeout(1.0)
        server.accept()[0].close()  # a connection was made
    assert network.download[0] in one_sentence(error)
    # The time limit is for downloads only.
    assert requests.Session.send is send and socket.getdefaulttimeout() is None
