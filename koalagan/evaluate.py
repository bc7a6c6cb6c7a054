# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Measures exported models side by side on the same pictures, gray first.

    python -m koalagan.evaluate [--saved_model=DIR --saved_model=DIR2 ...] \\
        --dataset=... --data_dir=... --split=... --output_dir=OUT

Writes OUT/metrics.json (all numbers, with the data and versions that made them), OUT/table.md (the
same, to read, with intervals, and what models have more than others), OUT/pictures.csv and
OUT/pictures.jsonl (what was measured of each picture) and OUT/grid.png (gray | each model | true).
A picture without color is the first row of every table: a model that is not better than gray has
learned nothing. --report=FILE.html writes a page of all this, with the best and the worst pictures
and a blind test.
"""

import os

from koalagan import cli, options
from koalagan.evaluation.settings import EvaluationSettings


def main(settings: EvaluationSettings, arguments: list[str]) -> None:
    """Runs the command."""
    from koalagan.evaluation import protocol, tables
    from koalagan.inference import measuring

    values = options.values(settings)
    output_dir = os.path.expanduser(values.pop("output_dir"))
    saved_models = values.pop("saved_model")
    report = values.pop("report")
    report = report and os.path.expanduser(report)
    result = measuring.evaluate_saved_models(
        saved_models, output_dir=output_dir, report=report, **values
    )
    print(tables.format_table(result))
    for name in protocol.FILES:
        print(os.path.join(output_dir, name))
    if report:
        print(report)


COMMAND = cli.Command(__doc__, EvaluationSettings, main)

if __name__ == "__main__":
    cli.run(COMMAND)
