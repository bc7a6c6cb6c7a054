# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import resource

import numpy as np
import pytest
import tensorflow as tf
from helpers import tiny
from tensorboard.plugins.hparams import metadata

from koalagan.errors import UserError
from koalagan.training import gan, summaries


def plain(level, count=3, height=20, width=48):
    pictures = np.zeros((count, height, width, 3), np.uint8)
    pictures[:] = np.arange(count).reshape(-1, 1, 1, 1) * 10 + level
    return pictures


def test_picture_grid_puts_every_picture_in_its_row_and_column():
    columns = {"grey": plain(0), "model": plain(100), "true": plain(200)}
    grid = summaries.picture_grid(columns)
    assert grid.dtype == np.uint8 and grid.shape[1:] == (4 + 3 * (48 + 4), 3)
    header = grid.shape[0] - 3 * (20 + 4)
    for column, pictures in enumerate(columns.values()):
        for row, picture in enumerate(pictures):
            top, left = header + row * 24, 4 + column * 52
            np.testing.assert_array_equal(grid[top : top + 20, left : left + 48], picture)
    # The gutters are white.
    assert (grid[header:, 52:56] == 255).all() and (grid[header + 20 : header + 24] == 255).all()


def test_picture_grid_writes_each_title_over_its_column():
    grid = summaries.picture_grid({"": plain(0), "grey": plain(0)})
    header = grid[: grid.shape[0] - 3 * 24]
    assert (header[:, :56] == 255).all()
    assert header[:, 56:].min() < 64  # Legible: some of it is nearly black.


def test_picture_grid_shows_the_first_rows_only():
    grid = summaries.picture_grid({"true": plain(0, count=5)}, max_rows=2)
    assert grid.shape[0] == summaries.picture_grid({"true": plain(0, count=2)}).shape[0]


@pytest.mark.parametrize("title", ["a_very_long_name_of_a_model_that_cannot_fit", "w" * 500])
def test_picture_grid_cuts_titles_that_are_too_wide(title):
    short = summaries.picture_grid({"short": plain(0), "": plain(0)})
    grid = summaries.picture_grid({title: plain(0), "": plain(0)})
    assert grid.shape == short.shape
    assert (grid[:10, 52:] == 255).all()  # Nothing runs into the next column.


def test_picture_grid_wants_columns_of_one_shape():
    with pytest.raises(ValueError):
        summaries.picture_grid({"one": plain(0), "two": plain(0, width=40)})


def test_event_files_hold_the_papers_losses_the_metrics_and_the_grid(tmp_path):
    model = tiny.gan()
    model.step.assign(40)  # a run that is continued
    model.compile(discriminator_every=2)
    data = tf.data.Dataset.from_tensors(tiny.batch()).repeat()
    log = summaries.TensorBoardLog(str(tmp_path), tiny.batch(seed=1), {}, every=2)
    history = model.fit(
        data,
        steps_per_epoch=4,
        epochs=2,
        validation_data=tf.data.Dataset.from_tensors(tiny.batch(seed=2)),
        verbose=0,
        shuffle=False,
        callbacks=[log],
    ).history
    train, validation = events(tmp_path / "train"), events(tmp_path / "validation")
    rates = {"learning_rate_G", "learning_rate_D", "pictures_per_second"}
    assert set(train) == {*gan.LOSSES, *gan.FACTS, *rates}
    assert all(list(points) == [42, 44, 46, 48] for points in train.values())
    assert train["learning_rate_D"][44] == np.float32(2e-4)
    assert all(0 <= rate <= 1 for rate in train["accuracy_D_real"].values())
    assert all(norm > 0 for norm in train["gradient_norm_G"].values())
    assert all(rate > 0 for rate in train["pictures_per_second"].values())
    # The epoch's mean is the mean of its points: each stands for its own steps alone.
    points = list(train["loss_G"].values())
    assert (points[0] + points[1]) / 2 == pytest.approx(history["loss_G"][0], rel=1e-5)
    assert (points[2] + points[3]) / 2 == pytest.approx(history["loss_G"][1], rel=1e-5)
    assert {"psnr", "psnr_pooled", "ssim", "colorfulness", *gan.LOSSES} <= set(validation)
    assert validation["psnr"][48] == pytest.approx(history["val_psnr"][1])
    (grids,) = (points for tag, points in validation.items() if "grey | predicted" in tag)
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
    log = summaries.TensorBoardLog(str(tmp_path), tiny.batch(count), {})
    log.set_model(model)
    log.on_epoch_end(0)
    found = events(tmp_path / "validation")
    width, height = map(int, next(points for tag, points in found.items() if "|" in tag)[0][:2])
    assert height // 192 == rows and width // 192 == (3 if count == 1 else 6)


def test_what_was_written_after_the_checkpoint_is_dropped(tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path / "train"))
    with writer.as_default():
        for step in (10, 20, 30):
            tf.summary.scalar("loss_G", step, step)
    writer.flush()
    (path,) = (tmp_path / "train").iterdir()
    path.write_bytes(path.read_bytes()[:-5])  # killed while it wrote
    summaries.TensorBoardLog(str(tmp_path), tiny.batch(), {}, steps=15).flush()
    assert events(tmp_path / "train") == {"loss_G": {10: 10.0}}


def test_a_point_of_the_checkpoints_own_step_is_not_written_twice(tmp_path):
    progress = {"logged_at": 10}
    writer = tf.summary.create_file_writer(str(tmp_path / "train"))
    with writer.as_default():
        tf.summary.scalar("loss_G", 1.0, 10)
        tf.summary.scalar("loss_G", 2.0, 12)  # at the epoch's end, after its checkpoint
    writer.flush()
    summaries.TensorBoardLog(str(tmp_path), tiny.batch(), progress, steps=12).flush()
    assert events(tmp_path / "train") == {"loss_G": {10: 1.0}}


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "tensorboard").write_text("")
    with pytest.raises(UserError, match="curves in .*tensorboard cannot be written"):
        summaries.TensorBoardLog(str(tmp_path / "tensorboard"), tiny.batch(), {})
    with pytest.raises(UserError, match="curves in .*tensorboard cannot be written"):
        summaries.write_result(str(tmp_path / "tensorboard"), "run", {}, {"psnr": 1.0})


def test_a_full_disk_is_said(tmp_path):
    model = tiny.gan()
    log = summaries.TensorBoardLog(str(tmp_path), tiny.batch(), {}, flags={"seed": "1" * 3000})
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


def test_a_run_that_begins_shows_its_flags_and_nothing_of_an_earlier_one(tmp_path):
    for seed in (1, 2):
        log = summaries.TensorBoardLog(str(tmp_path), tiny.batch(), {}, flags={"seed": seed})
        log.flush()
    (text,) = events(tmp_path / "train").values()
    assert b"| seed | 2 |" in text[0].item() and len(list((tmp_path / "train").iterdir())) == 1
    summaries.TensorBoardLog(str(tmp_path), tiny.batch(), {}, flags={"seed": 3}, steps=5).flush()
    assert events(tmp_path / "train")["flags"] == text


def test_finished_runs_compare_in_one_table(tmp_path):
    for psnr in (20.0, 21.5):
        row = {"model": "x", "pictures": 3, "psnr": psnr, "ssim": 0.9}
        flags = {"alpha": 1, "epochs": 3, "generator": "unet", "none": None}
        summaries.write_result(str(tmp_path), "mine", flags, row)
    (path,) = tmp_path.iterdir()
    told = {}
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        for value in tf.compat.v1.Event.FromString(record).summary.value:
            told[value.tag] = value
    assert tf.make_ndarray(told["final/psnr"].tensor) == 21.5 and "final/pictures" not in told
    experiment = metadata.parse_experiment_plugin_data(
        told[metadata.EXPERIMENT_TAG].metadata.plugin_data.content
    )
    assert {info.name.tag for info in experiment.metric_infos} == {"final/psnr", "final/ssim"}
    session = metadata.parse_session_start_info_plugin_data(
        told[metadata.SESSION_START_INFO_TAG].metadata.plugin_data.content
    )
    assert [info.name for info in experiment.hparam_infos][:2] == ["generator", "epochs"]
    assert session.hparams["epochs"].number_value == 3
    assert session.hparams["generator"].string_value == "unet"
