# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""A run becomes the model that comes along."""

import json

import numpy as np
import pytest
import ship
from helpers import runs

from koalagan import precision
from koalagan.errors import UserError
from koalagan.inference import pretrained
from koalagan.training import networks, run_folder
from koalagan.training.checkpoint import restore_generator


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    photographs = runs.write_photographs(tmp_path_factory.mktemp("photographs"))
    trainer = runs.Trainer(photographs, tmp_path_factory.mktemp("run"))
    trainer(
        generator="koala",
        head="classification",
        temperature=0.5,
        image_size=64,
        train_split="train[:2]",
        eval_split="train[18:]",
        batch_size=2,
        epochs=0,
    )
    return trainer


def test_its_files_hold_the_runs_generator(run, tmp_path, monkeypatch):
    workdir = str(run.workdir)
    ship.ship(workdir, f"{workdir}/metrics.json", "windows of two photographs", tmp_path)
    for name in ("WEIGHTS", "CARD"):
        monkeypatch.setattr(pretrained, name, tmp_path / getattr(pretrained, name).name)
    facts, shipped = pretrained.card()["facts"], pretrained.generator()
    settings = run_folder.read_settings(workdir)
    with precision.policy("float32"):
        trained = networks.build_generator(settings.networks, (None, None))
    restore_generator(trained, workdir)
    for mine, theirs in zip(shipped.weights, trained.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-6)
        if len(mine.shape) == 1:
            np.testing.assert_array_equal(mine, theirs)
    assert facts["dataset"] == "windows of two photographs" and facts["image_size"] == [64, 64]
    assert "CC BY-NC 4.0" in facts["license"]
    page = (tmp_path / "MODEL_CARD.md").read_text("utf-8")
    assert "windows of two photographs" in page and "CC BY-NC 4.0" in page
    rows = pretrained_rows(tmp_path)
    assert [row["model"] for row in rows] == ["gray", "koala"]
    assert rows[1]["psnr"] == run.metrics()["rows"][1]["psnr"]
    for file in tmp_path.glob("*.*"):
        assert b"/tmp" not in file.read_bytes(), file


def test_the_card_names_the_runs_before(run, tmp_path):
    workdir = str(run.workdir)
    assert ship._history(workdir) == f"{run.workdir.name}, 1 epoch at 64x64"
    flags = run.workdir / "flags.txt"
    former = flags.read_text()
    flags.write_text(f"{former}\n--init_from=koala\n")
    before = pretrained.card()["facts"]["started_from"]
    history = ship._history(workdir)
    assert "at 64x64, which started from koala as it was before, " in history
    assert history.endswith(before)
    flags.write_text(former)


def pretrained_rows(folder):
    return json.loads((folder / "card.json").read_text())["evaluation"]["rows"]


def test_what_cannot_be_shipped(run, tmp_path):
    workdir, metrics = str(run.workdir), tmp_path / "metrics.json"
    result = run.metrics()
    other = {"models": {"run": {"saved_model": "/other/export"}}}
    metrics.write_text(json.dumps({**result, "data": {**result["data"], **other}}))
    with pytest.raises(UserError, match="is of /other/export, not of"):
        ship.ship(workdir, str(metrics), "x", tmp_path)
    metrics.write_text(json.dumps({**result, "rows": result["rows"] * 2}))
    with pytest.raises(UserError, match="must hold the gray row and one model"):
        ship.ship(workdir, str(metrics), "x", tmp_path)
    flags = run.workdir / "flags.txt"
    former = flags.read_text()
    flags.write_text(former.replace("--generator=koala", "--generator=unet"))
    with pytest.raises(UserError, match="trained unet, not koala"):
        ship.ship(workdir, str(metrics), "x", tmp_path)
    flags.write_text(former)
    assert list(tmp_path.iterdir()) == [metrics]
