# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Results as an aligned Markdown table."""

from koalagan.evaluation import tables


def result(*models, **values):
    metrics = ("psnr", "psnr_pooled", "ssim", "ssim_ab", "colorfulness")
    metrics += ("colorfulness_gap", "ciede2000", "ab_mae")
    row = {"pictures": 5, **dict.fromkeys(metrics, 12.3456), **values}
    return {
        "rows": [{"model": model, **row} for model in models],
        "truth": {"colorfulness": 54.321, "pictures_with_color": 4},
        "data": {"dataset": "photographs", "split": "all"},
        "differences": {"first": models[-1], "confidence": 0.95, "rows": []},
    }


def test_columns_are_aligned_and_a_note_says_what_was_measured():
    text = tables.format_table(result(tables.GRAY, "half|way", ssim=0.98765))
    header, rule, gray, half, blank, note = text.splitlines()
    assert len({len(line) for line in (header, rule, gray, half)}) == 1
    assert gray.startswith("| gray ") and half.startswith(r"| half\|way ")
    assert set(rule) == set("| :-") and blank == ""
    assert " 12.35 " in half and " 0.9877 " in half
    assert "5 pictures of photographs all, 4 of them with color" in note
    assert "54.32" in note


def test_differences_are_shown_with_their_intervals():
    given = result(tables.GRAY, "half|way")
    values = {
        **dict.fromkeys(("psnr", "psnr_pooled", "ciede2000"), [1.234, -0.5, 3.0]),
        "ssim": None,
    }
    given["differences"]["rows"] = [{"model": tables.GRAY, **values}]
    header, rule, row, blank, note = tables.format_table(given).splitlines()[-5:]
    assert len({len(line) for line in (header, rule, row)}) == 1 and blank == ""
    assert header.startswith(r"| half\|way minus ") and "| colorfulness |" not in header
    assert row.count("+1.23 (-0.50 to +3.00)") == 3 and "|    - |" in row
    assert "95% intervals" in note


def test_results_of_earlier_versions_have_no_differences():
    given = result(tables.GRAY, "koala")
    text = tables.format_table(given)
    del given["differences"]
    assert tables.format_table(given) == text


def test_a_missing_value_is_a_dash():
    text = tables.format_table(result(tables.GRAY, psnr=None))
    assert "| gray  |         - |" in text
