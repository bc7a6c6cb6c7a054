# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind: from pictures to exported and measured models."""

import contextlib
import io
import json
import os

import keras
import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from helpers import runs
from helpers.tensorboard import events
from PIL import Image

from koalagan.color import lab
from koalagan.data import crops, sources, store
from koalagan.errors import UserError
from koalagan.exporting import trained
from koalagan.exporting.settings import ExportSettings
from koalagan.inference import pretrained, saved_model
from koalagan.training import networks, run_folder, step_means
from koalagan.training.checkpoint import restore_generator


@pytest.fixture(scope="module")
def finished(photographs, tmp_path_factory):
    """A run of both phases, and what it printed; tests leave it as it is."""
    run = runs.Trainer(photographs, tmp_path_factory.mktemp("finished"))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert run(dropout=0.2) == 0
    return run, printed.getvalue()


def test_both_phases_leave_everything_a_run_consists_of(finished):
    run, printed = finished
    folder = run.workdir
    assert {"flags.txt", "checkpoints", "tensorboard", "export", "metrics.json", "grid.png"} <= set(
        os.listdir(folder)
    )
    rows = run.metrics()["rows"]
    assert [row["model"] for row in rows] == ["gray", "run"] and rows[1]["pictures"] == 4
    written = events(folder / "tensorboard" / "validation")
    assert {*step_means.LOSSES, "psnr", "ssim", "colorfulness"} <= set(written)
    assert list(written["psnr"]) == [4, 8]  # 16 pictures, batch 4, one epoch in each phase
    for part in ("epoch 1/2 pretraining", "epoch 2/2 adversarial", "| gray", "table.md", "export"):
        assert part in printed
    assert printed.count("| gray") == 1  # the other tables are in table.md
    assert "tensorboard --logdir" in printed and "pictures/s" in printed


def test_a_finished_run_is_measured_again_and_not_trained_again(finished, capsys):
    run, _ = finished
    rows = run.metrics()["rows"]
    (run.workdir / "metrics.json").unlink()
    assert run(dropout=0.2) == 0
    assert "epoch" not in capsys.readouterr().out
    assert run.metrics()["rows"] == rows


def test_a_finished_run_is_exported_with_dropout(finished, tmp_path):
    run, _ = finished
    noisy = str(tmp_path / "noisy")
    trained.export_run(str(run.workdir), noisy, ExportSettings(dropout_at_inference=True))
    colorize = saved_model.load(noisy, "serving_default", "colorized")
    picture = skimage.data.astronaut()[None, :100, :150]
    assert np.any(colorize(image=picture) != colorize(image=picture))


def test_init_from_starts_from_the_other_runs_generator(finished, run):
    other, _ = finished
    run(init_from=other.workdir, epochs=0, pretrain_learning_rate=0, dropout=0.2)
    again, trained = run.metrics()["rows"][1], other.metrics()["rows"][1]
    assert again == trained


def test_init_from_the_model_that_comes_along(run):
    """With a learning rate of 0, the run's kernels are that model's."""
    run(
        generator="koala",
        init_from="koala",
        image_size=64,
        epochs=0,
        pretrain_learning_rate=0,
    )
    trained = networks.build_generator(run_folder.read_settings(str(run.workdir)).networks, 64)
    restore_generator(trained, str(run.workdir))
    for mine, theirs in zip(trained.weights, pretrained.generator().weights, strict=True):
        if not mine.path.endswith(("moving_mean", "moving_variance")):
            np.testing.assert_array_equal(mine, theirs)
    # What it is made from keeps its license.
    facts = saved_model.facts(str(run.workdir / "export"))
    assert "CC BY-NC 4.0" in facts["license"] and facts["started_from"] == "koala"
    card = (run.workdir / "export" / "assets.extra" / "MODEL_CARD.md").read_text("utf-8")
    assert "CC BY-NC 4.0" in card and "| started from | koala |" in card


def test_the_averaged_weights_are_exported(run):
    assert run(ema_momentum=0.9, epochs=0, pretrain_learning_rate=1e-3) == 0
    averaged, last = (
        networks.build_generator(run_folder.read_settings(str(run.workdir)).networks, 32)
        for _ in range(2)
    )
    restore_generator(averaged, str(run.workdir))
    newest = tf.train.latest_checkpoint(str(run.workdir / "checkpoints"))
    tf.train.Checkpoint(learning_generator=last).read(newest).expect_partial()
    L = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 1)).astype(np.float32)
    exported = saved_model.predictor(str(run.workdir / "export"))(tf.constant(L))
    np.testing.assert_allclose(exported, averaged({"L": L}, training=False), atol=1e-5)
    assert np.abs(exported - last({"L": L}, training=False)).max() > 1e-4


def test_random_parts_are_cut_from_larger_pictures(run):
    """Validation sees whole ones."""
    assert run(crop_from=40, epochs=0) == 0
    folders = (run.workdir.parent / "store").iterdir()
    shapes = {np.load(folder / "pictures.npy", mmap_mode="r").shape for folder in folders}
    assert shapes == {(16, 40, 40, 3), (4, 32, 32, 3)}
    assert run.metrics()["data"]["image_size"] == [32, 32]


def test_training_learns_the_pictures_it_sees(run):
    run(
        train_split="train[:8]",
        eval_split="train[:8]",
        pretrain_epochs=20,
        epochs=0,
        pretrain_learning_rate=1e-3,
        mixed_precision="auto",  # bfloat16, but not where it is emulated, which takes minutes
    )
    gray, trained = run.metrics()["rows"]
    assert trained["psnr_pooled"] > gray["psnr_pooled"] + 1
    assert trained["colorfulness"] > 10


@pytest.mark.parametrize("given", [{}, {"ema_momentum": 0.5}, {"crop_from": 48}])
def test_batch_norm_is_of_the_weights_that_are_exported(run, given):
    """Its statistics are those of the first training batches, and not of former weights."""
    run(generator="unet", levels=5, precise_batch_norm=2, **given)
    settings = run_folder.read_settings(str(run.workdir))
    generator = networks.build_generator(settings.networks, 32)
    restore_generator(generator, str(run.workdir))
    source = sources.open_source("folder", "train[:16]", data_dir=settings.data.data_dir)
    side = given.get("crop_from", 32)
    prepared = store.prepare(source, store_dir=str(run.store_dir), image_size=(side, side))
    pictures = np.array(prepared.pictures[:8])
    if side != 32:
        pictures = crops.take(pictures, np.tile(np.float32([0, 0, side]), (8, 1)), 32)
    before_norm = keras.Model(generator.input, generator.get_layer("down_2").output)
    seen = before_norm({"L": lab.lightness(pictures)}).numpy()
    batches = seen.reshape(2, -1, seen.shape[-1])
    norm = generator.get_layer("down_norm_2")
    np.testing.assert_allclose(norm.moving_mean, batches.mean(axis=(0, 1)), rtol=1e-3, atol=1e-6)
    variance = batches.var(axis=1, ddof=1).mean(axis=0)
    np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-3)


@pytest.mark.parametrize(
    "generator, image_size, mixed_precision, options",
    [
        ("koalarization", 32, "float16", {"pixel_loss": "l2"}),
        (
            "inception_fusion",
            32,
            "bfloat16",
            {
                "head": "classification",
                "temperature": "0.38",
                "rebalancing_lambda": "0.5",
                "l1_weight": "0",
            },
        ),
        ("unet", 256, "auto", {"discriminator_every": 1, "gan_loss": "lsgan"}),
        (
            "koala",
            64,
            "float16",
            {
                "learning_rate_schedule": "cosine",
                "backbone_learning_rate_factor": "0.1",
                "ema_momentum": "0.9",
            },
        ),
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
            pretrain_epochs=0,
            **given,
        )
        == 0
    )
    rows = run.metrics()["rows"]
    label = "run (random backbone)" if generator == "resnet18_unet" else "run"
    assert [row["model"] for row in rows] == ["gray", label]
    assert all(np.isfinite(rows[1][name]) for name in ("psnr_pooled", "ssim", "ciede2000"))
    settings = run_folder.read_settings(str(run.workdir))
    assert settings.optimization.pixel_loss == options.get("pixel_loss", "l1")
    built = networks.build_gan(settings)
    assert built.discriminator.input_shape[-1] == (2 if generator == "resnet18_unet" else 3)

    colorize = saved_model.load(str(run.workdir / "export"), "serving_default", "colorized")
    picture = skimage.data.astronaut()[None, :100, :150]
    first = colorize(image=picture)
    assert first.shape == picture.shape
    np.testing.assert_array_equal(colorize(image=picture), first)
    if generator != "unet":
        with pytest.raises(UserError, match="--dropout_at_inference (is not an option of|needs)"):
            trained.export_run(
                str(run.workdir),
                str(run.workdir / "noisy"),
                ExportSettings(dropout_at_inference=True),
            )


@pytest.fixture
def home(tmp_path):
    """Variables that make `tmp_path` the home folder: shells do not expand ~ in a flag's value."""
    return {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def test_the_command_trains_with_random_frozen_networks(photographs, tmp_path, home):
    flagfile = tmp_path / "tiny.flags"
    flagfile.write_text(
        "# A comment.\n--dataset=folder\n--train_split=train[:4]\n--eval_split=train[18:]\n"
        "--image_size=32\n--embedding_weights=random\n--segmentation_weights=random\n"
        f"--batch_size=2\n--pretrain_epochs=1\n--epochs=0\n--workdir=~/run\n--data_dir={photographs}\n"
    )
    trained = runs.command("train", f"--flagfile={flagfile}", env=home)
    assert trained.returncode == 0, trained.stderr
    assert "run (random inception_resnet_v2 embedding and segmentation)" in trained.stdout
    assert f"{tmp_path}/cache/koalagan" in trained.stdout
    assert "Traceback" not in trained.stderr and "remapper" not in trained.stderr
    facts = json.loads((tmp_path / "run/export/assets.extra/koalagan.json").read_text())
    assert facts["embedding_weights"] == facts["segmentation_weights"] == "random"


def test_the_other_commands_use_a_run(finished, photographs, tmp_path, home):
    """evaluate, export and colorize, each in a process of its own."""
    run, _ = finished
    (tmp_path / "run").symlink_to(run.workdir)
    evaluated = runs.command(
        "evaluate",
        "--saved_model=~/run/export",
        "--dataset=folder",
        f"--data_dir={photographs}",
        "--split=train[16:]",
        "--output_dir=~/evaluation",
        env=home,
    )
    assert evaluated.returncode == 0, evaluated.stderr
    by_evaluate = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert by_evaluate["rows"] == run.metrics()["rows"]

    exported = runs.command("export", "--workdir=~/run", "--output_dir=~/saved", env=home)
    assert exported.returncode == 0, exported.stderr
    facts = json.loads((tmp_path / "saved" / "assets.extra" / "koalagan.json").read_text())
    assert facts["embedding_weights"] == "none" and facts["image_size"] == [32, 32]

    colored = runs.command(
        "colorize",
        "--saved_model=~/saved",
        "--output_dir=~/out",
        "--recolor",  # they are photographs in color
        photographs / "0.jpg",
        photographs / "1.jpg",
        env=home,
    )
    assert colored.returncode == 0, colored.stderr
    assert sorted(os.listdir(tmp_path / "out")) == ["0.png", "1.png"]
    with Image.open(tmp_path / "out" / "0.png") as picture:
        assert picture.size == (200, 160)


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
    data = run.metrics()["data"]
    assert data["dataset"].startswith("coco/2017") and data["pictures"] == 6
