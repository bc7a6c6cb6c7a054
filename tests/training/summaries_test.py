# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import resource

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import tiny
from helpers.tensorboard import events
from tensorboard.plugins.hparams import metadata

from koalagan.errors import UserError
from koalagan.training import step_means, summaries
from koalagan.training.state import RunState


def test_curves_pictures_and_histograms(tmp_path):
    model = tiny.gan()
    model.step.assign(40)  # a continued run
    model.compile(discriminator_every=2)
    data = tf.data.Dataset.from_tensors(tiny.batch()).repeat()
    log = summaries.TensorBoardLog(str(tmp_path), tiny.batch(seed=1), RunState(), every=2)
    sums = []

    def keep_sums(logs):
        """Keeps the epoch's sums of what validation will measure anew."""
        sums_now = model.step_means.sums().items()
        sums.append({name: value for name, value in sums_now if name in step_means.FACTS})

    history = model.fit(
        data,
        steps_per_epoch=4,
        epochs=2,
        validation_data=tf.data.Dataset.from_tensors(tiny.batch(seed=2)),
        verbose=0,
        shuffle=False,
        callbacks=[keras.callbacks.LambdaCallback(on_test_begin=keep_sums), log],
    ).history
    train, validation = events(tmp_path / "train"), events(tmp_path / "validation")
    rates = {"learning_rate_G", "learning_rate_D", "pictures_per_second"}
    assert set(train) == {*step_means.LOSSES, *step_means.FACTS, *rates}
    assert all(list(points) == [42, 44, 46, 48] for points in train.values())
    assert train["learning_rate_D"][44] == np.float32(2e-4)
    for name, (total, steps) in sums[-1].items():
        # Half of the epoch's steps lie before each of its two points.
        assert train[name][46] + train[name][48] == pytest.approx(2 * total / steps, rel=1e-5)
    assert all(norm > 0 for norm in train["gradient_norm_G"].values())
    assert all(rate > 0 for rate in train["pictures_per_second"].values())
    # The epoch's mean is the mean of its points: each stands for its own steps alone.
    points = list(train["loss_G"].values())
    assert (points[0] + points[1]) / 2 == pytest.approx(history["loss_G"][0], rel=1e-5)
    assert (points[2] + points[3]) / 2 == pytest.approx(history["loss_G"][1], rel=1e-5)
    assert {"psnr", "psnr_pooled", "ssim", "colorfulness", *step_means.LOSSES} <= set(validation)
    assert validation["psnr"][48] == pytest.approx(history["val_psnr"][1])
    (grids,) = (points for tag, points in validation.items() if "gray | predicted" in tag)
    assert list(grids) == [44, 48]
    width, height = int(grids[48][0]), int(grids[48][1])
    decoded = tf.io.decode_png(grids[48][2])
    assert decoded.shape == (height, width, 3) and decoded.shape[0] > 2 * 192
    assert decoded.shape[1] > 6 * 192
    assert {"a*/predicted", "a*/true", "b*/predicted", "b*/true"} <= set(validation)
    low, high, _ = validation["a*/true"][48].T
    ab = tiny.batch(seed=1)["ab"].numpy()
    assert low.min() == pytest.approx(110 * ab[..., 0].min(), abs=0.01)
    assert high.max() == pytest.approx(110 * ab[..., 0].max(), abs=0.01)


@pytest.mark.parametrize("count, rows", [(1, 1), (3, 2), (4, 2)])
def test_the_grid_of_few_pictures(tmp_path, count, rows):
    model = tiny.gan()
    log = summaries.TensorBoardLog(str(tmp_path), tiny.batch(count), RunState())
    log.set_model(model)
    log.on_epoch_end(0)
    found = events(tmp_path / "validation")
    width, height = map(int, next(points for tag, points in found.items() if "|" in tag)[0][:2])
    assert height // 192 == rows and width // 192 == (3 if count == 1 else 6)


def test_events_after_the_checkpoint_are_deleted(tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path / "train"))
    with writer.as_default():
        for step in (10, 20, 30):
            tf.summary.scalar("loss_G", step, step)
    writer.flush()
    (path,) = (tmp_path / "train").iterdir()
    path.write_bytes(path.read_bytes()[:-5])  # killed while writing
    summaries.TensorBoardLog(str(tmp_path), tiny.batch(), RunState(), steps=15).flush()
    assert events(tmp_path / "train") == {"loss_G": {10: 10.0}}


def test_a_point_of_the_checkpoints_own_step_is_not_written_twice(tmp_path):
    state = RunState(logged_at=10)
    writer = tf.summary.create_file_writer(str(tmp_path / "train"))
    with writer.as_default():
        tf.summary.scalar("loss_G", 1.0, 10)
        tf.summary.scalar("loss_G", 2.0, 12)  # at the epoch's end, after its checkpoint
    writer.flush()
    summaries.TensorBoardLog(str(tmp_path), tiny.batch(), state, steps=12).flush()
    assert events(tmp_path / "train") == {"loss_G": {10: 1.0}}


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "tensorboard").write_text("")
    with pytest.raises(UserError, match="curves in .*tensorboard cannot be written"):
        summaries.TensorBoardLog(str(tmp_path / "tensorboard"), tiny.batch(), RunState())
    with pytest.raises(UserError, match="curves in .*tensorboard cannot be written"):
        summaries.write_result(str(tmp_path / "tensorboard"), "run", {}, {"psnr": 1.0})


def test_a_full_disk(tmp_path):
    model = tiny.gan()
    log = summaries.TensorBoardLog(
        str(tmp_path), tiny.batch(), RunState(), flags={"seed": "1" * 3000}
    )
    log.set_model(model)
    log.on_epoch_begin(0)
    model.step.assign(10)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(UserError, match="cannot be written .*: free some disk"):
            log.on_train_batch_end(0)
            log.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_new_run_shows_its_flags_and_nothing_of_an_earlier_one(tmp_path):
    for seed in (1, 2):
        log = summaries.TensorBoardLog(
            str(tmp_path), tiny.batch(), RunState(), flags={"seed": seed}
        )
        log.flush()
    (text,) = events(tmp_path / "train").values()
    assert b"| seed | 2 |" in text[0].item() and len(list((tmp_path / "train").iterdir())) == 1
    summaries.TensorBoardLog(
        str(tmp_path), tiny.batch(), RunState(), flags={"seed": 3}, steps=5
    ).flush()
    assert events(tmp_path / "train")["flags"] == text


def test_finished_runs_compare_in_one_table(tmp_path):
    for psnr in (20.0, 21.5):
        row = {"model": "x", "pictures": 3, "psnr": psnr, "ssim": 0.9}
        flags = {"alpha": 1, "epochs": 3, "generator": "unet", "none": None}
        summaries.write_result(str(tmp_path), "mine", flags, row)
    (path,) = tmp_path.iterdir()
    found = {}
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        for value in tf.compat.v1.Event.FromString(record).summary.value:
            found[value.tag] = value
    assert tf.make_ndarray(found["final/psnr"].tensor) == 21.5 and "final/pictures" not in found
    experiment = metadata.parse_experiment_plugin_data(
        found[metadata.EXPERIMENT_TAG].metadata.plugin_data.content
    )
    assert {info.name.tag for info in experiment.metric_infos} == {"final/psnr", "final/ssim"}
    session = metadata.parse_session_start_info_plugin_data(
        found[metadata.SESSION_START_INFO_TAG].metadata.plugin_data.content
    )
    assert [info.name for info in experiment.hparam_infos][:2] == ["generator", "epochs"]
    assert session.hparams["epochs"].number_value == 3
    assert session.hparams["generator"].string_value == "unet"
