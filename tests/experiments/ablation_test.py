# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The ablation runner: what goes to each experiment, and two of them end to end."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import ablation
import ablation_report
import pytest
import skimage.data
import tensorflow as tf
from PIL import Image

from koalagan.errors import UserError
from koalagan.training import gan, run_flags

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def arguments():
    """The resolved flags of one experiment under flags given to all."""

    def resolved(name, *given):
        common = run_flags.parse(given)
        named = {flag: common[flag] for flag in common if common[flag].present}
        run = run_flags.parse(ablation.arguments(name, named, "somewhere"))
        run_flags.resolve(run)
        return run

    return resolved


def test_flags_go_to_every_experiment(arguments):
    for name in ("paper", "koalarization", "pix2pix", "resnet18_unet"):
        run = arguments(name, "--batch_size=7", "--seed=3", "--train_split=train")
        assert (run.batch_size, run.seed, run.train_split) == (7, 3, "train")
        assert run.workdir == f"somewhere/{name}"
    assert arguments("koalarization").pixel_loss == "l2"


def test_a_branch_that_an_experiment_leaves_out_stays_out(arguments):
    random = [f"--{part}_weights=random" for part in ("embedding", "segmentation", "backbone")]
    weights = {
        name: [
            arguments(name, *random)[f"{part}_weights"].value
            for part in ("embedding", "segmentation", "backbone")
        ]
        for name in ("paper", "no_inception", "no_segmentation", "pix2pix", "resnet18_unet_l1")
    }
    assert weights == {
        "paper": ["random", "random", "none"],
        "no_inception": ["none", "random", "none"],
        "no_segmentation": ["random", "none", "none"],
        "pix2pix": ["none", "none", "none"],
        "resnet18_unet_l1": ["none", "none", "random"],
    }


@pytest.mark.parametrize(
    "name, passes",
    [("paper", (3, 2)), ("no_pretrain", (0, 5)), ("koalarization", (5, 0)), ("pix2pix", (0, 5))],
)
def test_all_get_the_same_number_of_passes(arguments, name, passes):
    run = arguments(name, "--pretrain_epochs=3", "--epochs=2")
    assert (run.pretrain_epochs, run.epochs) == passes


def test_experiments_on_different_pictures_are_refused():
    commands = {name: ablation.arguments(name, {}, "x") for name in ("no_inception", "quickstart")}
    with pytest.raises(UserError, match="quickstart is validated on other pictures than no_inc"):
        ablation.check(commands)


@pytest.mark.parametrize(
    "name, flag, pattern",
    [
        ("pix2pix", "--image_size=96", "divides by 256"),
        ("resnet18_unet", "--backbone_weights=/no/such.weights.h5", "/no/such"),
        ("pix2pix", "--data_dir=/no/such/folder", "/no/such/folder"),
        ("no_inception", "--segmentation_weights=/no/such.weights.h5", "/no/such"),
    ],
)
def test_a_later_experiment_that_cannot_be_trained_is_named_before_the_first(name, flag, pattern):
    given = run_flags.parse([flag, "--dataset=folder", "--train_split=train"])
    given = {name: given[name] for name in given if given[name].present}
    with pytest.raises(UserError, match=pattern):
        ablation.check({name: ablation.arguments(name, given, "somewhere")})


def test_what_cannot_be_run_is_said(arguments):
    with pytest.raises(UserError, match="there is no experiments/papre.flags: .*no_inception"):
        arguments("papre")
    with pytest.raises(UserError, match="only when both are given"):
        arguments("paper", "--epochs=2")


def test_an_epochs_loss_weighs_its_points_by_their_steps(tmp_path):
    train = tf.summary.create_file_writer(str(tmp_path / "tensorboard" / "train"))
    with train.as_default():
        # 12 steps an epoch, a point every 10 and at the end.
        for step, value in ((10, 1.0), (12, 7.0), (20, 3.0), (24, 5.0)):
            tf.summary.scalar("loss_G", value, step)
        tf.summary.scalar("loss_D", 0.5, 20)
    validation = tf.summary.create_file_writer(str(tmp_path / "tensorboard" / "validation"))
    with validation.as_default():
        for step in (12, 24):
            tf.summary.scalar("psnr", 20.0, step)
            tf.summary.image("grid", tf.zeros([1, 2, 2, 3]), step)
    train.close()
    validation.close()
    first, second = ablation_report.epoch_losses(str(tmp_path))
    assert first == {"loss_G": pytest.approx((10 * 1 + 2 * 7) / 12)}
    assert second == {"loss_G": pytest.approx((8 * 3 + 4 * 5) / 12), "loss_D": pytest.approx(0.5)}


def test_published_numbers_stand_beside_ours():
    published = json.loads((ROOT / "experiments" / "published.json").read_text())
    for table in published:
        assert table["source"] and table["differs"]
        for row in table["rows"]:
            assert set(row) <= {"system", "experiment", "epoch", *table["columns"]}
            if "experiment" in row:
                assert (ROOT / "experiments" / f"{row['experiment']}.flags").is_file()
    table = {"columns": ["psnr", "loss_D"]}
    table["rows"] = [
        {"system": "theirs", "psnr": 21.5, "loss_D": 0.25, "experiment": "a", "epoch": "last"},
        {"system": "untried", "psnr": 20.0, "experiment": "b"},
    ]
    text = ablation_report._published_table(
        table, {"a": {"psnr": 19.25}}, {"a": {"losses": {"last": {"loss_D": 0.5}}}}
    )
    assert "| theirs | 21.5 (19.25) | 0.25 (0.5) |" in text
    assert "| untried | 20 | - |" in text


@pytest.mark.slow
def test_two_experiments_from_flags_to_report(tmp_path):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for number in range(6):
        window = skimage.data.astronaut()[number * 20 :][:96, number * 20 :][:, :96]
        Image.fromarray(window).save(photographs / f"{number}.png")
    command = [
        sys.executable,
        "experiments/ablation.py",
        "--experiments=no_inception,koalarization",
        f"--workdir={tmp_path}/runs",
        f"--store_dir={tmp_path}/store",
        "--dataset=folder",
        f"--data_dir={photographs}",
        "--train_split=train[:4]",
        "--eval_split=train[4:]",
        "--image_size=32",
        "--embedding_weights=none",
        "--segmentation_weights=none",
        "--batch_size=2",
        "--pretrain_epochs=1",
        "--epochs=1",
    ]

    def run():
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as first:
        told, stopped = "", False
        for line in first.stdout:
            told += line
            if line.startswith("epoch 1/2") and not stopped:
                # Not SIGINT, which shells have processes in the background ignore.
                first.send_signal(signal.SIGTERM)
                stopped = True
    assert first.returncode == 128 + signal.SIGTERM, told
    assert "no_inception ended with status 143: the same command goes on from there." in told
    done = run()
    assert done.returncode == 0, done.stderr
    assert f"continuing {tmp_path}/runs/no_inception at step" in done.stdout
    folder = tmp_path / "runs"
    result = json.loads((folder / "metrics.json").read_text())
    assert [row["model"] for row in result["rows"]] == ["grey", "no_inception", "koalarization"]
    experiments = result["experiments"]
    assert experiments["koalarization"]["losses"] is None
    assert set(experiments["no_inception"]["losses"]["last"]) == set(gan.LOSSES)
    assert experiments["no_inception"]["flags"]["batch_size"] == 2
    report = (folder / "ablation.md").read_text()
    for part in ("| grey ", "| koalarization | koalarization | 6,317,794 | 2 | 0 |", "21.47"):
        assert part in report
    with Image.open(folder / "grid.png") as grid:
        assert grid.width > 4 * 32

    before = os.stat(folder / "no_inception" / "metrics.json").st_mtime_ns
    again = run()
    assert again.returncode == 0 and "koalarization is finished" in again.stdout
    assert os.stat(folder / "no_inception" / "metrics.json").st_mtime_ns == before
    assert (folder / "ablation.md").read_text() == report
    command.append("--seed=1")
    other = run()
    assert other.returncode == 1 and "--seed=0 (now 1)" in other.stderr
