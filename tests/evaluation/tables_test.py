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
        "intervals": {
            "confidence": 0.95,
            "rows": [
                {"model": model, **dict.fromkeys(metrics, [1.5, 23.25]), "psnr": None}
                for model in models
            ],
            "differences": [],
        },
    }


def test_columns_are_aligned_and_a_note_says_what_was_measured():
    text = tables.format_table(result(tables.GRAY, "half|way", ssim=0.98765))
    header, rule, gray, half, blank, note = text.splitlines()[:6]
    assert len({len(line) for line in (header, rule, gray, half)}) == 1
    assert gray.startswith("| gray ") and half.startswith(r"| half\|way ")
    assert set(rule) == set("| :-") and blank == ""
    assert " 12.35 " in half and " 0.9877 " in half
    assert "5 pictures of photographs all, 4 of them with color" in note
    assert "54.32" in note
    # A terminal gets these alone.
    assert tables.format_summary(result(tables.GRAY, "half|way", ssim=0.98765)).splitlines() == [
        *(header, rule, gray, half, blank, note)
    ]


def test_intervals_of_every_model():
    text = tables.format_table(result(tables.GRAY, "half|way"))
    header, rule, gray, half, blank, note = text.splitlines()[7:]
    assert len({len(line) for line in (header, rule, gray, half)}) == 1
    assert half.startswith(r"| half\|way ") and blank == ""
    assert "| 1.5000 - 23.2500 |" in half and "|         - | " in half
    assert half.count("1.50 - 23.25") == 5 and "95% intervals" in note


def test_differences_are_shown_with_their_intervals():
    given = result(tables.GRAY, "half|way")
    values = {
        "psnr": [1.234, 0.5, 3.0],
        "psnr_pooled": [1.234, -0.5, 3.0],
        "ssim": None,
        "ciede2000": [-1.5, None, None],
    }
    rows = [{"first": first, "model": tables.GRAY, **values} for first in ("half|way", "other")]
    given["intervals"]["differences"] = rows
    lines = tables.format_table(given).splitlines()[14:]
    header, rule, row, blank = lines[:4]
    assert len({len(line) for line in (header, rule, row)}) == 1 and blank == ""
    assert header.startswith(r"| half\|way minus ") and "| colorfulness |" not in header
    # Only the interval with 0 in it is marked.
    assert "| +1.23 (+0.50 to +3.00) | ~ +1.23 (-0.50 to +3.00) |" in row and "|    - |" in row
    assert row.endswith(" ~ -1.50 |")  # of too few pictures
    assert lines[4].startswith("| other minus ") and lines[-2] == ""
    assert "95% intervals" in lines[-1] and "~ marks" in lines[-1]


def test_results_of_earlier_versions_have_no_intervals():
    given = result(tables.GRAY, "koala")
    text = tables.format_table(given)
    del given["intervals"]
    assert text.startswith(tables.format_table(given))


def test_a_missing_value_is_a_dash():
    text = tables.format_table(result(tables.GRAY, psnr=None))
    assert "| gray  |         - |" in text
