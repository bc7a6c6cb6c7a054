# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Jobs of several workers: one run, which the chief writes, and which any number continues."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from helpers import commands, runs
from helpers.tensorboard import events

FLAGS = {"pixel_loss": "l2", "check_every": 1, "log_every": 1, "discriminator_every": 2}


class Job:
    """Two workers on this machine."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "koalagan.train", *arguments]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.workers = [
            subprocess.Popen(command, env={**os.environ, "TF_CONFIG": config}, **streams)
            for config in commands.cluster(2)
        ]
        self.said = ["", ""]

    def read_until(self, start):
        """Reads the chief's lines until one begins so."""
        for line in self.workers[0].stdout:
            self.said[0] += line
            if line.startswith(start):
                return
        raise AssertionError(self.said[0] + self.workers[0].stderr.read())

    def end(self):
        """Waits for both; returns their exit statuses."""
        self.errors = []
        for number, worker in enumerate(self.workers):
            out, error = worker.communicate(timeout=240)
            self.said[number] += out
            self.errors.append(error)
        return [worker.returncode for worker in self.workers]


def test_one_of_two_workers_is_told_to_stop_and_one_process_continues(run, photographs, tmp_path):
    flags = {**FLAGS, "pretrain_epochs": 6, "epochs": 2, "best_metric": "loss_G_L1"}
    job = Job(*run.arguments(**flags))
    job.read_until("epoch 2/8")
    job.workers[1].send_signal(signal.SIGTERM)
    assert job.end() == [128 + signal.SIGTERM] * 2, job.errors
    assert "training on 2 devices" in job.said[0] and "stopped by SIGTERM" in job.said[0]
    assert job.said[1].startswith("worker 2 of 2") and job.said[1].count("\n") == 1
    stopped_at = int(job.said[0].split("after step ")[1].split(",")[0])
    assert 8 <= stopped_at < 24

    # On the same pictures in the same order, from the same weights.
    assert run(**flags) == 0
    alone = runs.Trainer(photographs, tmp_path / "alone")
    assert alone(**flags) == 0
    # What both workers prepared is what one prepares.
    stores = [
        {path.name: path / "pictures.npy" for path in trainer.store_dir.iterdir() if path.is_dir()}
        for trainer in (run, alone)
    ]
    assert list(stores[0]) and sorted(stores[0]) == sorted(stores[1])
    for name in stores[0]:
        np.testing.assert_array_equal(*(np.load(store[name]) for store in stores))
    mine, theirs = (
        events(trainer.workdir / "tensorboard" / "train")["loss_G"] for trainer in (run, alone)
    )
    assert list(mine) == list(theirs) == list(range(1, 33))
    # Those of two workers. ReLU lets rounding grow after them.
    mine, theirs = (np.array(list(losses.values()))[:8] for losses in (mine, theirs))
    np.testing.assert_allclose(mine, theirs, rtol=1e-3)


@pytest.mark.nightly
def test_a_worker_that_is_killed_ends_the_others_and_both_continue(run):
    flags = {**FLAGS, "pretrain_epochs": 40, "epochs": 0}
    job = Job(*run.arguments(**flags))
    job.read_until("epoch 2/40")
    job.workers[1].kill()
    assert job.end() == [1, -signal.SIGKILL]
    sentence = "another worker of the job has ended or cannot be reached: start all workers again"
    assert sentence in job.errors[0] and "Traceback" not in job.errors[0]

    again = Job(*run.arguments(**flags))
    assert again.end() == [0, 0], again.errors
    assert f"continuing {run.workdir} at step" in again.said[0]
    assert [file.name for file in run.workdir.glob("export/saved_model.pb")]
    assert run.metrics()["rows"][1]["psnr"] > run.metrics()["rows"][0]["psnr"]
