# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""A web page that colours photographs: `python -m koalagan.demo [--saved_model=DIR ...]`.

Drop a photograph, see before and after under a slider, download the result at full size. The extra
`[demo]` brings Gradio. The page is for this machine alone unless --host says otherwise; it calls
nobody else's. What is uploaded and made of it is deleted, some hours later or when the page ends.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from koalagan import errors, evaluate, lazy
from koalagan.data import decoding
from koalagan.errors import UserError
from koalagan.inference import saved_model
from koalagan.photos import bulk, metadata, photographs

gradio = lazy.module("gradio")
colorizer = lazy.module("koalagan.inference.colorizer")

_QUICKSTART = "runs/quickstart"
# Of the longer side, on the page; the download has the photograph's own size.
_SHOWN = 1600
_HOUR = 3600
_CSS = """
.gradio-container { max-width: 60rem !important; margin: auto; }
#before_after img { border-radius: 4px; }
footer { display: none !important; }
"""


def define_flags(fv: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the command's flags on `fv`."""
    flags.DEFINE_multi_string(
        "saved_model",
        None,
        "An exported model or the folder of its run; repeat the flag to offer several. Default: "
        f"{_QUICKSTART}.",
        flag_values=fv,
    )
    flags.DEFINE_string(
        "host",
        "127.0.0.1",
        "The address to listen on; 0.0.0.0 lets everybody in who can reach this machine.",
        flag_values=fv,
    )
    flags.DEFINE_integer(
        "port", 7860, "The port to listen on.", lower_bound=1, upper_bound=65535, flag_values=fv
    )
    flags.DEFINE_integer(
        "max_upload_mb", 50, "Larger files are refused.", lower_bound=1, flag_values=fv
    )


def main(argv: Sequence[str]) -> None:
    """Serves the page until it is interrupted."""
    settings = flags.FLAGS
    if len(argv) > 1:
        raise UserError(f"demo takes only flags, and {argv[1]!r} is none: see --help.")
    if not settings.saved_model and not Path(_QUICKSTART, "export").is_dir():
        raise UserError(
            "there is no quickstart model here: train it with `python -m koalagan.train "
            "--flagfile=experiments/quickstart.flags`, or name another model with --saved_model."
        )
    paths = [os.path.expanduser(path) for path in settings.saved_model or [_QUICKSTART]]
    _require_gradio()
    named = evaluate.names([saved_model.find(path) for path in paths])
    page = build({name: colorizer.load(path) for name, path in named.items()})
    try:
        page.launch(
            server_name=settings.host,
            server_port=settings.port,
            max_file_size=f"{settings.max_upload_mb}mb",
            theme=_theme(),
            css=_CSS,
            footer_links=[],
        )
    except OSError as error:
        raise UserError(
            f"{settings.host}:{settings.port} cannot be listened on: name another --port "
            f"({errors.one_line(error)})."
        ) from error


def build(models: Mapping[str, colorizer.Colorizer]) -> gradio.Blocks:
    """The page for models by the names to show."""
    first = next(iter(models))
    with gradio.Blocks(
        title="koalagan", analytics_enabled=False, delete_cache=(_HOUR, _HOUR)
    ) as page:
        gradio.Markdown(
            "# koalagan\nDrop a black-and-white photograph: the model gives the colour, the light "
            "stays as it is. The colours are guesses."
        )
        with gradio.Row():
            photograph = gradio.File(label="Photograph", elem_id="photograph", height=160, scale=2)
            with gradio.Column():
                model = gradio.Dropdown(
                    list(models),
                    value=first,
                    label="Model",
                    elem_id="model",
                    visible=len(models) > 1,
                )
                saturation = gradio.Slider(0, 2, value=1, step=0.05, label="Saturation")
        before_after = gradio.ImageSlider(
            label="Before and after", elem_id="before_after", interactive=False, buttons=[]
        )
        note = gradio.Markdown(elem_id="note")
        download = gradio.DownloadButton(
            "Download the coloured photograph", elem_id="download", visible=False
        )

        def colour(path: str | None, name: str, saturation: float) -> tuple:
            if path is None:
                return None, "", gradio.DownloadButton(visible=False)
            try:
                shown, result, said = colour_file(path, models[name], _results(), saturation)
            except UserError as error:
                # It names the file in a folder of Gradio's, which says nothing to the visitor.
                raise gradio.Error(str(error).replace(path, os.path.basename(path))) from error
            return shown, said, gradio.DownloadButton(value=result, visible=True)

        gradio.on(
            [photograph.change, model.change, saturation.release],
            colour,
            [photograph, model, saturation],
            [before_after, note, download],
            concurrency_limit=1,  # one photograph at a time: they may be large
        )
    return page


def colour_file(
    path: str, model: colorizer.Colorizer, folder: str, saturation: float = 1.0
) -> tuple[tuple[np.ndarray, np.ndarray], str, str]:
    """What the page shows of one photograph; the result is written into `folder`.

    Returns:
        (before, after) small enough for a page; the path of the result at full size, a PNG with the
        photograph's metadata; a sentence on it.

    Raises:
        UserError: it is no picture, or too large for this machine's memory.
    """
    encoded = decoding.read(path)
    rgb = decoding.decode(encoded, path)
    bulk.check_memory(rgb, path)
    coloured = model.colorize(rgb, saturation=saturation)
    result = os.path.join(folder, f"{Path(path).stem}-coloured.png")
    photographs.write(result, coloured, kept=metadata.read(encoded))
    height, width = rgb.shape[:2]
    said = f"{width} x {height} pixels."
    if colorizer.has_color(rgb):
        said += " It had colour: what you see is guessed anew, from its light alone."
    return (_shown(rgb), _shown(coloured)), result, said


@functools.cache
def _all_results() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="koalagan-")


def _results() -> str:
    """A new folder for one result. Gradio copies what is in it; the oldest are deleted."""
    everything = _all_results().name
    for entry in os.scandir(everything):
        if time.time() - entry.stat().st_mtime > _HOUR:
            shutil.rmtree(entry.path, ignore_errors=True)
    return tempfile.mkdtemp(dir=everything)


def _shown(rgb: np.ndarray) -> np.ndarray:
    image = Image.fromarray(rgb)
    image.thumbnail((_SHOWN, _SHOWN))
    return np.asarray(image)


def _theme() -> gradio.Theme:
    # Fonts of the system: others would be asked of Google.
    return gradio.themes.Soft(
        primary_hue="emerald", font=["system-ui", "sans-serif"], font_mono=["monospace"]
    )


def _require_gradio() -> None:
    # It would tell its makers that it was started, and look for a newer version.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # It asks itself whether it is there, which is nothing for a proxy.
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1,localhost"]))
    try:
        gradio.__version__  # noqa: B018 - imports it
    except ImportError as error:
        raise UserError("the page needs Gradio: pip install 'koalagan[demo]'.") from error


if __name__ == "__main__":
    define_flags()
    errors.run(main)
