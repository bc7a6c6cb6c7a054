# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The command from pictures to table, on pictures of 32 pixels."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from absl import flags
from helpers.tensorboard import events
from PIL import Image

from koalagan import export, train
from koalagan.data import pipeline, store_files
from koalagan.errors import UserError
from koalagan.inference import saved_model
from koalagan.models.frozen import embedding
from koalagan.training import checkpoint, gan, run_flags, run_folder


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Windows of two photographs, 20 files."""
    folder = tmp_path_factory.mktemp("photographs")
    astronaut, coffee = skimage.data.astronaut(), skimage.data.coffee()
    for number in range(20):
        picture = (astronaut, coffee)[number % 2][number * 10 :][:160, number * 10 :][:, :200]
        Image.fromarray(picture).save(folder / f"{number}.jpg")
    return folder


@pytest.fixture
def run(photographs, tmp_path):
    """Trains with small defaults; keyword arguments are further flags."""

    def train_with(**given):
        values = {
            "workdir": tmp_path / "run",
            "dataset": "folder",
            "data_dir": photographs,
            "train_split": "train[:16]",
            "eval_split": "train[16:]",
            "store_dir": tmp_path / "store",
            "image_size": 32,
            "embedding_weights": "none",
            "segmentation_weights": "none",
            "batch_size": 4,
            "pretrain_epochs": 1,
            "epochs": 1,
            "mixed_precision": "float32",
            **given,
        }
        settings = flags.FlagValues()
        run_flags.define_run_flags(settings)
        settings(["train", *(f"--{name}={value}" for name, value in values.items() if value != "")])
        return train.train(settings)

    train_with.workdir = tmp_path / "run"
    return train_with


def command(module, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", f"koalagan.{module}", *map(str, arguments)],
        capture_output=True,
        text=True,
        **options,
    )


def test_both_phases_leave_everything_a_run_consists_of(run, capsys):
    assert run() == 0
    folder = run.workdir
    assert {"flags.txt", "checkpoints", "tensorboard", "export", "metrics.json", "grid.png"} <= set(
        os.listdir(folder)
    )
    rows = json.loads((folder / "metrics.json").read_text())["rows"]
    assert [row["model"] for row in rows] == ["grey", "run"] and rows[1]["pictures"] == 4
    written = events(folder / "tensorboard" / "validation")
    assert {*gan.LOSSES, "psnr", "ssim", "colorfulness"} <= set(written)
    assert list(written["psnr"]) == [4, 8]  # 16 pictures, batch 4, one epoch in each phase
    told = capsys.readouterr().out
    for part in ("epoch 1/2 pretraining", "epoch 2/2 adversarial", "| grey", "grid.png", "export"):
        assert part in told
    assert "tensorboard --logdir" in told and "pictures/s" in told


def test_a_finished_run_is_measured_again_and_not_trained_again(run, capsys):
    run()
    before = json.loads((run.workdir / "metrics.json").read_text())
    capsys.readouterr()
    assert run() == 0
    assert "epoch" not in capsys.readouterr().out
    assert json.loads((run.workdir / "metrics.json").read_text())["rows"] == before["rows"]


def test_init_from_starts_from_the_other_runs_generator(run, tmp_path, capsys):
    run(epochs=0, pretrain_epochs=6, pretrain_learning_rate=1e-3)
    trained = json.loads((run.workdir / "metrics.json").read_text())["rows"][1]
    other = tmp_path / "other"
    run(workdir=other, init_from=run.workdir, epochs=0, pretrain_learning_rate=0)
    again = json.loads((other / "metrics.json").read_text())["rows"][1]
    assert {**again, "model": ""} == {**trained, "model": ""}


def test_training_learns_the_pictures_it_sees(run):
    run(
        eval_split="train[:16]",
        pretrain_epochs=25,
        epochs=0,
        pretrain_learning_rate=1e-3,
        mixed_precision="auto",  # bfloat16, but not where it is emulated, which takes minutes
    )
    grey, trained = json.loads((run.workdir / "metrics.json").read_text())["rows"]
    assert trained["psnr_pooled"] > grey["psnr_pooled"] + 1
    assert trained["colorfulness"] > 10


@pytest.mark.slow
@pytest.mark.parametrize(
    "generator, image_size, mixed_precision, options",
    [
        ("koalarization", 32, "float16", {"pixel_loss": "l2"}),
        ("unet", 256, "auto", {"discriminator_every": 1, "gan_loss": "lsgan"}),
        (
            "resnet18_unet",
            32,
            "float16",
            {"backbone_weights": "random", "conditional_discriminator": "false"},
        ),
    ],
)
def test_every_generator_is_trained_exported_and_measured(
    run, generator, image_size, mixed_precision, options
):
    given = dict.fromkeys(["embedding_weights", "segmentation_weights"], "none") | options
    assert (
        run(
            generator=generator,
            image_size=image_size,
            mixed_precision=mixed_precision,
            train_split="train[:2]",
            eval_split="train[18:]",
            batch_size=2,
            **given,
        )
        == 0
    )
    rows = json.loads((run.workdir / "metrics.json").read_text())["rows"]
    label = "run (random backbone)" if generator == "resnet18_unet" else "run"
    assert [row["model"] for row in rows] == ["grey", label]
    assert all(np.isfinite(rows[1][name]) for name in ("psnr_pooled", "ssim", "ciede2000"))
    settings = run_folder.read_flags(str(run.workdir))
    assert settings.pixel_loss == options.get("pixel_loss", "l1")
    built = train.build(settings)
    assert built.discriminator.input_shape[-1] == (2 if generator == "resnet18_unet" else 3)

    colorize = saved_model.load(str(run.workdir / "export"), "serving_default", "colorized")
    picture = skimage.data.astronaut()[None, :100, :150]
    first = colorize(image=picture)
    assert first.shape == picture.shape
    np.testing.assert_array_equal(colorize(image=picture), first)
    noisy = str(run.workdir / "noisy")
    if generator != "unet":
        with pytest.raises(UserError, match="dropout_at_inference is for other generators"):
            export.export_run(str(run.workdir), noisy, dropout_at_inference=True)
        return
    export.export_run(str(run.workdir), noisy, dropout_at_inference=True)
    colorize = saved_model.load(noisy, "serving_default", "colorized")
    assert np.any(colorize(image=picture) != colorize(image=picture))


@pytest.mark.slow
def test_from_photographs_to_coloured_ones_by_the_commands(photographs, tmp_path):
    """train (random frozen networks) -> evaluate -> export -> colorize, each in its own process."""
    # In the home folder, which shells leave to the program where it stands behind a flag.
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    flagfile = tmp_path / "tiny.flags"
    flagfile.write_text(
        "# A comment.\n--dataset=folder\n--train_split=train[:4]\n--eval_split=train[18:]\n"
        "--image_size=32\n--embedding_weights=random\n--segmentation_weights=random\n"
        f"--batch_size=2\n--pretrain_epochs=1\n--epochs=1\n--workdir=~/run\n--data_dir={photographs}\n"
    )
    trained = command("train", f"--flagfile={flagfile}", env=environment)
    assert trained.returncode == 0, trained.stderr
    assert "run (random embedding and segmentation)" in trained.stdout
    assert f"{tmp_path}/cache/koalagan" in trained.stdout
    assert "Traceback" not in trained.stderr and "remapper" not in trained.stderr

    evaluated = command(
        "evaluate",
        "--saved_model=~/run/export",
        "--dataset=folder",
        f"--data_dir={photographs}",
        "--split=train[18:]",
        "--output_dir=~/evaluation",
        env=environment,
    )
    assert evaluated.returncode == 0, evaluated.stderr
    by_train = json.loads((tmp_path / "run" / "metrics.json").read_text())["rows"]
    assert json.loads((tmp_path / "evaluation" / "metrics.json").read_text())["rows"] == by_train

    exported = command("export", "--workdir=~/run", "--output_dir=~/saved", env=environment)
    assert exported.returncode == 0, exported.stderr
    described = json.loads((tmp_path / "saved" / "assets.extra" / "koalagan.json").read_text())
    assert described["embedding_weights"] == "random" and described["image_size"] == [32, 32]

    coloured = command(
        "colorize",
        "--saved_model=~/saved",
        "--output_dir=~/out",
        "--recolor",  # they are drawings in colour
        photographs,
        env=environment,
    )
    assert coloured.returncode == 0, coloured.stderr
    assert len(os.listdir(tmp_path / "out")) == 20
    with Image.open(tmp_path / "out" / "0.png") as picture:
        assert picture.size == (200, 160)


@pytest.mark.slow
def test_a_stopped_training_is_continued_by_the_same_command(photographs, tmp_path):
    arguments = [
        "--dataset=folder",
        f"--data_dir={photographs}",
        "--train_split=train",
        "--eval_split=train[:4]",
        "--image_size=32",
        "--embedding_weights=none",
        "--segmentation_weights=none",
        "--batch_size=4",
        "--pretrain_epochs=40",
        "--epochs=0",
        "--mixed_precision=float32",
        f"--workdir={tmp_path}/run",
        f"--store_dir={tmp_path}/store",
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "koalagan.train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        for line in process.stdout:
            if line.startswith("epoch 3/40"):
                break
        process.send_signal(signal.SIGINT)
        told = process.stdout.read()
    assert process.returncode == 128 + signal.SIGINT
    assert "stopped by SIGINT" in told and "the same command continues" in told
    stopped_at = int(told.split("after step ")[1].split(",")[0])
    assert 15 <= stopped_at < 200

    started = time.monotonic()
    again = command("train", *arguments)
    assert again.returncode == 0, again.stderr
    assert f"continuing {tmp_path}/run at step {stopped_at}" in again.stdout
    assert "prepare train" not in again.stderr and time.monotonic() - started < 300
    steps = sorted(events(tmp_path / "run" / "tensorboard" / "validation")["loss_G"])
    assert steps == list(range(5, 201, 5))  # every epoch once


# What a user may get wrong: one sentence each, and nothing is left behind that stands in the way.


def test_pictures_that_change_under_a_run_stop_its_continuation(run, photographs, tmp_path):
    folder = tmp_path / "photographs"
    shutil.copytree(photographs, folder)
    run(data_dir=folder, epochs=0)
    os.utime(folder / "3.jpg", (1, 1))
    with pytest.raises(UserError, match="has changed since it began"):
        run(data_dir=folder, epochs=0)


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
        ({"image_size": 100}, "divides by 8"),
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


def test_a_corrupt_picture_is_named_or_skipped_and_counted(run, photographs, tmp_path, capsys):
    folder = tmp_path / "photographs"
    shutil.copytree(photographs, folder)
    (folder / "3.jpg").write_bytes((folder / "3.jpg").read_bytes()[:300])
    whole = {"data_dir": folder, "train_split": "train", "eval_split": "train", "epochs": 0}
    _refused(run, r"3\.jpg.*--on_bad_picture=skip", **whole)
    capsys.readouterr()
    assert run(**whole, on_bad_picture="skip") == 0
    assert "left out 1 of the 20 pictures of train" in capsys.readouterr().out
    result = json.loads((run.workdir / "metrics.json").read_text())
    assert result["rows"][0]["pictures"] == 19
    assert [os.path.basename(name) for name in result["data"]["skipped"]] == ["3.jpg"]


def test_weights_that_cannot_be_downloaded(run, tmp_path, monkeypatch):
    def no_network(*arguments, **options):
        raise OSError("Name or service not known")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(keras.utils, "get_file", no_network)
    monkeypatch.setattr(embedding, "build", lambda: None)
    _refused(run, f"{tmp_path}/keras/models.*--embedding_weights", embedding_weights="imagenet")
    assert not any(name.endswith(".partial") for name in os.listdir(tmp_path / "store"))


def test_losses_that_are_no_numbers_name_their_step_and_pictures(run, monkeypatch, photographs):
    batches = pipeline.training_batches

    def spoiled(store, first_step, **options):
        """Step 5, the second of the second epoch, gets a colour that is no number."""

        def spoil(step, batch):
            colour = tf.where(step == 5, np.float32(np.nan), 0.0)
            return {**batch, "ab": batch["ab"] + colour}

        steps = tf.data.Dataset.range(first_step, 1000)
        return tf.data.Dataset.zip(steps, batches(store, first_step=first_step, **options)).map(
            spoil
        )

    monkeypatch.setattr(pipeline, "training_batches", spoiled)
    with pytest.raises(UserError, match="step 5 are no numbers.*loss_G_L1 nan") as info:
        run(check_every=1)
    rows = pipeline.training_rows(5, 16, batch_size=4, seed=0)
    (stored,) = (run.workdir.parent / "store").glob("*train__16*")
    names = (stored / "ids.txt").read_text().splitlines()
    for row in rows:
        assert f"{row} ({names[row]})" in str(info.value)
    # The epoch before it is kept, and nothing after.
    newest = tf.train.latest_checkpoint(str(run.workdir / "checkpoints"))
    assert newest.endswith("step-4")
    monkeypatch.setattr(pipeline, "training_batches", batches)
    assert run(check_every=1) == 0


def test_two_processes_do_not_train_in_one_folder(run):
    run(epochs=0)
    with run_folder.alone(str(run.workdir)):
        with pytest.raises(UserError, match="another process is training"):
            run(epochs=0)


def test_early_stopping_ends_the_last_phase_and_the_best_is_exported(run, capsys, tmp_path):
    given = {
        "pretrain_epochs": 1,
        "epochs": 6,
        "generator_learning_rate": 0,  # no epoch is better than the first
        "early_stopping": 2,
    }
    assert run(**given) == 0
    told = capsys.readouterr().out
    assert "epoch 4/7" in told and "epoch 5/7" not in told
    assert "stopped after epoch 4: --early_stopping=2" in told
    assert run(**given) == 0
    assert "epoch 4/7" not in capsys.readouterr().out  # still out of patience
    export.export_run(str(run.workdir), str(tmp_path / "best"), best=True)
    assert (tmp_path / "best" / "saved_model.pb").exists()
    names = {path.name for path in (run.workdir / "checkpoints").glob("*.index")}
    assert names == {"best-8.index", "step-12.index", "step-16.index"}


def test_early_stopping_leaves_the_last_phase_its_epochs(run, capsys):
    # Pretraining's best epoch is its first of three.
    given = {"pretrain_epochs": 3, "epochs": 2, "pretrain_learning_rate": 0, "early_stopping": 2}
    assert run(**given) == 0
    assert "epoch 5/5 adversarial" in capsys.readouterr().out


def test_a_mistake_leaves_no_folder(run):
    with pytest.raises(UserError, match="no split"):
        run(train_split="test")
    assert not run.workdir.exists()


def test_a_disk_too_small_for_the_store(run, monkeypatch):
    monkeypatch.setattr(
        store_files.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 1000)
    )
    _refused(run, "--store_dir")


def test_a_run_is_not_read_while_another_process_trains_it(run, monkeypatch):
    run(epochs=0)
    monkeypatch.setattr(checkpoint.RunCheckpoint, "restore", lambda self: pytest.fail("read"))
    with run_folder.alone(str(run.workdir)), pytest.raises(UserError, match="another process"):
        run(epochs=0)


def test_a_path_that_is_no_text(run):
    with pytest.raises(UserError, match="--data_dir=.* is not text in UTF-8: rename it"):
        run(data_dir="/tmp/\udcff")


def test_a_workdir_of_other_flags(run):
    run(epochs=0)
    with pytest.raises(UserError, match=r"--seed=0 \(now 5\)"):
        run(epochs=0, seed=5)


@pytest.mark.skipif(
    not os.environ.get("KOALAGAN_COCO_DIR"), reason="KOALAGAN_COCO_DIR does not name COCO 2017"
)
def test_on_real_coco_pictures(run):
    assert (
        run(
            dataset="coco/2017",
            data_dir=os.environ["KOALAGAN_COCO_DIR"],
            train_split="train[:12]",
            eval_split="validation[:6]",
        )
        == 0
    )
    data = json.loads((run.workdir / "metrics.json").read_text())["data"]
    assert data["dataset"].startswith("coco/2017") and data["pictures"] == 6


def test_unknown_flags_and_arguments_exit_1_without_a_traceback():
    for argument, sentence in (
        ("--pretrain_epoch=3", "Unknown command line flag 'pretrain_epoch'"),
        ("--epochs=many", "epochs"),
        ("photo.jpg", "takes only flags"),
    ):
        refused = command("train", argument)
        assert refused.returncode == 1 and sentence in refused.stderr
        assert "Traceback" not in refused.stderr


def test_seed_decides_the_result(run, tmp_path, monkeypatch):
    # Only the training is looked at.
    monkeypatch.setattr(train.export, "export_run", lambda *arguments: None)
    monkeypatch.setattr(train.saved_model, "predictor", lambda path: None)
    monkeypatch.setattr(train.evaluate, "evaluate_models", lambda *_, **__: {"rows": [{}, {}]})
    monkeypatch.setattr(train.model_card, "write", lambda *arguments: None)
    monkeypatch.setattr(train.evaluate, "format_table", lambda result: "")
    kernels = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(workdir=tmp_path / name, seed=seed, pretrain_epochs=0)
        settings = run_folder.read_flags(str(tmp_path / name))
        generator = run_flags.build_generator(settings, 32)
        checkpoint.restore_generator(generator, str(tmp_path / name))
        kernels.append(generator.get_layer("encoder_1").kernel.numpy())
    np.testing.assert_allclose(kernels[0], kernels[1], atol=1e-5)
    assert np.abs(kernels[0] - kernels[2]).max() > 1e-2
