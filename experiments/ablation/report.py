# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The report of `ablation.py`, as Markdown: measured tables, then the published ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from koalagan.evaluation import tables
from koalagan.training.step_means import CLASS_LOSS, LOSSES

# The flags in the table of training settings.
_SHOWN = ("generator", "pretrain_epochs", "epochs", "batch_size", "discriminator_every")


def epoch_losses(run: str, discriminator_every: int = 1) -> list[dict[str, float]]:
    """Reads the training losses of each epoch, by the papers' names, from TensorBoard files.

    The loss of an epoch is the mean of its points, each weighted by the steps that it averages. For
    the discriminator's losses these are its turns.

    Args:
        run: the run's folder.
        discriminator_every: the discriminator had its turn on every n-th adversarial step, the
            first included.
    """
    points = _scalars(f"{run}/tensorboard/train")
    ends = sorted(_scalars(f"{run}/tensorboard/validation").get("psnr", {}))
    epochs, adversarial_start = [], None
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        losses = {}
        for name in (*LOSSES, CLASS_LOSS):
            steps = [step for step in sorted(points.get(name, {})) if start < step <= end]
            if not steps:
                continue
            weights = np.diff([start, *steps])
            if name.startswith("loss_D"):
                adversarial_start = start if adversarial_start is None else adversarial_start
                done = np.array([start, *steps]) - adversarial_start
                weights = np.diff(-(-done // discriminator_every))
            values = [points[name][step] for step in steps]
            losses[name] = float(np.average(values, weights=weights))
        epochs.append(losses)
    return epochs


def _scalars(folder: str) -> dict[str, dict[int, float]]:
    events = EventAccumulator(folder, size_guidance={"tensors": 0, "images": 1})
    events.Reload()
    return {
        tag: {
            event.step: float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)
        }
        for tag in events.Tags()["tensors"]
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
    }


def format_report(result: Mapping[str, Any], published: Sequence[Mapping], command: str) -> str:
    """Formats all tables as Markdown.

    Args:
        result: from `ablation.measure`.
        published: the content of published.json.
        command: the command that wrote the report.
    """
    rows = {row["model"].split(" (")[0]: row for row in result["rows"]}
    parts = [
        "# All systems side by side",
        f"Written by `{command}`. These flags apply to all experiments and override those of their "
        "flagfiles.",
        "## Measured results",
        tables.format_table(result),
        "*random* names the networks that start from untrained weights; frozen networks keep them.",
        "## Training settings",
        _systems_table(result["experiments"]),
        "## Training losses of the adversarial phase, by epoch",
        _losses_table(result["experiments"]),
        "## Published results",
        "Numbers in parentheses are the same measurements of the same experiments above.",
    ]
    for table in published:
        parts += [f"### {table['title']}", f"Source: {table['source']}. {table['differs']}"]
        if table["rows"]:
            parts.append(published_table(table, rows, result["experiments"]))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _systems_table(experiments: Mapping[str, Mapping]) -> str:
    header = [
        "experiment",
        "generator",
        "trainable parameters",
        "L1 passes",
        "GAN passes",
        "batch",
        "D every",
    ]
    rows = []
    for name, facts in experiments.items():
        generator, *numbers = (facts["flags"][flag] for flag in _SHOWN)
        shown = [f"{facts['parameters']:,}", *map(str, numbers)]
        rows.append([name, generator, *shown])
    return _markdown(header, rows)


def _losses_table(experiments: Mapping[str, Mapping]) -> str:
    epochs = [
        (name, which, losses)
        for name, facts in experiments.items()
        if facts["losses"]
        for which, losses in facts["losses"].items()
    ]
    # Only where a generator classifies colors.
    names = [name for name in (*LOSSES, CLASS_LOSS) if any(name in epoch[2] for epoch in epochs)]
    rows = [
        [name, which, *(f"{losses[loss]:.3f}" if loss in losses else "-" for loss in names)]
        for name, which, losses in epochs
    ]
    return _markdown(["experiment", "epoch", *(names or LOSSES)], rows)


def published_table(table: Mapping, measured: Mapping, experiments: Mapping) -> str:
    """Formats a published table; our number for the same experiment follows in parentheses.

    Args:
        table: an entry of published.json.
        measured: rows of metrics.json by experiment.
        experiments: the "experiments" of `ablation.measure`.
    """
    rows = []
    for row in table["rows"]:
        name = row.get("experiment")
        ours = dict(measured.get(name, {}))
        losses = experiments.get(name, {}).get("losses") or {}
        ours |= losses.get(row.get("epoch"), {})
        cells = [row["system"]]
        for key in table["columns"]:
            # Text, with all digits that were published.
            cell = row.get(key, "-")
            known = ours.get(key) is not None
            cells.append(f"{cell} ({ours[key]:.4g})" if known else cell)
        rows.append(cells)
    return _markdown(["system", *table["columns"]], rows)
