# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from absl import flags
from PIL import Image

from koalagan import evaluate
from koalagan.color import lab
from koalagan.errors import UserError
from koalagan.inference import saved_model

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
]


@pytest.fixture(scope="module")
def pictures():
    """uint8 [5, 24, 32, 3]: windows of photographs, the last one without colour."""
    astronaut, coffee = skimage.data.astronaut(), skimage.data.coffee()
    windows = [astronaut[::8, ::8][i : i + 24, i : i + 32] for i in (0, 12)]
    windows += [coffee[::8, ::8][i : i + 24, i : i + 32] for i in (0, 12)]
    grey = np.repeat(windows[0][..., 1:2], 3, axis=-1)
    return np.stack([*windows, grey])


def oracle(pictures, scale=1.0):
    """A predictor that knows the pictures and answers with `scale` times their true colour."""
    true_L, true_ab = (part.numpy() for part in lab.rgb_to_lab(pictures))

    def predict(L):
        rows = [int(np.abs(true_L - one).mean(axis=(1, 2, 3)).argmin()) for one in L.numpy()]
        return scale * true_ab[rows]

    return predict


def save_model(folder, size=(1, 1), name="predict_ab", output="ab"):
    """Saves a SavedModel that answers ab = (0.1 L, 0.2 L), for any size or for one."""

    class Model(tf.Module):
        def __init__(self):
            super().__init__()
            self.weight = tf.Variable(tf.fill([*size, 1], 0.2))

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 1], name="L")])
        def predict(self, L):
            return {output: tf.concat([0.1 * L, self.weight * L], axis=-1)}

    model = Model()
    tf.saved_model.save(model, str(folder), signatures={name: model.predict})
    return str(folder)


def run(models, pictures, output_dir, **kwargs):
    data = {"dataset": "photographs", "split": "all"}
    return evaluate.evaluate_models(models, pictures, data=data, output_dir=output_dir, **kwargs)


def test_rows_tell_good_from_bad_and_start_with_grey(pictures, tmp_path):
    models = {"perfect": oracle(pictures), "half": oracle(pictures, 0.5)}
    result = run(models, pictures, str(tmp_path), batch_size=2)
    grey, perfect, half = result["rows"]
    assert [row["model"] for row in result["rows"]] == ["grey", "perfect", "half"]
    assert all(list(row) == ROW and row["pictures"] == 5 for row in result["rows"])
    for metric in ("psnr", "psnr_pooled", "ssim", "ssim_ab"):
        assert grey[metric] < half[metric] < perfect[metric], metric
    for metric in ("colorfulness_gap", "ciede2000", "ab_mae"):
        assert grey[metric] > half[metric] > perfect[metric] == 0, metric
    assert result["truth"]["colorfulness"] == pytest.approx(perfect["colorfulness"])
    assert result["truth"]["pictures_with_color"] == 4
    assert grey["colorfulness"] < 0.5


def test_batches_do_not_change_the_numbers(pictures, tmp_path):
    one, other = (
        run({"half": oracle(pictures, 0.5)}, pictures, str(tmp_path), batch_size=size)["rows"]
        for size in (3, 100)
    )
    for a, b in zip(one, other, strict=True):
        assert a.pop("model") == b.pop("model")
        assert a == pytest.approx(b, rel=1e-5)


def test_writes_metrics_with_everything_that_made_them(pictures, tmp_path):
    result = run({}, pictures, str(tmp_path / "new" / "folder"))
    written = tmp_path / "new" / "folder"
    assert sorted(os.listdir(written)) == ["grid.png", "metrics.json", "table.md"]
    assert json.loads((written / "metrics.json").read_text()) == result
    assert list(result) == ["rows", "truth", "data", "versions"]
    assert result["data"] == {"dataset": "photographs", "split": "all"}
    assert result["versions"]["tensorflow"] == tf.__version__
    assert {"koalagan", "keras", "numpy", "python"} < set(result["versions"])


def test_grid_shows_grey_then_models_then_truth(pictures, tmp_path):
    run({"perfect": oracle(pictures)}, pictures, str(tmp_path), grid_rows=3)
    grid = np.asarray(Image.open(tmp_path / "grid.png"))
    header = grid.shape[0] - 3 * 28
    for row, picture in enumerate((0, 2, 4)):  # Spread over all pictures.
        top = header + row * 28
        grey, model, truth = (grid[top : top + 24, 4 + 36 * i : 36 + 36 * i] for i in range(3))
        np.testing.assert_array_equal(truth, pictures[picture])
        np.testing.assert_array_equal(model, truth)
        assert np.ptp(grey.astype(int), axis=-1).max() <= 1


def test_reads_a_memory_map_batch_by_batch(pictures, tmp_path):
    np.save(tmp_path / "pictures.npy", pictures)
    mapped = np.load(tmp_path / "pictures.npy", mmap_mode="r")
    seen = []

    def predict(L):
        seen.append(len(L))
        return tf.zeros([*L.shape[:3], 2])

    result = run({"zero": predict}, mapped, str(tmp_path), batch_size=2, grid_rows=1)
    assert seen == [2, 2, 1, 1]  # The last is the grid.
    grey, zero = result["rows"]
    assert grey == zero | {"model": "grey"}


def test_table_is_readable(pictures, tmp_path):
    result = run({"half|way": oracle(pictures, 0.5)}, pictures, str(tmp_path))
    text = evaluate.format_table(result)
    assert (tmp_path / "table.md").read_text() == text
    header, rule, grey, half, _, note = text.splitlines()
    assert len({len(line) for line in (header, rule, grey, half)}) == 1
    assert grey.startswith("| grey ") and half.startswith(r"| half\|way ")
    assert f"{result['rows'][1]['psnr']:.2f}" in half
    assert "5 pictures of photographs all, 4 of them with colour" in note
    assert f"{result['truth']['colorfulness']:.2f}" in note


def test_pictures_without_colour_have_no_mean_psnr(pictures, tmp_path):
    result = run({}, pictures[-1:], str(tmp_path))
    assert result["rows"][0]["psnr"] is None
    assert "| grey  |         - |" in evaluate.format_table(result)


def test_a_result_that_cannot_be_measured_says_why(pictures, tmp_path):
    def refuse(models, match, pictures=pictures, output_dir=tmp_path / "out"):
        with pytest.raises(UserError, match=match):
            run(models, pictures, str(output_dir))

    refuse({"small": lambda L: tf.zeros([5, 12, 16, 2])}, r"small answered .*12, 16, 2")
    refuse({"one": lambda L: L}, r"one answered .*--image_size")
    refuse({"diverged": lambda L: tf.fill([5, 24, 32, 2], np.nan)}, "diverged predicts .*not num")
    assert not (tmp_path / "out" / "metrics.json").exists()
    refuse({}, "8x8 are too small.*11", pictures=pictures[:, :8, :8])
    (tmp_path / "file").write_text("")
    refuse({}, "file/out.*--output_dir", output_dir=tmp_path / "file" / "out")


def test_predictor_calls_predict_ab(tmp_path):
    predict = saved_model.predictor(save_model(tmp_path))
    L = np.random.default_rng(0).uniform(-1, 1, (2, 5, 7, 1)).astype(np.float32)
    np.testing.assert_allclose(
        predict(tf.constant(L)), np.concatenate([0.1 * L, 0.2 * L], axis=-1), rtol=1e-6
    )


def test_predictor_refuses_what_it_cannot_use(tmp_path):
    def refuse(path, match):
        with pytest.raises(UserError, match=match) as raised:
            saved_model.predictor(str(path))(tf.zeros([1, 16, 16, 1]))
        assert "\n" not in str(raised.value)

    refuse(tmp_path / "absent", "no SavedModel in .*absent")
    refuse(save_model(tmp_path / "foreign", name="serve"), "foreign has no signature predict_ab")
    refuse(save_model(tmp_path / "other", output="colour"), "other has no signature predict_ab")
    refuse(
        save_model(tmp_path / "fixed", size=(8, 8)),
        "fixed does not take pictures of 16x16.*--image_size",
    )
    save_model(tmp_path / "broken")
    (tmp_path / "broken" / "saved_model.pb").write_bytes(b"not a graph")
    refuse(tmp_path / "broken", "broken cannot be read")
    save_model(tmp_path / "half")
    for part in (tmp_path / "half" / "variables").iterdir():
        part.unlink()
    refuse(tmp_path / "half", "half cannot be read")


def test_flags_are_defined_on_request_only():
    assert "saved_model" not in flags.FLAGS
    values = flags.FlagValues()
    evaluate.define_flags(values)
    values(["evaluate", "--saved_model=a", "--saved_model=b", "--output_dir=out"])
    assert values.saved_model == ["a", "b"] and values.image_size == 256
    assert values.split == "validation" and values.batch_size == 16


def command(*arguments, cwd):
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-m", "koalagan.evaluate", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": root},
    )


def test_command_compares_models_on_a_folder(pictures, tmp_path):
    (tmp_path / "photographs").mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "photographs" / f"{i}.png")
    done = command(
        f"--saved_model={save_model(tmp_path / 'one' / 'export')}",
        f"--saved_model={save_model(tmp_path / 'two' / 'export')}",
        "--dataset=folder",
        "--data_dir=photographs",
        "--split=train",
        "--image_size=16",
        "--store_dir=store",
        "--output_dir=out",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert [row["model"] for row in result["rows"]] == ["grey", "one", "two"]
    assert result["rows"][0]["pictures"] == 5
    assert result["data"]["models"]["one"]["saved_model"].endswith("one/export")
    assert (tmp_path / "out" / "table.md").read_text() in done.stdout


def test_command_mistakes_end_in_one_sentence(tmp_path):
    done = command("--saved_model=absent", "--output_dir=out", cwd=tmp_path)
    assert done.returncode == 1
    assert "no SavedModel in absent" in done.stderr and "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []
    with pytest.raises(UserError, match="'stray'"):
        evaluate.main(["evaluate", "stray"])


def test_models_are_named_after_their_run():
    names = evaluate.names(["runs/a/export", "models/b", "c/export/", "/x/d", "/y/d", "/x/true"])
    assert list(names) == ["a", "b", "c", "/x/d", "/y/d", "/x/true"]
    assert names["a"] == "runs/a/export"


def test_an_untrained_embedding_is_part_of_the_name_and_of_the_data(tmp_path):
    extra = tmp_path / "run" / "export" / "assets.extra"
    extra.mkdir(parents=True)
    facts = {"embedding_weights": "random", "image_size": [96, 96]}
    (extra / "koalagan.json").write_text(json.dumps(facts))
    names = evaluate.names([str(tmp_path / "run" / "export")])
    assert list(names) == ["run (random embedding)"]
    data = evaluate.describe({"dataset": "x"}, names)
    assert data["dataset"] == "x"
    assert data["models"]["run (random embedding)"]["embedding_weights"] == "random"


def test_pictures_are_measured_at_the_size_the_models_were_exported_for(tmp_path):
    for name, side in (("a", 96), ("b", 96), ("c", 64)):
        extra = tmp_path / name / "assets.extra"
        extra.mkdir(parents=True)
        (extra / "koalagan.json").write_text(json.dumps({"image_size": [side, side]}))
    a, b, c = (str(tmp_path / name) for name in "abc")
    assert evaluate._image_size([a, b]) == 96
    assert evaluate._image_size([str(tmp_path / "unknown")]) == 256
    with pytest.raises(UserError, match="different sizes.*--image_size"):
        evaluate._image_size([a, c])
