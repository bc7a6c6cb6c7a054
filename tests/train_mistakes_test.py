# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What a user may get wrong: one sentence each, and nothing is left behind that is in the way."""

import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from koalagan.data import pipeline, store_files
from koalagan.data.batches import for_networks
from koalagan.errors import UserError
from koalagan.models.frozen import inception_resnet_v2


def _refused(run, pattern, **given):
    with pytest.raises(UserError, match=pattern) as info:
        run(**given)
    assert "\n" not in str(info.value)
    assert not (run.workdir / "flags.txt").exists()


@pytest.mark.parametrize(
    "given, pattern",
    [
        ({"dataset": "cocoa/2017"}, "no dataset 'cocoa/2017'"),
        ({"dataset": "coco/2017"}, "--download"),
        ({"train_split": "test"}, "no split 'test'"),
        ({"train_split": "train[:99]"}, r"no split 'train\[:99\]'"),
        ({"data_dir": "/no/such/folder"}, "/no/such/folder does not exist"),
        ({"batch_size": 17}, "--batch_size=17 is larger than the 16 pictures"),
        ({"image_size": 100}, "multiple of 8"),
        ({"image_size": 16}, "at least 24"),
        ({"embedding_weights": "slim:/no/file.ckpt"}, "/no/file.ckpt"),
        ({"embedding_weights": "resnet"}, "embedding_weights"),
        ({"init_from": "/no/run"}, "/no/run"),
    ],
)
def test_mistakes_end_in_one_sentence(run, given, pattern):
    _refused(run, pattern, **given)


def test_a_folder_without_pictures(run, tmp_path):
    (tmp_path / "empty").mkdir()
    _refused(run, "holds no pictures", data_dir=tmp_path / "empty")


def test_a_mistake_leaves_no_folder(run):
    with pytest.raises(UserError, match="no split"):
        run(train_split="test")
    assert not run.workdir.exists()


def test_a_path_that_is_not_unicode(run):
    with pytest.raises(UserError, match="--data_dir=.* is not valid UTF-8: rename it"):
        run(data_dir="/tmp/\udcff")


@pytest.mark.parametrize(
    "given",
    [
        {"workdir": "gs://bucket/run"},
        {"store_dir": "s3://bucket/store"},
        {"data_dir": "gs://bucket/photographs"},
        {"init_from": "hdfs://host/run"},
        {"dataset": "coco/2017", "data_dir": "s3://bucket/tfds"},
    ],
)
def test_a_url_is_refused_before_anything_is_written(run, tmp_path, monkeypatch, given):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    _refused(run, "is a URL|cannot be reached|does not exist: correct --data_dir", **given)
    assert not any((tmp_path / "here").iterdir()) and not run.workdir.exists()


def test_a_corrupt_picture_is_named_or_skipped_and_counted(run, photographs, tmp_path, capsys):
    folder = tmp_path / "photographs"
    shutil.copytree(photographs, folder)
    (folder / "3.jpg").write_bytes((folder / "3.jpg").read_bytes()[:300])
    whole = {"data_dir": folder, "train_split": "train", "eval_split": "train", "epochs": 0}
    _refused(run, r"3\.jpg.*--on_bad_picture=skip", **whole)
    capsys.readouterr()
    assert run(**whole, on_bad_picture="skip") == 0
    assert "left out 1 of the 20 pictures of train" in capsys.readouterr().out
    result = run.metrics()
    assert result["rows"][0]["pictures"] == 19
    assert [os.path.basename(name) for name in result["data"]["skipped"]] == ["3.jpg"]


def test_weights_that_cannot_be_downloaded(run, tmp_path, monkeypatch):
    def no_network(*arguments, **options):
        raise OSError("Name or service not known")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(keras.utils, "get_file", no_network)
    monkeypatch.setattr(inception_resnet_v2, "build", lambda dtype: None)
    _refused(run, f"{tmp_path}/keras/models.*--embedding_weights", embedding_weights="imagenet")
    assert not any(name.endswith(".partial") for name in os.listdir(tmp_path / "store"))


def test_a_disk_too_small_for_the_store(run, monkeypatch):
    monkeypatch.setattr(
        store_files.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 1000)
    )
    _refused(run, "--store_dir")


def test_nan_losses_name_their_step_and_pictures(run, monkeypatch):
    batches = pipeline.training_batches

    def spoiled(store, first_step, **options):
        """Step 5, the second of the second epoch, gets NaN for a color."""

        def spoil(step, batch):
            batch = for_networks(batch)
            color = tf.where(step == 5, np.float32(np.nan), 0.0)
            return {**batch, "ab": batch["ab"] + color}

        steps = tf.data.Dataset.range(first_step, 1000)
        return tf.data.Dataset.zip(steps, batches(store, first_step=first_step, **options)).map(
            spoil
        )

    monkeypatch.setattr(pipeline, "training_batches", spoiled)
    with pytest.raises(UserError, match="step 5 are NaN or infinite.*loss_G_L1 nan") as info:
        run(check_every=1)
    rows = pipeline.training_rows(5, 16, batch_size=4, seed=0)
    (stored,) = (run.workdir.parent / "store").glob("*train__16*")
    names = (stored / "ids.txt").read_text().splitlines()
    for row in rows:
        assert f"{row} ({names[row]})" in str(info.value)
    # The epoch before it is kept, and nothing after.
    newest = tf.train.latest_checkpoint(str(run.workdir / "checkpoints"))
    assert newest.endswith("step-4")
    # From there, the run continues.
    monkeypatch.setattr(pipeline, "training_batches", batches)
    assert run(check_every=1) == 0
