# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The ablation runner: the flags of each experiment, and two experiments from flags to report."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import ablation
import experiment_flags
import pytest
import report
import skimage.data
import tensorflow as tf
from helpers import commands
from helpers.photos import export_painter
from PIL import Image

from koalagan import options
from koalagan.errors import UserError
from koalagan.training import resolving, run_folder, step_means
from koalagan.training import settings as run_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def resolved(name, **given):
    """The settings of an experiment with these flags given to all."""
    run = run_settings.parse(experiment_flags.arguments(name, given, "somewhere"))
    return options.values(resolving.resolve(run))


def test_flags_go_to_every_experiment():
    for name in ("paper", "koalarization", "pix2pix", "resnet18_unet"):
        run = resolved(name, batch_size=7, seed=3, train_split="train", deterministic=True)
        assert (run["batch_size"], run["seed"], run["train_split"]) == (7, 3, "train")
        assert run["deterministic"] is True
        assert run["workdir"] == f"somewhere/{name}"
    assert resolved("koalarization")["pixel_loss"] == "l2"


def test_a_branch_that_an_experiment_leaves_out_stays_out():
    parts = ("embedding_weights", "segmentation_weights", "backbone_weights")
    weights = {}
    for name in ("paper", "no_inception", "no_segmentation", "pix2pix", "resnet18_unet_l1"):
        given = dict.fromkeys(parts, "random") | {"embedding": "efficientnet_lite2"}
        run = resolved(name, **given)
        weights[name] = [run[part] for part in parts]
    assert weights == {
        "paper": ["random", "random", "none"],
        "no_inception": ["none", "random", "none"],
        "no_segmentation": ["random", "none", "none"],
        "pix2pix": ["none", "none", "none"],
        "resnet18_unet_l1": ["none", "none", "random"],
    }


def test_options_go_to_the_generators_that_have_them():
    given = {"levels": 7, "image_size": 128, "output_activation": "sigmoid"}
    assert resolved("pix2pix", **given)["levels"] == 7
    transposed = resolved("resnet18_unet", **given)
    assert (transposed["levels"], transposed["output_activation"]) == (8, "sigmoid")
    assert resolved("no_inception", **given)["output_activation"] == "tanh"


@pytest.mark.parametrize(
    "name, epochs",
    [("paper", (3, 2)), ("no_pretrain", (0, 5)), ("koalarization", (5, 0)), ("pix2pix", (0, 5))],
)
def test_all_experiments_train_for_the_same_number_of_epochs(name, epochs):
    run = resolved(name, pretrain_epochs=3, epochs=2)
    assert (run["pretrain_epochs"], run["epochs"]) == epochs


def test_experiments_on_different_pictures_are_refused():
    commands = {
        name: experiment_flags.arguments(name, {}, "x") for name in ("no_inception", "quickstart")
    }
    with pytest.raises(UserError, match="quickstart and no_inception are validated on different"):
        ablation.check(commands, ablation.ExperimentSettings())


@pytest.mark.parametrize(
    "name, given, pattern",
    [
        ("pix2pix", {"image_size": 96}, "256"),
        ("resnet18_unet", {"backbone_weights": "/no/such.weights.h5"}, "/no/such"),
        (
            "no_inception",
            {"data_dir": "/no/such/folder", "segmentation_weights": "none"},
            "/no/such/folder",
        ),
        ("no_inception", {"segmentation_weights": "/no/such.weights.h5"}, "/no/such"),
        ("paper", {"generator": "unet"}, "--generator=unet has no branch that --embedding_weights"),
    ],
)
def test_an_experiment_that_cannot_be_trained_is_found_before_training(name, given, pattern):
    given = {"dataset": "folder", "train_split": "train", **given}
    with pytest.raises(UserError, match=pattern):
        commands = {name: experiment_flags.arguments(name, given, "somewhere")}
        ablation.check(commands, ablation.ExperimentSettings())


@pytest.mark.parametrize(
    "selection, pattern",
    [
        ({"beside": ("/no/such",)}, "there is no SavedModel in /no/such"),
        ({"measure_dataset": "folder", "measure_data_dir": "/no/such"}, "/no/such"),
    ],
)
def test_what_cannot_be_measured_is_found_before_training(selection, pattern):
    with pytest.raises(UserError, match=pattern):
        ablation.check({}, ablation.ExperimentSettings(**selection))


def test_a_split_to_measure_needs_its_dataset():
    flags = ["--experiments=paper", "--workdir=x", "--measure_split=test"]
    with pytest.raises(UserError, match="--measure_split is for --measure_dataset"):
        commands.run(ablation.COMMAND, *flags)


def test_impossible_arguments_are_refused():
    with pytest.raises(UserError, match=r"there is no experiments/papre.flags: .*no_inception"):
        resolved("papre")
    with pytest.raises(UserError, match="must be given together"):
        resolved("paper", epochs=2)


def test_an_epochs_loss_is_weighted_by_steps(tmp_path):
    write_curves(
        tmp_path,
        # 12 steps per epoch, a point every 10 steps and at the end.
        {"loss_G": {10: 1.0, 12: 7.0, 20: 3.0, 24: 5.0}, "loss_D": {20: 0.5}},
        epochs=(12, 24),
    )
    first, second = report.epoch_losses(str(tmp_path))
    assert first == {"loss_G": pytest.approx((10 * 1 + 2 * 7) / 12)}
    assert second == {"loss_G": pytest.approx((8 * 3 + 4 * 5) / 12), "loss_D": pytest.approx(0.5)}


def test_the_discriminators_losses_are_weighted_by_its_turns(tmp_path):
    """It had 4 turns in 17 steps of the first adversarial epoch: those of index 0, 5, 10 and 15."""
    write_curves(tmp_path, {"loss_D": {18: 1.0, 25: 0.1, 28: 0.0, 42: 0.25}}, epochs=(11, 28, 45))
    _, first, second = report.epoch_losses(str(tmp_path), 5)
    # Steps done since the phase began: 7 (two turns), 14 (one more), 17 (one more).
    assert first == {"loss_D": pytest.approx((2 * 1.0 + 1 * 0.1 + 1 * 0.0) / 4)}
    assert second == {"loss_D": pytest.approx(0.25)}


def write_curves(run, losses, epochs):
    """Writes TensorBoard files: points of losses by step, and a validation after each epoch."""
    with tf.summary.create_file_writer(str(run / "tensorboard" / "train")).as_default():
        for name, points in losses.items():
            for step, value in points.items():
                tf.summary.scalar(name, value, step)
    with tf.summary.create_file_writer(str(run / "tensorboard" / "validation")).as_default():
        for step in epochs:
            tf.summary.scalar("psnr", 20.0, step)
            tf.summary.image("grid", tf.zeros([1, 2, 2, 3]), step)


def test_published_numbers_are_followed_by_measured_ones():
    published = json.loads((ROOT / "experiments" / "ablation" / "published.json").read_text())
    for table in published:
        assert table["source"] and table["differs"]
        for row in table["rows"]:
            assert set(row) <= {"system", "experiment", "epoch", *table["columns"]}
            assert all(float(row[column]) > 0 for column in table["columns"])
            if "experiment" in row:
                assert (ROOT / "experiments" / f"{row['experiment']}.flags").is_file()
    table = {"columns": ["psnr", "loss_D"]}
    table["rows"] = [
        {"system": "theirs", "psnr": "21.50", "loss_D": "17.1624052", "experiment": "a"},
        {"system": "untried", "psnr": "20.0", "experiment": "b"},
    ]
    for row in table["rows"]:
        row["epoch"] = "last"
    text = report.published_table(
        table, {"a": {"psnr": 19.25}}, {"a": {"losses": {"last": {"loss_D": 0.5}}}}
    )
    assert "| theirs | 21.50 (19.25) | 17.1624052 (0.5) |" in text  # all published digits
    assert "| untried | 20.0 | - |" in text


@pytest.fixture
def photographs(tmp_path):
    """The settings that go to all experiments, for a folder of small photographs."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(6):
        window = skimage.data.astronaut()[number * 20 :][:96, number * 20 :][:, :96]
        Image.fromarray(window).save(folder / f"{number}.png")
    return {
        "dataset": "folder",
        "data_dir": str(folder),
        "train_split": "train[:4]",
        "eval_split": "train[4:]",
        "image_size": 32,
        "embedding_weights": "none",
        "segmentation_weights": "none",
        "batch_size": 2,
        "pretrain_epochs": 1,
        "epochs": 1,
    }


NAMES = ("no_inception", "koalarization")


def check_report(folder):
    """What the report of two experiments has to contain."""
    result = json.loads((folder / "metrics.json").read_text())
    assert [row["model"] for row in result["rows"]] == ["gray", *NAMES]
    experiments = result["experiments"]
    assert experiments["koalarization"]["losses"] is None
    assert set(experiments["no_inception"]["losses"]["last"]) == set(step_means.LOSSES)
    assert experiments["no_inception"]["flags"]["batch_size"] == 2
    text = (folder / "ablation.md").read_text()
    for part in ("| gray ", "| koalarization | koalarization | 6,317,794 | 2 | 0 |", "21.47"):
        assert part in text
    with Image.open(folder / "grid.png") as grid:
        assert grid.width > 4 * 32


def test_finished_runs_are_measured_and_not_trained_again(
    tmp_path, photographs, monkeypatch, capsys
):
    statuses, trained = [0, 143, 0], []
    painter = export_painter(tmp_path / "painter", 32, offset=(0.1, 0.1))

    def train(command):
        """Leaves what a run leaves, without training."""
        settings = resolving.resolve(run_settings.parse(command))
        run = Path(settings.saving.workdir)
        trained.append(run.name)
        if status := statuses.pop(0):
            return status
        shutil.copytree(painter, run / "export")
        run_folder.write_settings(settings)
        names = step_means.LOSSES if settings.optimization.epochs else step_means.PRETRAINING_LOSSES
        write_curves(run, {name: {2: 1.0} for name in names}, epochs=(2,))
        (run / "metrics.json").write_text("{}")
        return 0

    monkeypatch.setattr(ablation, "train_in_process", train)
    monkeypatch.setattr(ablation, "check", lambda *arguments: None)
    monkeypatch.setattr(ablation.concurrent.futures, "ProcessPoolExecutor", lambda *_, **__: Here())
    folder = tmp_path / "runs"
    settings = options.replace(
        run_settings.RunSettings(), workdir=str(folder), store_dir=str(tmp_path / "store")
    )
    selection = ablation.ExperimentSettings()
    assert ablation.ablate(NAMES, photographs, selection, settings) == 143
    said = capsys.readouterr().out
    assert "koalarization ended with status 143: the same command continues it." in said
    assert ablation.ablate(NAMES, photographs, selection, settings) == 0
    assert "no_inception is finished" in capsys.readouterr().out
    assert trained == ["no_inception", "koalarization", "koalarization"]
    check_report(folder)
    text = (folder / "ablation.md").read_text()
    assert "--image_size=32" in text and "--data_dir" not in text
    # On other pictures, and beside another model.
    selection = dataclasses.replace(
        selection,
        beside=(str(painter),),
        measure_dataset="folder",
        measure_split="train[:3]",
        measure_data_dir=photographs["data_dir"],
    )
    assert ablation.ablate(NAMES, photographs, selection, settings) == 0
    result = json.loads((folder / "metrics.json").read_text())
    assert [row["model"] for row in result["rows"]] == ["gray", "painter", *NAMES]
    assert result["rows"][0]["pictures"] == 3 and result["data"]["split"] == "train[:3]"
    text = (folder / "ablation.md").read_text()
    assert "--measure_split=train[:3]" in text and str(painter) in text
    assert "data_dir" not in text


class Here(ablation.concurrent.futures.Executor):
    """Runs what it is given in this process."""

    def submit(self, work, *arguments):
        future = ablation.concurrent.futures.Future()
        future.set_result(work(*arguments))
        return future


@pytest.mark.nightly
def test_two_experiments_from_flags_to_report(tmp_path, photographs):
    command = [
        sys.executable,
        "experiments/ablation/ablation.py",
        f"--experiments={','.join(NAMES)}",
        f"--workdir={tmp_path}/runs",
        f"--store_dir={tmp_path}/store",
        *(f"--{name}={value}" for name, value in photographs.items()),
    ]

    def run():
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as first:
        said, stopped = "", False
        for line in first.stdout:
            said += line
            if line.startswith("epoch 1/2") and not stopped:
                # Not SIGINT, which shells make background processes ignore.
                first.send_signal(signal.SIGTERM)
                stopped = True
    assert first.returncode == 128 + signal.SIGTERM, said
    assert "no_inception ended with status 143: the same command continues it." in said
    done = run()
    assert done.returncode == 0, done.stderr
    assert f"continuing {tmp_path}/runs/no_inception at step" in done.stdout
    folder = tmp_path / "runs"
    check_report(folder)

    text = (folder / "ablation.md").read_text()
    before = os.stat(folder / "no_inception" / "metrics.json").st_mtime_ns
    again = run()
    assert again.returncode == 0 and "koalarization is finished" in again.stdout
    assert os.stat(folder / "no_inception" / "metrics.json").st_mtime_ns == before
    assert (folder / "ablation.md").read_text() == text
    command.append("--seed=1")
    other = run()
    assert other.returncode == 1 and "--seed=0 (now 1)" in other.stderr
