# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""A page of before and after, with a slider over each: one HTML file, all pictures inside it."""

from __future__ import annotations

import base64
import html
import io
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from koalagan import files
from koalagan.errors import UserError

_LONGEST = 900  # pixels of the longer side, as shown
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
    """Collects pairs, on disk, and writes the page when its context ends, by an error too.

    Nothing of the full size is kept.

    Args:
        title: of the page.
        path: of the page, which is not written without a pair; None where nobody wants one.

    Raises:
        UserError: as its context ends, if the page cannot be written.
    """

    def __init__(self, title: str, path: str | None):
        self._title = html.escape(title)
        self._path = path
        self._count = 0

    def __enter__(self) -> ContactSheet:
        # Names of files need not be text.
        self._figures = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        return self

    def __exit__(self, *_) -> None:
        with self._figures:
            if self._path and self._count:
                self._save(self._path)

    def add(self, name: str, before: np.ndarray, after: np.ndarray) -> None:
        """Adds a pair of pictures, uint8 [H,W,3] of one size."""
        self._figures.write(
            _FIGURE.format(name=html.escape(name), before=_data(before), after=_data(after))
        )
        self._count += 1

    def _save(self, path: str) -> None:
        try:
            Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
            files.publish(path, self._write)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error

    def _write(self, path: Path) -> None:
        self._figures.seek(0)
        with path.open("w", encoding="utf-8") as file:
            file.write(_PAGE.format(title=self._title))
            shutil.copyfileobj(self._figures, file)
            file.write(_END)


def _data(rgb: np.ndarray) -> str:
    """A picture as an address that holds it."""
    image = Image.fromarray(rgb)
    image.thumbnail((_LONGEST, _LONGEST))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
