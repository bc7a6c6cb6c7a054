# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The web page that colors a photograph, and its server (extra `[demo]`: Gradio)."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from koalagan.color.detection import has_color
from koalagan.data import decoding
from koalagan.errors import UserError, one_line
from koalagan.inference.colorizer import Colorizer
from koalagan.photos import memory, metadata, writing

if TYPE_CHECKING:
    import gradio

# Pixels of the longer side on the page; the download has the size of the photograph.
_LONGER_SIDE = 1600
_HOUR = 3600  # seconds
_CSS = """
.gradio-container { max-width: 60rem !important; margin: auto; }
#before_after img { border-radius: 4px; }
footer { display: none !important; }
"""


def require_gradio() -> None:
    """Checks that Gradio is installed, and makes it call no other machine.

    Raises:
        UserError: it is not installed.
    """
    # Gradio would report its start to its makers, and look for a newer version.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # It sends a request to itself at start, which must not go through a proxy.
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1,localhost"]))
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise UserError("The page needs Gradio: pip install 'koalagan[demo]'.") from error


def serve(models: Mapping[str, Colorizer], host: str, port: int, max_upload_mb: int) -> None:
    """Serves the page until the process is interrupted; see `require_gradio`.

    Args:
        models: by the names that the page shows.
        host: the address to listen on.
        port: the port to listen on.
        max_upload_mb: the size of the largest file to accept, in MB.

    Raises:
        UserError: the port is in use.
    """
    import gradio

    # System fonts, because others would be loaded from Google.
    theme = gradio.themes.Soft(
        primary_hue="emerald", font=["system-ui", "sans-serif"], font_mono=["monospace"]
    )
    try:
        _build(models).launch(
            server_name=host,
            server_port=port,
            max_file_size=f"{max_upload_mb}mb",
            theme=theme,
            css=_CSS,
            footer_links=[],
        )
    except OSError as error:
        raise UserError(
            f"The server cannot listen on {host}:{port}: choose another --port ({one_line(error)})."
        ) from error


def _build(models: Mapping[str, Colorizer]) -> gradio.Blocks:
    import gradio

    with gradio.Blocks(
        title="koalagan", analytics_enabled=False, delete_cache=(_HOUR, _HOUR)
    ) as page:
        gradio.Markdown(
            "# koalagan\nDrop a black-and-white photograph. The model predicts its colors; its "
            "lightness stays unchanged. The colors are guesses."
        )
        for name, one in models.items():
            if "license" in one.facts:
                gradio.Markdown(f"*{name}: {one.facts['license']}*")
        with gradio.Row():
            photograph = gradio.File(label="Photograph", elem_id="photograph", height=160, scale=2)
            with gradio.Column():
                model = gradio.Dropdown(
                    list(models),
                    value=next(iter(models)),
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
            "Download the colored photograph", elem_id="download", visible=False
        )

        def update(path: str | None, name: str, saturation: float) -> tuple:
            if path is None:
                return None, "", gradio.DownloadButton(visible=False)
            try:
                shown, result, text = color_file(path, models[name], _result_folder(), saturation)
            except UserError as error:
                # Without the folder of the upload, which means nothing to the visitor.
                raise gradio.Error(str(error).replace(path, os.path.basename(path))) from error
            return shown, text, gradio.DownloadButton(value=result, visible=True)

        gradio.on(
            [photograph.change, model.change, saturation.release],
            update,
            [photograph, model, saturation],
            [before_after, note, download],
            concurrency_limit=1,  # photographs may be large
        )
    return page


def color_file(
    path: str, model: Colorizer, folder: str, saturation: float = 1.0
) -> tuple[tuple[np.ndarray, np.ndarray], str, str]:
    """Colors a photograph for the page, and writes the result into `folder`.

    Returns:
        (before, after), uint8 [h, w, 3], small enough for a page; the path of the result in full
        size, a PNG with the photograph's metadata; and a sentence about it.

    Raises:
        UserError: the file is not a picture, or does not fit into memory.
    """
    rgb = decoding.decode(path, path)
    memory.check(rgb.shape[:2], path)
    colored = model.colorize(rgb, saturation=saturation)
    result = os.path.join(folder, f"{Path(path).stem}-colored.png")
    writing.write(result, colored, metadata=metadata.read(path))
    height, width = rgb.shape[:2]
    text = f"{width} x {height} pixels."
    if has_color(rgb):
        text += " This photograph had color; the result is predicted from its lightness alone."
    return (_small(rgb), _small(colored)), result, text


def _small(rgb: np.ndarray) -> np.ndarray:
    image = Image.fromarray(rgb)
    image.thumbnail((_LONGER_SIDE, _LONGER_SIDE))
    return np.asarray(image)


@functools.cache
def _all_results() -> tempfile.TemporaryDirectory:
    """The folder of all results, which is deleted when the process ends."""
    return tempfile.TemporaryDirectory(prefix="koalagan-")


def _result_folder() -> str:
    """A new folder for one result, which Gradio copies; folders older than an hour are deleted."""
    everything = _all_results().name
    for entry in os.scandir(everything):
        if time.time() - entry.stat().st_mtime > _HOUR:
            shutil.rmtree(entry.path, ignore_errors=True)
    return tempfile.mkdtemp(dir=everything)
