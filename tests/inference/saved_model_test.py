# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Loading SavedModels, and their names in tables."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import saved_models

from koalagan.errors import UserError
from koalagan.inference import saved_model


def test_predictor_calls_predict_ab(tmp_path):
    predict = saved_model.predictor(saved_models.save(tmp_path))
    L = np.random.default_rng(0).uniform(-1, 1, (2, 5, 7, 1)).astype(np.float32)
    np.testing.assert_allclose(
        predict(tf.constant(L)), np.concatenate([0.1 * L, 0.2 * L], axis=-1), rtol=1e-6
    )


def test_predictor_refuses_what_it_cannot_use(tmp_path):
    def refuse(path, match):
        with pytest.raises(UserError, match=match) as raised:
            saved_model.predictor(str(path))(tf.zeros([1, 16, 16, 1]))
        assert "\n" not in str(raised.value)

    refuse(tmp_path / "absent", "no SavedModel in .*absent")
    foreign = saved_models.save(tmp_path / "foreign", name="serve")
    refuse(foreign, "foreign has no signature predict_ab")
    other = saved_models.save(tmp_path / "other", output="color")
    refuse(other, "other has no signature predict_ab")
    fixed = saved_models.save(tmp_path / "fixed", size=(8, 8))
    refuse(fixed, "fixed does not take pictures of 16x16.*--image_size")
    saved_models.save(tmp_path / "broken")
    (tmp_path / "broken" / "saved_model.pb").write_bytes(b"not a graph")
    refuse(tmp_path / "broken", "broken cannot be read")
    saved_models.save(tmp_path / "half")
    for part in (tmp_path / "half" / "variables").iterdir():
        part.unlink()
    refuse(tmp_path / "half", "half cannot be read")


def test_models_are_named_after_their_run():
    paths = ["runs/a/export", "models/b", "c/export/", "/x/d", "/y/d", "/x/true", "/x/gray"]
    names = saved_model.names(paths)
    assert list(names) == ["a", "b", "c", "/x/d", "/y/d", "/x/true", "/x/gray"]
    assert names["a"] == "runs/a/export"


def test_untrained_networks_are_part_of_the_name(tmp_path):
    one = tmp_path / "run" / "export"
    saved_models.write_facts(one, embedding_weights="random", segmentation_weights="none")
    other = tmp_path / "other"
    saved_models.write_facts(other, segmentation_weights="random", backbone_weights="random")
    assert list(saved_model.names([str(one), str(other)])) == [
        "run (random embedding)",
        "other (random segmentation and backbone)",
    ]


def test_the_network_of_the_embedding_is_part_of_the_name(tmp_path):
    facts = {
        "lite2": {"embedding": "efficientnet_lite2", "embedding_weights": "imagenet"},
        "paper": {
            "embedding": "inception_resnet_v2",
            "embedding_weights": "slim:/x",
            "segmentation_weights": "random",
        },
        "untrained": {"embedding": "efficientnet_lite2", "embedding_weights": "random"},
        "unet": {"embedding": "inception_resnet_v2", "embedding_weights": "none"},
    }
    for name, known in facts.items():
        saved_models.write_facts(tmp_path / name, **known)
    assert list(saved_model.names([str(tmp_path / name) for name in facts])) == [
        "lite2 (efficientnet_lite2 embedding)",
        "paper (inception_resnet_v2 embedding, random segmentation)",
        "untrained (random efficientnet_lite2 embedding)",
        "unet",
    ]
