# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Exported models, measured on a dataset: by the command and from Python."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from helpers import commands, saved_models
from helpers.marked_pictures import write_marked_pictures
from PIL import Image
from skimage import color

from koalagan import evaluate
from koalagan.data import sources, store
from koalagan.errors import UserError
from koalagan.inference import colorizer, measuring


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of four windows of photographs and one gray picture, 24x32."""
    folder = tmp_path_factory.mktemp("photographs")
    astronaut, coffee = skimage.data.astronaut()[::8, ::8], skimage.data.coffee()[::8, ::8]
    windows = [whole[i : i + 24, i : i + 32] for whole in (astronaut, coffee) for i in (0, 12)]
    for i, window in enumerate([*windows, np.repeat(windows[0][..., 1:2], 3, axis=-1)]):
        Image.fromarray(window).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a run with an export, of which nothing else is known."""
    run = tmp_path_factory.mktemp("one")
    saved_models.save(run / "export")
    return str(run)


def test_the_command_compares_models_on_a_folder(photographs, model, tmp_path, capsys):
    commands.run(
        evaluate.COMMAND,
        f"--saved_model={model}",
        f"--saved_model={saved_models.save(tmp_path / 'two' / 'export')}",
        "--dataset=folder",
        f"--data_dir={photographs}",
        "--split=train",
        "--image_size=16",
        f"--store_dir={tmp_path / 'store'}",
        f"--output_dir={tmp_path / 'out'}",
    )
    result = json.loads((tmp_path / "out" / "metrics.json").read_text())
    one = os.path.basename(model)
    assert [row["model"] for row in result["rows"]] == ["gray", one, "two"]
    assert result["rows"][0]["pictures"] == 5
    assert result["data"]["image_size"] == [16, 16] and result["data"]["split"] == "train"
    assert result["data"]["models"][one]["saved_model"] == os.path.join(model, "export")
    printed = capsys.readouterr().out
    assert (tmp_path / "out" / "table.md").read_text() in printed
    for name in ("metrics.json", "table.md", "pictures.csv", "pictures.jsonl", "grid.png"):
        assert str(tmp_path / "out" / name) in printed and (tmp_path / "out" / name).exists()


def test_a_home_folder_is_expanded(photographs, model, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", os.path.dirname(model))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"too small"):
        commands.run(
            evaluate.COMMAND,
            f"--saved_model=~/{os.path.basename(model)}",
            "--dataset=folder",
            f"--data_dir={photographs}",
            "--split=train",
            "--image_size=8",
            f"--output_dir={tmp_path / 'out'}",
        )
    assert len(list((tmp_path / "cache" / "koalagan").glob("folder_*"))) == 1


def test_an_absent_model_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no SavedModel in absent"):
        commands.run(evaluate.COMMAND, "--saved_model=absent", "--output_dir=out")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "command, arguments, message",
    [
        ("evaluate", ["--saved_model=a", "--output_dir=b", "stray"], "'stray'"),
        ("evaluate", ["--saved_model=a"], "--output_dir is missing"),
        ("evaluate", ["--saved_model=a", "--output_dir=b", "--batch_size=0"], "batch_size"),
        ("export", ["--workdir=a", "--output_dir=b", "stray"], "'stray'"),
        ("export", ["--workdir=a"], "--output_dir is missing"),
        ("export", ["--workdir=a", "--output_dir=b", "--format=coreml"], "format"),
    ],
)
def test_mistakes_in_flags_end_in_one_sentence(command, arguments, message, tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", f"koalagan.{command}", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert ended.returncode == 1 and ended.stdout == ""
    assert ended.stderr.startswith("koalagan: ") and ended.stderr.count("\n") == 1
    assert message in ended.stderr
    assert os.listdir(tmp_path) == []


def test_several_models_are_measured_by_default_values():
    settings = commands.parse(
        evaluate.COMMAND, "--saved_model=a", "--saved_model=b", "--output_dir=out"
    )
    assert settings.saved_model == ("a", "b") and settings.image_size is None
    assert settings.split == "validation" and settings.batch_size == 16


def test_untrained_networks_are_part_of_the_data(tmp_path):
    path = saved_models.write_facts(tmp_path / "model", embedding_weights="random")
    data = measuring.describe({"dataset": "x"}, {"name": path})
    assert data["dataset"] == "x"
    assert data["models"]["name"] == {"saved_model": path, "embedding_weights": "random"}


def test_models_for_different_sizes_need_an_image_size(tmp_path):
    def refuse(*paths, match):
        with pytest.raises(UserError, match=match):
            measuring.evaluate_saved_models(
                paths, dataset="folder", split="train", output_dir=str(tmp_path / "out")
            )

    small, large = (
        saved_models.write_facts(tmp_path / name, image_size=[side, side])
        for name, side in (("small", 96), ("large", 256))
    )
    unknown = str(tmp_path / "unknown")
    refuse(small, large, match="different sizes.*--image_size")
    refuse(small, unknown, match="different sizes.*--image_size")
    refuse(large, unknown, match="no SavedModel in")  # 256 is the default


def test_each_model_at_its_own_size(photographs, tmp_path):
    """As if it had colored the gray pictures, which are 1 unit of L* off by their rounding."""
    small, own = (saved_models.save(tmp_path / name) for name in ("small", "own"))
    for path, side in ((small, 4), (own, 48)):
        saved_models.write_facts(Path(path), image_size=[side, side])
    result = measuring.evaluate_saved_models(
        [small, own],
        dataset="folder",
        data_dir=str(photographs),
        split="train",
        image_size=48,
        own_size=True,
        store_dir=str(tmp_path / "store"),
        output_dir=str(tmp_path / "out"),
    )
    plain = measuring.evaluate_saved_models(
        [own],
        dataset="folder",
        data_dir=str(photographs),
        split="train",
        store_dir=str(tmp_path / "store"),
        output_dir=str(tmp_path / "plain"),
    )
    _, of_small, of_own = result["rows"]
    assert of_own == plain["rows"][1] | {"model": "own"}
    assert "Each model saw them at its own size." in (tmp_path / "out" / "table.md").read_text()
    source = sources.open_source("folder", "train", data_dir=str(photographs))
    prepared = store.prepare(source, store_dir=str(tmp_path / "store"), image_size=(48, 48))
    model, error = colorizer.load(small), []
    for true in prepared.pictures:
        gray = color.lab2rgb(color.rgb2lab(true) * [1, 0, 0])
        colored = model.colorize(np.round(255 * gray).astype(np.uint8))
        error.append(np.mean((colored.astype(float) - true) ** 2))
    pooled = 10 * np.log10(255**2 / np.mean(error))
    assert of_small["psnr_pooled"] == pytest.approx(pooled, abs=0.005)
    assert of_small["psnr_pooled"] != pytest.approx(of_own["psnr_pooled"], abs=0.02)


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"objects": True, "resize": "crop"}, "leave --resize=crop out"),
        ({"report": "/nowhere/report.html"}, "page /nowhere/report.html .* another --report"),
    ],
)
def test_what_is_refused_before_pictures_are_prepared(model, tmp_path, options, sentence):
    write_marked_pictures(str(tmp_path))
    with pytest.raises(UserError, match=sentence):
        measuring.evaluate_saved_models(
            [model],
            dataset="marked_pictures",
            data_dir=str(tmp_path),
            split="train",
            store_dir=str(tmp_path / "store"),
            output_dir=str(tmp_path / "out"),
            **options,
        )
    assert not (tmp_path / "store").exists() and not (tmp_path / "out").exists()


def test_objects_of_a_dataset_that_marks_none(photographs, model, tmp_path):
    with pytest.raises(UserError, match="folder marks no objects .* leave --objects out"):
        measuring.evaluate_saved_models(
            [model],
            dataset="folder",
            data_dir=str(photographs),
            split="train",
            output_dir=str(tmp_path),
            objects=True,
        )


@pytest.mark.skipif(
    not os.environ.get("KOALAGAN_COCO_DIR"), reason="KOALAGAN_COCO_DIR does not name COCO 2017"
)
def test_objects_of_coco(model, tmp_path):
    result = measuring.evaluate_saved_models(
        [model],
        dataset="coco/2017",
        data_dir=os.environ["KOALAGAN_COCO_DIR"],
        split="validation",
        image_size=32,
        store_dir=str(tmp_path / "store"),
        output_dir=str(tmp_path),
        objects=True,
    )
    first = result["objects"][0]
    assert (first["by"], first["name"], first["objects"]) == ("class", "person", 144)
