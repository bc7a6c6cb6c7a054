# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What is known of an exported model, kept in its folder under assets.extra.

    koalagan.json                         facts that koalagan reads (`saved_model.facts`)
    model_card.json, MODEL_CARD.md        the same and more, for programs and for people

The card follows Mitchell et al., "Model Cards for Model Reporting", 2019, as far as something is
known: what the model is and was trained on, how well it does, and what it is not for.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from koalagan import files
from koalagan.errors import UserError
from koalagan.evaluation import protocol, tables
from koalagan.inference import saved_model

_NETWORKS = {
    "inception_resnet_v2": "Inception-ResNet-v2 (what the picture shows)",
    "efficientnet_lite2": "EfficientNet-Lite2 (what the picture shows)",
    "segmentation": "DeepLabV3+ (where in the picture things are)",
    "resnet18_unet": "ResNet18 (the initial encoder)",
    "koala": "EfficientNet-Lite0 (the initial encoder)",
}
_LIMITS = (
    "Colors are plausible at best and never evidence: the colors of clothes, skin, flags and paint "
    "are guessed from lightness alone.",
    "The model knows what its training pictures show. On other subjects, and on drawings if it was "
    "trained on photographs, it falls back to brown and gray.",
    "Skin tones follow the training pictures, including what these lack.",
    "Lightness is never changed: scratches, noise and fading stay.",
)
_LICENSE = (
    "koalagan is Apache-2.0. The training pictures and the published weights that a network "
    "started from keep their own licenses, which also limit what this model may be used for."
)
_CARD = """# {name}

Colors black-and-white photographs: lightness in, the two color channels of CIE Lab out. Exported by
koalagan {koalagan}.

## The model

| | |
| :--- | :--- |
{facts}

{networks}
## Results

{results}

## Limits

{limits}

## License

{license}

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


def write(
    folder: str, name: str, flags: Mapping[str, Any], result: Mapping[str, Any] | None
) -> None:
    """Writes the card of an export.

    Args:
        folder: the export's.
        name: the run's.
        flags: the run's settings by flag.
        result: the evaluation of exactly this model (see `protocol.evaluate_models`), or None.

    Raises:
        UserError: it cannot be written.
    """
    facts = saved_model.facts(folder)
    result = _with_gray(result)
    card = {
        **facts,
        "versions": protocol.versions(),
        "flags": dict(flags),
        "evaluation": result,
        "limits": list(_LIMITS),
        "license": _license(facts),
    }
    texts = {
        "model_card.json": json.dumps(card, indent=1, ensure_ascii=False) + "\n",
        "MODEL_CARD.md": page(name, facts, flags, result),
    }
    try:
        for file, text in texts.items():
            files.publish_text(Path(folder) / "assets.extra" / file, text)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}.") from error


def _with_gray(result: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The result with the current name of its first row, which older versions wrote as "grey"."""
    if result is None or result["rows"][0]["model"] != "grey":
        return result
    gray, *others = result["rows"]
    return {**result, "rows": [{**gray, "model": tables.GRAY}, *others]}


def _license(facts: Mapping[str, Any]) -> str:
    """What the model may be used for: the model that comes along, and what is made from it, have a
    license of their own.
    """
    return facts.get("license", _LICENSE)


def _head(facts: Mapping[str, Any]) -> dict[str, str]:
    """The row of a head that classifies; older versions had only the other."""
    if facts.get("head", "regression") == "regression":
        return {}
    return {"head": f"{facts['head']}, temperature {facts['temperature']}"}


def page(
    name: str, facts: Mapping[str, Any], flags: Mapping[str, Any], result: Mapping[str, Any] | None
) -> str:
    """The card as a page in Markdown; see `write`."""
    height, width = facts["image_size"]
    shown = {
        "generator": facts["generator"],
        **_head(facts),
        "size of its input": f"{height}x{width}",
        "trained on": f"{facts['dataset']} {facts['train_split']}".rstrip(),
        "epochs planned": (
            f"{flags['pretrain_epochs']} of pretraining, {flags['epochs']} against a PatchGAN"
        ),
        **({"started from": facts["started_from"]} if "started_from" in facts else {}),
        "weights stored in": facts.get("weights", "float32"),
        "written by": f"koalagan {facts['koalagan']}, TensorFlow {facts['tensorflow']}",
    }
    networks = ""
    parts = {
        # Older versions had one embedding network.
        "embedding": facts.get("embedding", "inception_resnet_v2"),
        "segmentation": "segmentation",
        "backbone": facts["generator"],
    }
    for part, network in parts.items():
        weights = facts.get(f"{part}_weights", "none")
        if weights != "none":
            inside = "provided by the caller" if part in facts.get("inputs", ()) else "included"
            trained = "untrained: random weights" if weights == "random" else weights
            networks += f"- {_NETWORKS[network]}, {inside}: {trained}\n"
    return _CARD.format(
        name=name,
        koalagan=facts["koalagan"],
        facts="\n".join(f"| {what} | {value} |" for what, value in shown.items()),
        networks=networks,
        results=tables.format_table(result) if result else "Not measured.",
        limits="\n".join(f"- {limit}" for limit in _LIMITS),
        license=_license(facts),
        flags="\n".join(f"--{name}={value}" for name, value in flags.items() if value is not None),
    )
