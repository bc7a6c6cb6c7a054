# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The mistakes that `mutation.py` plants are of the code as it stands."""

from pathlib import Path

import pytest
from mistakes import MISTAKES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_can_be_planted(mistake):
    code = (ROOT / "koalagan" / mistake.file).read_text("utf-8")
    assert code.count(mistake.right) == 1 and mistake.right != mistake.wrong
    assert (ROOT / "tests" / mistake.tests).is_file()


def test_names_tell_mistakes_apart():
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES)
