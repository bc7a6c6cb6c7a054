# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Measuring predictors: gray first, the same numbers in every file."""

import csv
import json
import os

import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from PIL import Image

from koalagan.color import lab
from koalagan.data.objects import Objects
from koalagan.errors import UserError
from koalagan.evaluation import distributions, protocol, tables
from koalagan.models import picture_features

ROW = [
    "model",
    "pictures",
    "psnr",
    "psnr_pooled",
    "ssim",
    "ssim_ab",
    "colorfulness",
    "colorfulness_gap",
    "ciede2000",
    "ab_mae",
    "within_10",
    "within_20",
    "accuracy_area",
    "stray_color",
]


@pytest.fixture(scope="module")
def pictures():
    """uint8 [5, 24, 32, 3]: windows of photographs, the last one without color."""
    astronaut, coffee = skimage.data.astronaut(), skimage.data.coffee()
    windows = [astronaut[::8, ::8][i : i + 24, i : i + 32] for i in (0, 12)]
    windows += [coffee[::8, ::8][i : i + 24, i : i + 32] for i in (0, 12)]
    gray = np.repeat(windows[0][..., 1:2], 3, axis=-1)
    return np.stack([*windows, gray])


def oracle(pictures, scale=1.0):
    """A predictor that knows the pictures and returns `scale` times their true color."""
    true_L, true_ab = (part.numpy() for part in lab.rgb_to_lab(pictures))

    def predict(L):
        rows = [int(np.abs(true_L - one).mean(axis=(1, 2, 3)).argmin()) for one in L.numpy()]
        return scale * true_ab[rows]

    return predict


def run(models, pictures, output_dir, **kwargs):
    data = {"dataset": "photographs", "split": "all"}
    return protocol.evaluate_models(models, pictures, data=data, output_dir=output_dir, **kwargs)


def test_rows_rank_models_and_start_with_gray(pictures, tmp_path):
    models = {"perfect": oracle(pictures), "half": oracle(pictures, 0.5)}
    result = run(models, pictures, str(tmp_path), batch_size=2)
    gray, perfect, half = result["rows"]
    assert [row["model"] for row in result["rows"]] == ["gray", "perfect", "half"]
    assert all(list(row) == ROW and row["pictures"] == 5 for row in result["rows"])
    for metric in ("psnr", "psnr_pooled", "ssim", "ssim_ab"):
        assert gray[metric] < half[metric] < perfect[metric], metric
    for metric in ("colorfulness_gap", "ciede2000", "ab_mae"):
        assert gray[metric] > half[metric] > perfect[metric] == 0, metric
    assert result["truth"]["colorfulness"] == pytest.approx(perfect["colorfulness"])
    assert result["truth"]["pictures_with_color"] == 4
    assert gray["colorfulness"] < 0.5


def test_batches_do_not_change_the_numbers(pictures, tmp_path):
    one, other = (
        run({"half": oracle(pictures, 0.5)}, pictures, str(tmp_path), batch_size=size)["rows"]
        for size in (3, 100)
    )
    for a, b in zip(one, other, strict=True):
        assert a.pop("model") == b.pop("model")
        assert a == pytest.approx(b, rel=1e-5)


def test_metrics_are_written_with_data_and_versions(pictures, tmp_path):
    result = run({}, pictures, str(tmp_path / "new" / "folder"))
    written = tmp_path / "new" / "folder"
    names = ["grid.png", "metrics.json", "pictures.csv", "pictures.jsonl", "table.md"]
    assert sorted(os.listdir(written)) == sorted(protocol.FILES) == names
    assert json.loads((written / "metrics.json").read_text()) == result
    optional = ["distributions", "objects"]
    assert list(result) == ["rows", "truth", "intervals", *optional, "data", "versions"]
    assert [result[name] for name in optional] == [None, None]
    assert result["data"] == {"dataset": "photographs", "split": "all"}
    assert result["versions"]["tensorflow"] == tf.__version__
    assert {"koalagan", "keras", "numpy", "python"} < set(result["versions"])


def test_every_picture_is_written(pictures, tmp_path):
    """Whoever wants other statistics, or the worst pictures, finds the numbers there."""
    names = ["a.jpg", "b, c.jpg", "d\udcff.jpg", "e.jpg", "f.jpg"]
    result = run({"half": oracle(pictures, 0.5)}, pictures, str(tmp_path), ids=names)
    with open(tmp_path / "pictures.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["picture"] for line in lines[::2]] == [*names[:2], "d\\udcff.jpg", *names[3:]]
    assert [line["model"] for line in lines] == ["gray", "half"] * 5
    for number, row in enumerate(result["rows"]):
        for metric in ("ssim", "ciede2000", "ab_mae"):
            values = [float(line[metric]) for line in lines[number::2]]
            assert np.mean(values) == pytest.approx(row[metric], rel=1e-4, abs=1e-6)
    objects = map(json.loads, (tmp_path / "pictures.jsonl").read_text().splitlines())
    objects = list(objects)
    assert [(one["picture"], one["model"]) for one in objects] == [
        (name, model) for name in names for model in ("gray", "half")
    ]
    for one, line in zip(objects, lines, strict=True):
        assert list(one) == list(line)
        assert one["ssim"] == pytest.approx(float(line["ssim"]), rel=1e-5)
    run({}, pictures, str(tmp_path))
    assert (tmp_path / "pictures.csv").read_text().splitlines()[2].startswith("1,gray,")
    assert json.loads((tmp_path / "pictures.jsonl").read_text().splitlines()[1])["picture"] == 1


def test_the_first_model_is_compared_with_the_others(pictures, tmp_path):
    # Enough for intervals.
    pictures = np.concatenate([pictures, pictures[:, ::-1, ::-1, ::-1]])
    models = {"half": oracle(pictures, 0.5), "perfect": oracle(pictures)}
    result = run(models, pictures, str(tmp_path))
    gray, half, perfect = result["rows"]
    differences = result["intervals"]["differences"]
    assert [(row["first"], row["model"]) for row in differences] == [
        ("half", "gray"),
        ("half", "perfect"),
    ]
    for row, other in zip(differences, (gray, perfect), strict=True):
        for metric in ("psnr", "psnr_pooled", "ssim", "ssim_ab", "ciede2000", "ab_mae"):
            difference, low, high = row[metric]
            assert difference == pytest.approx(half[metric] - other[metric], abs=1e-4)
            assert low <= difference <= high
    for row, limits in zip(result["rows"], result["intervals"]["rows"], strict=True):
        assert row["model"] == limits["model"]
        for metric, (low, high) in list(limits.items())[1:]:
            assert low <= row[metric] + 1e-4 and row[metric] - 1e-4 <= high
    assert run({}, pictures, str(tmp_path))["intervals"]["differences"] == []
    none = run(models, pictures, str(tmp_path), compare="none")["intervals"]["differences"]
    every = run(models, pictures, str(tmp_path), compare="pairs")["intervals"]["differences"]
    assert none == [] and [row["model"] for row in every] == ["gray", "gray", "half"]


def test_distributions_of_the_pictures(pictures, tmp_path):
    models = {"half": oracle(pictures, 0.5), "perfect": oracle(pictures)}
    result = run(models, pictures, str(tmp_path), features="efficientnet_lite2", batch_size=2)
    known = result["distributions"]
    assert known["features"] == "EfficientNet-Lite2"
    gray, half, perfect = known["rows"]
    assert [row["model"] for row in known["rows"]] == ["gray", "half", "perfect"]
    describe = picture_features.load("efficientnet_lite2")
    L, ab = lab.rgb_to_lab(pictures)
    colored = describe(lab.lab_to_rgb(L, 0.5 * ab)).numpy().astype(np.float64)
    truth = describe(tf.constant(pictures)).numpy().astype(np.float64)
    assert half["fid"] == pytest.approx(distributions.frechet_distance(colored, truth), rel=1e-3)
    assert half["kid"] == pytest.approx(distributions.kernel_distance(colored, truth), rel=1e-3)
    assert gray["fid"] > half["fid"] > perfect["fid"] == pytest.approx(0.0, abs=1e-3)
    table = (tmp_path / "table.md").read_text()
    assert "FID (EfficientNet-Lite2)" in table and "KID x 1000 (EfficientNet-Lite2)" in table
    with pytest.raises(UserError, match="one picture has no distribution"):
        run({}, pictures[:1], str(tmp_path), features="efficientnet_lite2")


def test_objects_by_class_and_size(pictures, tmp_path):
    box = np.array([[0, 0, 1, 0.5]], np.float32)
    objects = [Objects(box, ["person"]), None, None, Objects(box, ["cup"]), None]
    result = run({"perfect": oracle(pictures)}, pictures, str(tmp_path), objects=objects)
    rows = [row for row in result["objects"] if row["by"] == "class"]
    assert [(row["model"], row["name"]) for row in rows] == [
        (model, name) for model in ("gray", "perfect") for name in ("cup", "person")
    ]
    assert rows[0]["ciede2000"] > rows[2]["ciede2000"] == 0
    table = (tmp_path / "table.md").read_text()
    assert "Classes in fewer than 6 pictures are left out: 2." in table
    assert "| class" not in table
    nothing = run({}, pictures, str(tmp_path), objects=[None] * 5)
    assert nothing["objects"] == []
    assert "No picture has marked objects." in (tmp_path / "table.md").read_text()
    assert "| large |       2 |        2 |" in table and "perfect: CIEDE2000" in table


def test_grid_shows_gray_then_models_then_truth(pictures, tmp_path):
    run({"perfect": oracle(pictures)}, pictures, str(tmp_path), grid_rows=3)
    grid = np.asarray(Image.open(tmp_path / "grid.png"))
    header = grid.shape[0] - 3 * 28
    for row, picture in enumerate((0, 2, 4)):  # Spread over all pictures.
        top = header + row * 28
        gray, model, truth = (grid[top : top + 24, 4 + 36 * i : 36 + 36 * i] for i in range(3))
        np.testing.assert_array_equal(truth, pictures[picture])
        np.testing.assert_array_equal(model, truth)
        assert np.ptp(gray.astype(int), axis=-1).max() <= 1


def test_a_memory_map_is_read_batch_by_batch(pictures, tmp_path):
    np.save(tmp_path / "pictures.npy", pictures)
    mapped = np.load(tmp_path / "pictures.npy", mmap_mode="r")
    seen = []

    def predict(L):
        seen.append(len(L))
        return tf.zeros([*L.shape[:3], 2])

    result = run({"zero": predict}, mapped, str(tmp_path), batch_size=2, grid_rows=1)
    assert seen == [2, 2, 1, 1]  # The last is the grid.
    gray, zero = result["rows"]
    assert gray == zero | {"model": "gray"}


def test_table_is_written_as_it_is_printed(pictures, tmp_path):
    result = run({"half": oracle(pictures, 0.5)}, pictures, str(tmp_path))
    assert (tmp_path / "table.md").read_text() == tables.format_table(result)


def test_pictures_without_color_have_no_mean_psnr(pictures, tmp_path):
    result = run({}, pictures[-1:], str(tmp_path))
    assert result["rows"][0]["psnr"] is None
    assert "| gray  |         - |" in tables.format_table(result)


def test_what_cannot_be_measured_is_refused(pictures, tmp_path):
    def refuse(models, match, pictures=pictures, output_dir=tmp_path / "out"):
        with pytest.raises(UserError, match=match):
            run(models, pictures, str(output_dir))

    refuse({"small": lambda L: tf.zeros([5, 12, 16, 2])}, r"small returned .*12, 16, 2")
    refuse({"one": lambda L: L}, r"one returned .*--image_size")
    for value in (np.nan, -np.inf, 1e25):
        diverged = {"diverged": lambda L, value=value: tf.fill([5, 24, 32, 2], value)}
        refuse(diverged, "diverged predicts colors that are NaN, infinite or far beyond")
    assert not (tmp_path / "out" / "metrics.json").exists()
    refuse({}, "8x8 are too small.*11", pictures=pictures[:, :8, :8])
    (tmp_path / "file").write_text("")
    refuse({}, "file/out.*--output_dir", output_dir=tmp_path / "file" / "out")
