# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""An evaluation as one HTML page that needs nothing else: no server, no files, no network.

Tables with intervals, curves, where in the plane of a* and b* the colors lie, the best and the
worst pictures of each model by each measure, and a blind test: which of two pictures is the
photograph (Zhang, Isola and Efros, "Colorful Image Colorization", 2016, section 3.1)?
"""

import base64
import hashlib
import html
import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from koalagan import files
from koalagan.color import lab
from koalagan.errors import UserError
from koalagan.evaluation import metrics, tables

_TEMPLATE = Path(__file__).with_name("report.html")
# How many pictures are best, and as many worst, by each measure.
_EXTREMES = 3
_PAIRS = 20
# For curves and histograms, spread evenly over all pictures.
_SAMPLE = 200
_BATCH = 16
# Colors pictures of the numbers given, with the model of a name: uint8 [n, H, W, 3].
Color = Callable[[str, np.ndarray], np.ndarray]
# By what pictures are best or worst: title, and whether more is better.
_MEASURES = {
    "squared_error": ("PSNR", False),
    "ssim": ("SSIM", True),
    "ciede2000": ("CIEDE2000", False),
    "stray_color": ("stray color", False),
}


def write(
    path: str,
    result: Mapping[str, Any],
    measured: Mapping[str, Mapping[str, np.ndarray]],
    pictures: np.ndarray,
    color: Color,
    ids: Sequence[str] | None = None,
) -> None:
    """Writes the page.

    Args:
        path: of the page.
        result: from `protocol.evaluate_models`.
        measured: metrics of every picture, from `metrics.join`, by the names of models, gray first.
        pictures: the truth, uint8 [N, H, W, 3].
        color: colors pictures; gray too.
        ids: the names of the pictures; None for their numbers.

    Raises:
        UserError: the page cannot be written.
    """
    names = [str(name) for name in (ids or range(len(pictures)))]
    models = [name for name in measured if name != tables.GRAY]
    sample = np.unique(np.linspace(0, len(pictures) - 1, min(_SAMPLE, len(pictures))).astype(int))
    data, versions = result["data"], result["versions"]
    height, width = pictures.shape[1:3]
    about = {
        "dataset": data["dataset"],
        "split": data["split"],
        "image_size": [height, width],
        "models": models,
        "koalagan": versions["koalagan"],
    }
    sampled = {
        name: np.concatenate([color(name, rows) for rows in _batches(sample)]) for name in measured
    }
    rng = np.random.default_rng(0)
    # A picture without color says nothing about colors.
    colored = np.flatnonzero(metrics.has_color(measured[tables.GRAY]))
    pairs = _pairs(models, rng.permutation(colored)[:_PAIRS], pictures, color, names)
    parts = {
        "TITLE": html.escape(f"Evaluation of {', '.join(models) or tables.GRAY}"),
        "SUMMARY": html.escape(
            f"{data['dataset']} {data['split']}: {len(pictures)} pictures of {height}x{width}. "
            f"koalagan {versions['koalagan']}, TensorFlow {versions['tensorflow']}."
        ),
        "ASPECT": f"{width} / {height}",
        "TABLES": "\n".join(map(_block, tables.blocks(result))),
        "CURVES": "\n".join(
            [
                _accuracy_curves(sampled, pictures[sample]),
                _psnr_curves(measured),
                _histograms(sampled, pictures[sample]),
            ]
        ),
        "PICTURES": "\n".join(_extremes(name, measured, pictures, color, names) for name in models),
        "DATA": _json({"about": about, "fingerprint": _fingerprint(pairs), "pairs": pairs}),
    }
    page = re.sub("__([A-Z]+)__", lambda match: parts[match[1]], _TEMPLATE.read_text("utf-8"))
    try:
        files.publish_text(path, page)
    except OSError as error:
        raise _not_writable(path, error.strerror or str(error)) from error


def check(path: str) -> None:
    """Checks that a page can be written there, as far as that is known before.

    Raises:
        UserError: it cannot.
    """
    if not os.path.isdir(os.path.dirname(path) or "."):
        raise _not_writable(path, "its folder does not exist")
    if os.path.isdir(path):
        raise _not_writable(path, "it is a folder")


def _not_writable(path: str, reason: str) -> UserError:
    return UserError(f"the page {path} cannot be written ({reason}): name another --report.")


def _json(value: Any) -> str:
    """JSON that does not end the element it is in, whatever a picture is called."""
    return json.dumps(value).replace("<", "\\u003c")


def _fingerprint(pairs: Sequence[Mapping[str, str]]) -> str:
    """Tells whether answers that a browser keeps are to these pairs."""
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16]


def _block(block: tables.Block) -> str:
    if isinstance(block, str):
        return f'<p class="note">{html.escape(block)}</p>'
    header, *rows = block
    lines = [_row("th", header), *(_row("td", row) for row in rows)]
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def _row(kind: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{kind}>{html.escape(cell)}</{kind}>' for cell in cells)}</tr>"


def _data_url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _picture(rgb: np.ndarray) -> str:
    # With all of the chroma's resolution: color is what the page is about.
    content = io.BytesIO()
    Image.fromarray(rgb).save(content, "JPEG", quality=92, subsampling=0)
    return _data_url("jpeg", content.getvalue())


def _figure(draw: Callable[[Any], None], caption: str, size: tuple[float, float]) -> str:
    """A figure by matplotlib."""
    from matplotlib.figure import Figure  # Importing it takes 0.3 seconds.

    figure = Figure(size, layout="constrained")
    draw(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    image = f'<img src="{_data_url("png", content.getvalue())}" alt="{html.escape(caption)}">'
    return f"<figure>{image}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _accuracy_curves(sampled: Mapping[str, np.ndarray], truth: np.ndarray) -> str:
    limits = np.arange(0, 51)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for name, colored in sampled.items():
            counts = np.zeros(len(limits))
            for rows in _batches(np.arange(len(truth))):
                difference = metrics.ciede2000_of_pixels(truth[rows], colored[rows])
                counts += np.searchsorted(np.sort(np.ravel(difference)), limits, side="right")
            axes.plot(limits, 100 * counts / truth[..., 0].size, label=_text(name))
        axes.set(xlabel="CIEDE2000, at most", ylabel="% of the pixels", xlim=(0, 50), ylim=(0, 100))
        axes.grid(alpha=0.3)
        axes.legend()

    caption = f"Color accuracy: the share of pixels within a color difference ({_of(truth)})."
    return _figure(draw, caption, (7, 4))


def _psnr_curves(measured: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for name, values in measured.items():
            psnr = np.sort(metrics.decibels(values["squared_error"][metrics.has_color(values)]))
            share = 100 * np.arange(1, len(psnr) + 1) / max(len(psnr), 1)
            axes.plot(psnr, share, label=_text(name))
        axes.set(xlabel="PSNR in dB, at most", ylabel="% of the pictures", ylim=(0, 100))
        axes.grid(alpha=0.3)
        axes.legend()

    return _figure(draw, "PSNR of the pictures that have color: further right is better.", (7, 4))


def _histograms(sampled: Mapping[str, np.ndarray], truth: np.ndarray) -> str:
    """Where the colors of the truth and of each model lie."""
    from matplotlib.colors import LogNorm

    edges = np.linspace(-110, 110, 89)
    sources = {"true": truth}
    sources |= {name: colored for name, colored in sampled.items() if name != tables.GRAY}

    def draw(figure: Any) -> None:
        for axes, (name, shown) in zip(
            figure.subplots(1, len(sources), squeeze=False)[0], sources.items(), strict=True
        ):
            counts = np.zeros((88, 88))
            for rows in _batches(np.arange(len(shown))):
                _, ab = lab.rgb_to_lab(shown[rows])
                a, b = np.reshape(lab.ab_units(ab), (-1, 2)).T
                counts += np.histogram2d(a, b, (edges, edges))[0]
            share = counts.T / counts.sum()
            axes.pcolormesh(edges, edges, share, norm=LogNorm(1e-6, 1e-1), cmap="magma")
            axes.set(title=_text(name), xlabel="a*", ylabel="b*", aspect="equal", facecolor="black")

    caption = f"How often colors occur ({_of(truth)}; logarithmic). Gray is in the middle."
    return _figure(draw, caption, (3.2 * len(sources), 3.6))


def _text(name: str) -> str:
    """A name for matplotlib, which hides names that begin with _ and takes $...$ for a formula."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def _of(pictures: np.ndarray) -> str:
    return "1 picture" if len(pictures) == 1 else f"{len(pictures)} pictures"


def _batches(rows: np.ndarray) -> list[np.ndarray]:
    return np.array_split(rows, -(-len(rows) // _BATCH))


def _extremes(
    model: str,
    measured: Mapping[str, Mapping[str, np.ndarray]],
    pictures: np.ndarray,
    color: Color,
    names: Sequence[str],
) -> str:
    """The best and the worst pictures of a model by each measure."""
    lines = [f"<h3>{html.escape(model)}</h3>"]
    values = measured[model]
    # What has no color is colored well by anything.
    colored = np.flatnonzero(metrics.has_color(values))
    for measure, (title, more_is_better) in _MEASURES.items():
        sign = -1.0 if more_is_better else 1.0
        order = colored[np.argsort(sign * values[measure][colored], kind="stable")]
        best = order[:_EXTREMES]
        worst = order[len(best) :][::-1][:_EXTREMES]
        for label, rows in (("best", best), ("worst", worst)):
            if len(rows):
                cards = _cards(model, rows, measured, pictures, color, names, measure)
                lines.append(f"<h4>{label} by {title}</h4>")
                lines.append(f'<div class="cards">{cards}</div>')
    return "\n".join(lines)


def _cards(
    model: str,
    rows: np.ndarray,
    measured: Mapping[str, Mapping[str, np.ndarray]],
    pictures: np.ndarray,
    color: Color,
    names: Sequence[str],
    measure: str,
) -> str:
    columns = (color(tables.GRAY, rows), color(model, rows), pictures[rows])
    cards = []
    for row, *shown in zip(rows, *columns, strict=True):
        value = measured[model][measure][row]
        text = (
            f"{float(metrics.decibels(value)):.2f} dB"
            if measure == "squared_error"
            else f"{value:.3f}"
        )
        images = "".join(
            f'<img src="{_picture(rgb)}" alt="{alt}">'
            for rgb, alt in zip(shown, ("gray", "colored", "true"), strict=True)
        )
        cards.append(
            f'<div class="card"><div class="stack">{images}</div>'
            '<input type="range" min="0" max="2" step="0.01" value="1" '
            f'aria-label="{html.escape(names[row])}: from gray over the model to the truth">'
            '<div class="ends"><span>gray</span><span>model</span><span>true</span></div>'
            f'<div class="note">{html.escape(names[row])}: {text}</div></div>'
        )
    return "".join(cards)


def _pairs(
    models: Sequence[str],
    rows: np.ndarray,
    pictures: np.ndarray,
    color: Color,
    names: Sequence[str],
) -> list[dict[str, str]]:
    """Pairs of the blind test; the models take turns."""
    pairs = []
    for number, row in enumerate(rows if models else ()):
        model = models[number % len(models)]
        colored = color(model, np.array([row]))[0]
        pairs.append(
            {
                "picture": names[row],
                "model": model,
                "truth": _picture(pictures[row]),
                "colored": _picture(colored),
            }
        )
    return pairs
