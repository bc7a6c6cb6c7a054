# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Several devices, and several processes, learn what one device learns from the same batches."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import commands, together

from koalagan import compilation, distribution
from koalagan.errors import UserError

PROGRAM = Path(together.__file__)


def learn(folder, *arguments, workers=1):
    """What `together` writes, of each worker."""
    started = []
    for number, config in enumerate(commands.cluster(workers)):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        environment |= {"TF_CONFIG": config} if workers > 1 else {}
        command = [sys.executable, str(PROGRAM), f"{folder}/{number}.npz", *arguments]
        started.append(
            subprocess.Popen(
                command,
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
    said = [process.communicate(timeout=300)[0] for process in started]
    assert not any(process.returncode for process in started), said
    return [dict(np.load(f"{folder}/{number}.npz")) for number in range(workers)]


def assert_same(found, expected):
    """Losses and weights after 20 steps of each phase, but for the rounding of sums."""
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-6)
    weights = [name for name in expected if name.startswith("weight")]
    assert len(weights) > 20
    for name in weights:
        np.testing.assert_allclose(found[name], expected[name], atol=2e-6, err_msg=name)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return learn(tmp_path_factory.mktemp("one"))[0]


def test_the_small_gan_learns(one):
    pretraining, adversarial = np.split(one["losses"], 2)
    assert pretraining[-1] < 0.95 * pretraining[0] and adversarial[-1] < adversarial[0]


@pytest.mark.parametrize("devices", [2, 4])
def test_several_devices_learn_the_same(one, devices, tmp_path):
    (found,) = learn(tmp_path, f"--devices={devices}")
    assert found["devices"] == devices
    assert_same(found, one)


@pytest.mark.parametrize("workers", [2, pytest.param(4, marks=pytest.mark.nightly)])
def test_several_processes_learn_the_same(one, workers, tmp_path):
    results = learn(tmp_path, workers=workers)
    for found in results:
        assert found["devices"] == workers
        assert_same(found, one)


def test_batch_norm_is_of_each_devices_share_unless_synchronized(one, tmp_path):
    (found,) = learn(tmp_path, "--devices=2", "--plain")
    # The program has checked that both devices have the same weights and statistics.
    assert 1e-4 < np.abs(found["losses"] / one["losses"] - 1).max() < 0.02


def test_a_nan_on_one_device_is_seen(tmp_path):
    (found,) = learn(tmp_path, "--devices=2", "--plant=nan")
    assert found["bad_step"] == together.STEPS + 3


def test_all_devices_skip_a_step_that_overflows_on_one(tmp_path):
    """As one device does, which halves the scale of its loss."""
    folders = [tmp_path / "1", tmp_path / "2"]
    alone, both = (
        learn(folder, f"--devices={folder.name}", "--dtype=float16", "--plant=large")[0]
        for folder in folders
        if folder.mkdir() is None
    )
    assert alone["bad_step"] == both["bad_step"] == -1
    np.testing.assert_array_equal(both["scales"], alone["scales"])
    assert alone["scales"][-1] < alone["scales"][0]
    weights = [name for name in alone if name.startswith("weight")]
    assert all(np.isfinite(both[name]).all() for name in weights)


def test_a_batch_that_cannot_be_shared(monkeypatch):
    devices = distribution.Devices()
    monkeypatch.setattr(devices, "count", 3)
    assert devices.share(6) == 2
    with pytest.raises(UserError, match="--batch_size=16 cannot be shared evenly by 3 devices"):
        devices.share(16)


def test_xla_compiles_the_step_of_one_device():
    with pytest.raises(UserError, match="--jit_compile=true compiles the step of one device"):
        compilation.resolve("true", deterministic=False, devices=2)
    assert not compilation.resolve("auto", deterministic=False, devices=2)


@pytest.mark.parametrize(
    "config, strategy, pattern",
    [
        (None, "multi_worker", "needs the environment variable TF_CONFIG"),
        ('{"cluster": {"worker": ["a:1"]}}', "multi_worker", "needs the environment variable"),
        ("{", "auto", "TF_CONFIG cannot be read"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "auto", "TF_CONFIG cannot be read"),
        (
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
            "auto",
            "TF_CONFIG cannot be read",
        ),
        ("[]", "auto", "TF_CONFIG cannot be read"),
    ],
)
def test_clusters_that_are_none(config, strategy, pattern, monkeypatch):
    if config is None:
        monkeypatch.delenv("TF_CONFIG", raising=False)
    else:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(UserError, match=pattern):
        distribution.choose(strategy)


def test_one_device_needs_no_strategy(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for choice in ("one", "auto"):
        devices = distribution.choose(choice)
        assert devices.strategy is None and devices.is_chief and devices.count == 1
        assert devices.from_chief([1.5]) == [1.5] and devices.any_of(2) == 2
        devices.wait()
