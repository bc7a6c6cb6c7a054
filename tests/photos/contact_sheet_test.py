# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The page that compares photographs with their results."""

import base64
import io
import re

import numpy as np
import pytest
from helpers.photos import colorize, photograph
from PIL import Image
from skimage.color import rgb2lab

from koalagan.errors import UserError


def test_contact_sheet(model, tmp_path):
    photograph(tmp_path / "a<1>.png", height=40, width=60)
    sheet = tmp_path / "new" / "sheet.html"
    assert colorize(model, tmp_path / "out", tmp_path / "a<1>.png", contact_sheet=str(sheet)) == {}
    page = sheet.read_text()
    assert "a&lt;1&gt;.png" in page and "a<1>" not in page
    assert not re.search(r"(src|href)=.?https?:", page)
    before, after = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        for data in re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    )
    assert before.shape == after.shape == (40, 60, 3)
    assert rgb2lab(after)[..., 1].mean() - rgb2lab(before)[..., 1].mean() > 10


def test_a_photograph_is_not_taken_for_a_page(model, tmp_path):
    photograph(tmp_path / "a.jpg")
    photograph(tmp_path / "b.jpg")
    before = (tmp_path / "a.jpg").read_bytes()
    with pytest.raises(UserError, match=r"--contact_sheet=.*a.jpg must name an HTML .*\.html"):
        colorize(model, tmp_path / "out", tmp_path / "b.jpg", contact_sheet=str(tmp_path / "a.jpg"))
    assert (tmp_path / "a.jpg").read_bytes() == before
