# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Makes a finished run of the koala generator the model that comes with koalagan.

    python experiments/studies/ship.py --workdir=runs/koala --metrics=evaluation/metrics.json \\
        --data='what it was trained on'

Writes the files of `koalagan.inference.pretrained`. The evaluation is that of `koalagan evaluate`
on pictures that the run has not seen; its row of this run becomes part of the card.
"""

import dataclasses
import json
from pathlib import Path

import koalagan
from koalagan import cli, options, precision
from koalagan.errors import UserError
from koalagan.exporting import model_card, trained
from koalagan.inference import pretrained
from koalagan.options import option
from koalagan.training import networks, run_folder
from koalagan.training.checkpoint import restore_generator

LICENSE = (
    "The weights of this model are licensed under CC BY-NC 4.0 "
    "(https://creativecommons.org/licenses/by-nc/4.0/), because the photographs that it was "
    "trained on are for research: they may be used, changed and passed on with credit to the "
    "koalagan authors, and not commercially. Its encoder started from EfficientNet-Lite0, which is "
    "Apache-2.0 like koalagan itself."
)


def _history(init_from: str) -> str:
    """The runs that a run started from, in words, the last one first."""
    if init_from == options.PRETRAINED:
        card = pretrained.card()
        flags, before = card["flags"], card["facts"].get("started_from")
        name = f"{init_from} as it was before"
    else:
        settings = run_folder.read_settings(init_from)
        flags, name = run_folder.kept_values(settings), Path(init_from).name
        before = settings.networks.init_from and _history(settings.networks.init_from)
    epochs, size = flags["pretrain_epochs"] + flags["epochs"], flags["image_size"]
    passes = "1 epoch" if epochs == 1 else f"{epochs} epochs"
    own = f"{name}, {passes} at {size}x{size}"
    return f"{own}, which started from {before}" if before else own


@dataclasses.dataclass(frozen=True)
class Settings:
    """The model to ship."""

    workdir: str = option(None, "The folder of its run.", required=True)
    metrics: str = option(
        None, "The metrics.json of its evaluation by `koalagan evaluate`.", required=True
    )
    data: str = option(None, "What it was trained on, in words.", required=True)


def ship(workdir: str, metrics: str, data: str, folder: Path = pretrained.FOLDER) -> None:
    """Writes weights and card of a run into `folder`.

    Raises:
        UserError: the folder is not that of a run of the koala generator, or the evaluation is not
            of one model.
    """
    settings = run_folder.read_settings(workdir)
    if settings.networks.generator != options.PRETRAINED:
        raise UserError(
            f"{workdir} trained {settings.networks.generator}, not {options.PRETRAINED}."
        )
    result = json.loads(Path(metrics).read_text())
    if len(result["rows"]) != 2:
        raise UserError(f"{metrics} must hold the gray row and one model.")
    (measured,) = result["data"].pop("models").values()
    if Path(measured["saved_model"]).resolve() != (Path(workdir) / "export").resolve():
        raise UserError(f"{metrics} is of {measured['saved_model']}, not of {workdir}/export.")
    own = result["rows"][1]["model"]
    if not (known := result.get("intervals")):
        raise UserError(f"{metrics} is of an earlier version: measure the model again.")
    for row in (*result["rows"], *known["rows"], *known["differences"]):
        row |= {key: options.PRETRAINED for key in ("model", "first") if row.get(key) == own}
    with precision.policy("float32"):
        generator = networks.build_generator(settings.networks, (None, None))
    restore_generator(generator, workdir)
    values = options.values(settings)
    facts = {name: values[name] for name in trained.DESCRIBED}
    facts |= {
        "dataset": data,
        "train_split": "",
        "koalagan": koalagan.__version__,
        "tensorflow": result["versions"]["tensorflow"],
        # It colors at the size at which it was measured, which may be larger than its crops.
        "image_size": result["data"]["image_size"],
        "weights": "float16",
        "license": LICENSE,
    }
    if settings.networks.init_from:
        facts["started_from"] = _history(settings.networks.init_from)
    # Nothing of the machine that trained it.
    flags = {
        name: value
        for name, value in run_folder.kept_values(settings).items()
        if name not in ("workdir", "data_dir", "store_dir", "init_from")
    }
    pretrained.save(generator, folder / pretrained.WEIGHTS.name)
    card = {"facts": facts, "flags": flags, "evaluation": result}
    (folder / pretrained.CARD.name).write_text(json.dumps(card, indent=1) + "\n", "utf-8")
    page = model_card.page(options.PRETRAINED, facts, flags, result)
    (folder / "MODEL_CARD.md").write_text(page, "utf-8")


def main(settings: Settings, arguments: list[str]) -> None:
    """Runs the script."""
    ship(settings.workdir, settings.metrics, settings.data)
    print(pretrained.FOLDER)


COMMAND = cli.Command(__doc__, Settings, main)

if __name__ == "__main__":
    cli.run(COMMAND)
