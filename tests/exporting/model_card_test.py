# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The model card: from the facts beside a model, its flags and its evaluation."""

import json

import pytest

from koalagan.errors import UserError
from koalagan.exporting import model_card

FACTS = {
    "generator": "unet",
    "dataset": "koala_scenes",
    "train_split": "train[:8]",
    "embedding_weights": "random",
    "segmentation_weights": "pascalvoc",
    "backbone_weights": "none",
    "inputs": ["segmentation"],
    "image_size": [32, 48],
    "koalagan": "0.1.0",
    "tensorflow": "2.21.0",
}
FLAGS = {"pretrain_epochs": 2, "epochs": 3, "init_from": None}


def result(gray):
    row = dict.fromkeys(
        ("psnr", "psnr_pooled", "ssim", "ssim_ab", "colorfulness"), 1.0
    ) | dict.fromkeys(("colorfulness_gap", "ciede2000", "ab_mae"), 2.0)
    return {
        "rows": [{"model": name, "pictures": 4, **row} for name in (gray, "run")],
        "truth": {"colorfulness": 30.0, "pictures_with_color": 4},
        "data": {"dataset": "koala_scenes", "split": "validation"},
    }


@pytest.fixture
def folder(tmp_path):
    model_card.write_facts(str(tmp_path), FACTS)
    return tmp_path


def read(folder):
    extra = folder / "assets.extra"
    card = json.loads((extra / "model_card.json").read_text("utf-8"))
    return card, (extra / "MODEL_CARD.md").read_text("utf-8")


def test_the_card_holds_all_that_is_known(folder):
    model_card.write(str(folder), "mine", FLAGS, result("gray"))
    card, page = read(folder)
    assert FACTS.items() <= card.items()
    assert card["flags"] == FLAGS and card["evaluation"] == result("gray")
    assert {"versions", "limits", "license"} < set(card)
    for part in (
        "# mine",
        "| unet |",
        "| 32x48 |",
        "| koala_scenes train[:8] |",
        "| 2 of pretraining, 3 against a PatchGAN |",
        "| float32 |",
        "included: untrained: random weights",
        "provided by the caller: pascalvoc",
        "| run ",
        "--pretrain_epochs=2\n--epochs=3\n",
    ):
        assert part in page, part
    assert "ResNet18" not in page and "init_from" not in page


def test_a_model_that_was_not_measured(folder):
    model_card.write(str(folder), "mine", FLAGS, None)
    card, page = read(folder)
    assert card["evaluation"] is None and "Not measured." in page


def test_the_first_row_of_older_results_gets_its_current_name(folder):
    model_card.write(str(folder), "mine", FLAGS, result("grey"))
    card, page = read(folder)
    assert card["evaluation"] == result("gray")
    assert "| gray " in page and "grey" not in page


def test_a_folder_that_cannot_be_written(tmp_path):
    model_card.write_facts(str(tmp_path), FACTS)
    (tmp_path / "assets.extra" / "MODEL_CARD.md").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        model_card.write(str(tmp_path), "mine", FLAGS, None)
