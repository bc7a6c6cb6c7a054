# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""How a run continues: by the same command, in the same folder, with the same data."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from helpers import runs
from helpers.tensorboard import events

from koalagan import run as chain
from koalagan.errors import UserError
from koalagan.exporting import trained
from koalagan.exporting.settings import ExportSettings
from koalagan.training import checkpoint, networks, run_folder


@pytest.fixture
def training_only(monkeypatch):
    """Leaves out the export and its evaluation, which take longer than training."""
    monkeypatch.setattr(chain, "export_and_measure", lambda *arguments: {})
    monkeypatch.setattr(chain.tables, "format_summary", lambda result: "")


def test_a_stopped_training_is_continued_by_the_same_command(run):
    arguments = run.arguments(
        train_split="train", eval_split="train[:4]", pretrain_epochs=12, epochs=0
    )
    with subprocess.Popen(
        [sys.executable, "-m", "koalagan.train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        for line in process.stdout:
            if line.startswith("epoch 3/12"):
                break
        process.send_signal(signal.SIGINT)
        printed = process.stdout.read()
    assert process.returncode == 128 + signal.SIGINT
    assert "stopped by SIGINT" in printed and "the same command continues" in printed
    stopped_at = int(printed.split("after step ")[1].split(",")[0])
    assert 15 <= stopped_at < 60

    again = runs.command("train", *arguments)
    assert again.returncode == 0, again.stderr
    assert f"continuing {run.workdir} at step {stopped_at}" in again.stdout
    assert "prepare train" not in again.stderr
    steps = sorted(events(run.workdir / "tensorboard" / "validation")["loss_G"])
    assert steps == list(range(5, 61, 5))  # every epoch once


@pytest.mark.usefixtures("training_only")
def test_what_a_run_is_not_continued_with(run, photographs, tmp_path, monkeypatch):
    folder = tmp_path / "photographs"
    shutil.copytree(photographs, folder)
    run(data_dir=folder, epochs=0)
    with pytest.raises(UserError, match=r"--seed=0 \(now 5\)"):
        run(data_dir=folder, epochs=0, seed=5)
    # Where the pictures lie and when they were written does not matter, but what they show.
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied, copy_function=shutil.copy)
    os.utime(copied / "3.jpg", (1, 1))
    run(data_dir=copied, epochs=0)
    shutil.copy(folder / "4.jpg", folder / "3.jpg")
    with pytest.raises(UserError, match="has changed since it began"):
        run(data_dir=folder, epochs=0)
    # A run is not even read while another process trains it.
    monkeypatch.setattr(checkpoint.RunCheckpoint, "restore", lambda self: pytest.fail("read"))
    with run_folder.locked(str(run.workdir)):
        with pytest.raises(UserError, match="another process is training"):
            run(data_dir=folder, epochs=0)


@pytest.mark.usefixtures("training_only")
def test_auto_precision_is_that_which_the_run_began_with(run, monkeypatch, capsys):
    given = {"pretrain_epochs": 2, "epochs": 0}
    run(**given)
    auto = {"auto": "bfloat16"}  # as on a machine of another kind
    monkeypatch.setattr(chain.precision, "resolve", lambda choice: auto.get(choice, choice))
    with pytest.raises(UserError, match=r"--mixed_precision=float32 \(now bfloat16\)"):
        run(**given, mixed_precision="bfloat16")
    capsys.readouterr()
    assert run(**given, mixed_precision="auto") == 0
    assert "computing in float32, as the run began" in capsys.readouterr().out


@pytest.mark.usefixtures("training_only")
def test_early_stopping_ends_the_last_phase_and_the_best_is_exported(run, capsys, tmp_path):
    given = {
        "pretrain_epochs": 1,
        "epochs": 6,
        "generator_learning_rate": 0,  # no epoch is better than the first
        "early_stopping": 2,
    }
    assert run(**given) == 0
    printed = capsys.readouterr().out
    assert "epoch 4/7" in printed and "epoch 5/7" not in printed
    assert "stopped after epoch 4: --early_stopping=2" in printed
    assert run(**given) == 0
    assert "epoch 4/7" not in capsys.readouterr().out  # still out of patience
    trained.export_run(str(run.workdir), str(tmp_path / "best"), ExportSettings("best"))
    assert (tmp_path / "best" / "saved_model.pb").exists()
    names = {path.name for path in (run.workdir / "checkpoints").glob("*.index")}
    assert names == {"best-8.index", "step-12.index", "step-16.index"}


@pytest.mark.usefixtures("training_only")
def test_early_stopping_leaves_the_last_phase_its_epochs(run, capsys):
    # Pretraining's best epoch is its first of three.
    given = {"pretrain_epochs": 3, "epochs": 2, "pretrain_learning_rate": 0, "early_stopping": 2}
    assert run(**given) == 0
    assert "epoch 5/5 adversarial" in capsys.readouterr().out


@pytest.mark.usefixtures("training_only")
def test_seed_decides_the_result(run, tmp_path):
    kernels = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(workdir=tmp_path / name, seed=seed, epochs=0)
        settings = run_folder.read_settings(str(tmp_path / name))
        generator = networks.build_generator(settings.networks, 32)
        checkpoint.restore_generator(generator, str(tmp_path / name))
        kernels.append(generator.get_layer("encoder_1").kernel.numpy())
    np.testing.assert_allclose(kernels[0], kernels[1], atol=1e-5)
    assert np.abs(kernels[0] - kernels[2]).max() > 1e-2
