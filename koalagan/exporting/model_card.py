# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What is known of an exported model, kept in its folder under assets.extra:

    koalagan.json                         facts that koalagan itself reads (`saved_model.facts`)
    model_card.json, MODEL_CARD.md        the same and more, for programs and for people

The card follows Mitchell et al., "Model Cards for Model Reporting", 2019, as far as something is
known of each part: what the model is and learned from, how well it does, what it is not for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from koalagan import evaluate, files
from koalagan.errors import UserError
from koalagan.inference import saved_model
from koalagan.training import run_folder

_NETWORKS = {
    "embedding": "Inception-ResNet-v2 (what the picture is of)",
    "segmentation": "DeepLabV3+ (what is where)",
    "backbone": "ResNet18 (the encoder it started from)",
}
_LIMITS = (
    "The colours are plausible at best, and never evidence of what they were: clothes, skin, flags "
    "and paint are guessed from lightness alone.",
    "It knows what its training pictures show; on other subjects, and on drawings where it learned "
    "from photographs, it falls back to brown and grey.",
    "Skin tones follow the training pictures, with whatever they have too little of.",
    "Lightness is never changed: scratches, noise and fading stay.",
)
_LICENCE = (
    "koalagan is Apache-2.0. The training pictures and the published weights that a network "
    "started from keep their own licences; whether this model may be used for a purpose depends on "
    "those too."
)
_CARD = """# {name}

Colours black-and-white photographs: lightness in, the two chroma channels of CIE Lab out. Exported
by koalagan {koalagan}.

## The model

| | |
| :--- | :--- |
{facts}

{networks}
## Results

{results}

## Limits

{limits}

## Licence

{licence}

## How it was trained

The flags of `python -m koalagan.train`:

```
{flags}
```
"""


def write_facts(folder: str, facts: Mapping[str, Any]) -> None:
    """Writes koalagan.json.

    Raises:
        OSError: it cannot be written.
    """
    extra = Path(folder) / "assets.extra"
    extra.mkdir(exist_ok=True)
    (extra / "koalagan.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")


def write(folder: str, settings: flags.FlagValues, result: Mapping[str, Any] | None) -> None:
    """Writes the card of an export.

    Args:
        folder: the export's.
        settings: the flags of its run.
        result: what `evaluate.evaluate_models` measured of exactly this model; None if nothing.

    Raises:
        UserError: it cannot be written.
    """
    facts = saved_model.facts(folder)
    kept = run_folder.kept_values(settings)
    card = {
        **facts,
        "versions": evaluate.versions(),
        "flags": kept,
        "evaluation": result,
        "limits": list(_LIMITS),
        "licence": _LICENCE,
    }
    texts = {
        "model_card.json": json.dumps(card, indent=1, ensure_ascii=False) + "\n",
        "MODEL_CARD.md": _page(
            os.path.basename(os.path.abspath(settings.workdir)), facts, kept, result
        ),
    }
    try:
        for name, text in texts.items():
            files.publish_text(Path(folder) / "assets.extra" / name, text)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}.") from error


def _page(
    name: str, facts: Mapping[str, Any], kept: Mapping[str, Any], result: Mapping[str, Any] | None
) -> str:
    height, width = facts["image_size"]
    shown = {
        "generator": facts["generator"],
        "size it sees pictures at": f"{height}x{width}",
        "learned from": f"{facts['dataset']} {facts['train_split']}",
        "passes planned": (
            f"{kept['pretrain_epochs']} of pretraining, {kept['epochs']} against a PatchGAN"
        ),
        "weights kept in": facts.get("weights", "float32"),
        "written by": f"koalagan {facts['koalagan']}, TensorFlow {facts['tensorflow']}",
    }
    networks = ""
    for part, what in _NETWORKS.items():
        weights = facts.get(f"{part}_weights", "none")
        if weights != "none":
            inside = "given by the caller" if part in facts.get("inputs", ()) else "inside"
            trained = "untrained: weights drawn at random" if weights == "random" else weights
            networks += f"- {what}, {inside}: {trained}\n"
    return _CARD.format(
        name=name,
        koalagan=facts["koalagan"],
        facts="\n".join(f"| {what} | {value} |" for what, value in shown.items()),
        networks=networks,
        results=evaluate.format_table(result) if result else "Not measured.",
        limits="\n".join(f"- {limit}" for limit in _LIMITS),
        licence=_LICENCE,
        flags="\n".join(f"--{name}={value}" for name, value in kept.items() if value is not None),
    )
