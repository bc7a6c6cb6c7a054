# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The papers' short claims: what trainings with several seeds say of them."""

import json
import sys
from pathlib import Path

import claims
import numpy as np
import pytest
import scipy.stats

from koalagan import cli
from koalagan.errors import UserError

ROOT = Path(__file__).parents[2]
CLAIM = {
    "claim": "More is better",
    "source": "a paper, Table 1",
    "published": "1 against 2",
    "measure": "psnr_pooled",
    "higher": "more",
    "lower": "less",
}


def result(seed, more, less, loss=0.5, pictures="a", **flags):
    """The content of a metrics.json of two experiments, which differ in their flag `epochs`."""
    flags = {"seed": seed, **flags}
    return {
        "data": {"fingerprint": pictures},
        "rows": [
            {"model": "gray", "psnr_pooled": 19.0},
            {"model": "more (random embedding)", "psnr_pooled": more},
            {"model": "less", "psnr_pooled": less},
        ],
        "experiments": {
            name: {"flags": {"epochs": epochs, **flags}, "losses": {"last": {"loss_D": value}}}
            for name, epochs, value in (("more", 2, loss), ("less", 1, 0.25))
        },
    }


def test_every_claim_is_about_experiments_there_are():
    known = json.loads((ROOT / "experiments" / "ablation" / "claims.json").read_text())
    for claim in known:
        assert set(claim) == set(CLAIM) and claim["measure"] in claims._NAMES
        for name in (claim["higher"], claim["lower"]):
            assert (ROOT / "experiments" / f"{name}.flags").is_file()


def test_the_interval_is_that_of_a_paired_t_test():
    differences = np.random.default_rng(0).normal(0.3, 0.5, 5)
    expected = scipy.stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    low, high, _ = claims.verdict(differences)
    np.testing.assert_allclose([low, high], expected)


@pytest.mark.parametrize(
    "less, said",
    [
        ([19.0, 19.1, 18.9], "holds"),
        ([21.0, 21.1, 20.9], "does not hold"),
        ([19.0, 21.0, 20.5], "cannot be told"),
    ],
)
def test_what_the_interval_says(less, said):
    results = [result(seed, 20.0, value) for seed, value in enumerate(less)]
    row = claims.table([CLAIM], results).splitlines()[2]
    assert row.endswith(f"| {said} |") and "(a paper, Table 1) | 1 against 2 |" in row
    assert f"| 20.00, more | {np.mean(less):.2f}, less | {20 - np.mean(less):+.2f} (" in row


def test_losses_of_the_last_epoch():
    results = [result(seed, 20, 19, loss) for seed, loss in enumerate([0.5, 0.54])]
    row = claims.table([{**CLAIM, "measure": "loss_D"}], results).splitlines()[2]
    assert "last loss_D | 0.52, more | 0.25, less |" in row
    assert row.endswith("| holds |")


@pytest.mark.parametrize(
    "results, pattern",
    [
        ([result(0, 20, 19)], "of the seeds 0: pass those of two"),
        ([result(0, 20, 19), result(0, 20, 19)], "of the seeds 0, 0"),
        ([result(0, 20, 19), result(1, 20, None)], "lacks psnr_pooled of more or less"),
        ([result(n, 20, 19, epochs=3) for n in (0, 1)], "more and less were trained with the same"),
        ([result(n, 20, 19, dropout=n) for n in (0, 1)], "differ in other flags of less too"),
        ([result(n, 20, 19, pictures=n) for n in (0, 1)], "0 and 1 are of different pictures"),
    ],
)
def test_results_that_say_nothing(results, pattern):
    with pytest.raises(UserError, match=pattern):
        claims.table([CLAIM], results)


def test_a_file_that_is_none(tmp_path, monkeypatch, capsys):
    path = tmp_path / "metrics.json"
    path.write_text("[]")
    monkeypatch.setattr(
        sys, "argv", ["claims.py", f"--metrics={path}", f"--output={tmp_path}/claims.md"]
    )
    with pytest.raises(SystemExit) as exit_:
        cli.run(claims.COMMAND)
    assert exit_.value.code == 1 and "is no metrics.json of ablation.py" in capsys.readouterr().err
    assert not (tmp_path / "claims.md").exists()


def test_a_place_that_cannot_be_written(tmp_path, monkeypatch):
    paths = tuple(str(tmp_path / f"{seed}.json") for seed in (0, 1))
    for seed, path in enumerate(paths):
        Path(path).write_text(json.dumps(result(seed, 20, 19)))
    monkeypatch.setattr(claims, "table", lambda known, results: "")  # it is of other experiments
    settings = claims.Settings(metrics=paths, output=str(tmp_path / "absent" / "claims.md"))
    with pytest.raises(UserError, match="claims.md cannot be written .No such file"):
        claims.main(settings, [])
