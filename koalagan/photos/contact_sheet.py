# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""An HTML page that compares photographs with their results under sliders, in one file."""

from __future__ import annotations

import base64
import html
import io
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from koalagan.photos import writing

_LONGER_SIDE = 900  # pixels
_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
  body {{ margin: 2rem; background: #181818; color: #ddd; font: 15px/1.5 system-ui, sans-serif; }}
  main {{ display: grid; gap: 2rem; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); }}
  figure {{ margin: 0; }}
  figcaption {{ margin-top: .4rem; overflow-wrap: anywhere; }}
  .pair {{ --at: 50%; position: relative; }}
  .pair img {{ display: block; width: 100%; }}
  .pair .after {{ position: absolute; inset: 0; clip-path: inset(0 0 0 var(--at)); }}
  .pair::after {{ content: ""; position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px;
    margin-left: -1px; background: #fff; pointer-events: none; }}
  .pair input {{ position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
    cursor: ew-resize; }}
  .pair:focus-within {{ outline: 2px solid #fff; outline-offset: 2px; }}
</style>
<h1>{title}</h1>
<p>Drag over a picture, or use the arrow keys: before on the left, after on the right.</p>
<main>
"""
_END = """</main>
</html>
"""
_FIGURE = """<figure>
<div class="pair"><img alt="before: {name}" src="{before}">
<img class="after" alt="after: {name}" src="{after}">
<input type="range" aria-label="before and after: {name}" value="50" step="any"
 oninput="this.parentNode.style.setProperty('--at', this.value + '%')"></div>
<figcaption>{name}</figcaption>
</figure>
"""


class ContactSheet:
    """Collects pairs of pictures, and writes the page when its context ends, also after an error.

    The pairs are kept on disk, in the size in which the page shows them.

    Args:
        title: of the page.
        path: of the page, which is not written without a pair; None for no page.

    Raises:
        UserError: as its context ends, if the page cannot be written.
    """

    def __init__(self, title: str, path: str | None):
        self._title = html.escape(title)
        self._path = path
        self._count = 0

    def __enter__(self) -> ContactSheet:
        # File names need not be valid Unicode.
        self._figures = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        return self

    def __exit__(self, *error: object) -> None:
        with self._figures:
            if self._path and self._count:
                writing.publish(self._path, self._write)

    def add(self, name: str, before: np.ndarray, after: np.ndarray) -> None:
        """Adds a pair of pictures, uint8 [H, W, 3] of equal size."""
        if not self._path:
            return
        self._figures.write(
            _FIGURE.format(name=html.escape(name), before=_data_url(before), after=_data_url(after))
        )
        self._count += 1

    def _write(self, path: Path) -> None:
        self._figures.seek(0)
        with path.open("w", encoding="utf-8") as file:
            file.write(_PAGE.format(title=self._title))
            shutil.copyfileobj(self._figures, file)
            file.write(_END)


def _data_url(rgb: np.ndarray) -> str:
    image = Image.fromarray(rgb)
    image.thumbnail((_LONGER_SIDE, _LONGER_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
