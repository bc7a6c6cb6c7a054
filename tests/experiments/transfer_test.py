# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""A generator's encoder as a classifier."""

import json

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import transfer
from helpers import runs
from helpers.marked_pictures import write_marked_pictures

from koalagan.color import lab
from koalagan.errors import UserError
from koalagan.models import GENERATORS


def test_average_precision_by_hand():
    labels, scores = np.array([1, 0, 1, 0, 1]), np.array([0.9, 0.8, 0.7, 0.6, 0.1])
    expected = (1 / 1 + 2 / 3 + 3 / 5) / 3
    assert transfer.average_precision(labels, scores) == pytest.approx(expected)
    assert transfer.average_precision(labels, labels) == 1.0


def test_average_precision_of_ties_does_not_depend_on_the_order():
    """As scikit-learn has it: the sum of the recall that each score adds times its precision."""
    labels, scores = np.array([1, 0, 1, 0, 0, 1]), np.array([2.0, 2.0, 1.0, 1.0, 1.0, 0.0])
    expected = 1 / 3 * 1 / 2 + 1 / 3 * 2 / 5 + 1 / 3 * 3 / 6
    for order in (slice(None), slice(None, None, -1)):
        got = transfer.average_precision(labels[order], scores[order])
        assert got == pytest.approx(expected)
    assert transfer.average_precision(labels, np.zeros(6)) == pytest.approx(0.5)


def test_measures_are_over_the_classes_that_occur():
    labels = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    logits = np.array([[2.0, 1.0, -1.0], [-3.0, 0.5, -1.0]])
    got = transfer.measure(labels, logits)
    # The second class is found second; the third never occurs.
    assert got == {"mAP": pytest.approx((1.0 + 0.5) / 2), "accuracy": pytest.approx(5 / 6)}


@pytest.mark.parametrize("name", transfer._ENCODERS)
def test_the_classifier_has_the_generators_encoder(name):
    side = 32
    options = {"inception_fusion": {"segmentation": False}, "unet": {"levels": 5}}.get(name, {})
    generator = GENERATORS[name](side, **options)
    layer = transfer._ENCODERS[name].format(**options)
    model = transfer.classifier(generator, layer, 7)
    assert model(tf.zeros([2, side, side, 1])).shape == (2, 7)
    own = [w for w in model.weights if not any(w is other for other in generator.weights)]
    assert [w.path for w in own] == ["classes/kernel", "classes/bias"]
    shared = {w.path.split("/")[0] for w in model.trainable_weights}
    assert not any(path.startswith(("decoder", "up_", "fusion")) for path in shared)


def test_pictures_keep_the_order_that_they_are_asked_for_in():
    rgb = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((2, 2, 3), np.uint8) * 50
    pictures = transfer.Pictures(rgb, np.array([4, 1, 3]), np.zeros((3, 1), np.float32))
    L = pictures.lightness(np.array([2, 0]))
    np.testing.assert_array_equal(L, lab.lightness(rgb[[3, 4]]))


def test_the_first_epochs_train_the_last_layer_alone():
    keras.utils.set_random_seed(0)
    generator = GENERATORS["unet"](256)
    model = transfer.classifier(generator, "down_8", 2)
    before = [w.numpy() for w in model.weights]
    pictures = transfer.Pictures(
        np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), np.uint8),
        np.array([2, 0]),
        np.eye(2, dtype=np.float32),
    )
    options = dict(seed=0, batch_size=2, rate=1e-3, advance=lambda: None)
    transfer.train(model, pictures, epochs=1, frozen_epochs=1, **options)
    changed = {
        w.path for w, old in zip(model.weights, before, strict=True) if np.any(w.numpy() != old)
    }
    assert changed == {"classes/kernel", "classes/bias"}
    transfer.train(model, pictures, epochs=1, frozen_epochs=0, **options)
    assert np.any(model.get_layer("down_1").kernel.numpy() != before[0])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run = runs.Trainer(runs.write_photographs(tmp_path_factory.mktemp("photographs")), folder)
    assert run(epochs=0, pretrain_epochs=1) == 0
    write_marked_pictures(str(folder / "tfds"))
    return run


def _settings(run, **changes):
    given = dict(
        workdir=str(run.workdir),
        dataset="marked_pictures",
        data_dir=str(run.workdir.parent / "tfds"),
        train_split="train",
        eval_split="train",
        epochs=4,
        batch_size=2,
        seeds="0,1",
        output=str(run.workdir / "transfer.json"),
    )
    return transfer.Settings(**given | changes)


def test_from_scratch_and_from_colorization(run, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    transfer.main(_settings(run), [])
    printed = capsys.readouterr().out
    # One of the three pictures shows nothing, and the class of the crowd occurs nowhere else.
    assert "inception_fusion at 32x32: 2 pictures, 1 classes, 4 epochs" in printed
    result = json.loads((run.workdir / "transfer.json").read_text())
    starts = {start: len(values) for start, values in result["results"].items()}
    assert starts == {"never": 1, "from scratch": 2, "from colorization": 2}
    assert result["results"]["never"][0] == {"mAP": 1.0, "accuracy": 0.0}
    for start in (*starts, "colorization minus scratch"):
        assert f"| {start} | {starts.get(start, 2)} | " in printed


def test_the_two_trainings_of_a_seed_are_compared():
    """Seeds differ by much, and what coloring adds in each of them by little."""
    scratch = np.array([0.3, 0.4, 0.5])
    more = np.array([0.019, 0.020, 0.021])
    results = {
        "from scratch": [{"mAP": one, "accuracy": 0.9} for one in scratch],
        "from colorization": [{"mAP": one, "accuracy": 0.9} for one in scratch + more],
    }
    facts = dict.fromkeys(
        ("generator", "image_size", "training_pictures", "classes", "epochs", "evaluated_pictures")
    )
    text = transfer.report({**facts, "results": results})
    low, high = scipy.stats.ttest_1samp(more, 0).confidence_interval(0.95)
    assert f"| colorization minus scratch | 3 | +0.020 ({low:+.3f} to {high:+.3f}) | +0.000" in text


def test_a_diverged_training_is_not_measured():
    with pytest.raises(UserError, match="its training diverged"):
        transfer.measure(np.ones((2, 1)), np.array([[np.nan], [1.0]]))


def test_what_cannot_be_transferred(run):
    with pytest.raises(UserError, match="marks no objects"):
        folder = {"dataset": "folder", "data_dir": str(run._photographs)}
        transfer.main(_settings(run, **folder), [])
    with pytest.raises(UserError, match="the folder of --output=.* does not exist"):
        transfer.main(_settings(run, output="/nowhere/x.json"), [])
    with pytest.raises(UserError, match="is a folder: name a file"):
        transfer.main(_settings(run, output=str(run.workdir)), [])
    with pytest.raises(UserError, match="--seeds=a,b must be numbers"):
        transfer.main(_settings(run, seeds="a,b"), [])
    for seeds in ("0,0", "-1", "4294967296"):
        with pytest.raises(UserError, match="must be different numbers from 0"):
            transfer.main(_settings(run, seeds=seeds), [])


def test_a_run_that_knew_something_before_it_colored(run, tmp_path):
    flags = (run.workdir / "flags.txt").read_text()
    for given, pattern in (
        ("--generator=resnet18_unet\n--backbone_weights=imagenet", "did not start from scratch"),
        ("--init_from=koala", "without --init_from"),
    ):
        (tmp_path / "flags.txt").write_text(f"{flags}\n{given}\n")
        with pytest.raises(UserError, match=pattern):
            transfer.compare(_settings(run, workdir=str(tmp_path)), [0])
