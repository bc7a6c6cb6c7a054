# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The one way long work shows how far it is: rate and time left, on stderr."""

import sys

from tqdm import tqdm


def bar(description: str, total: int | None, initial: int = 0, unit: str = "picture") -> tqdm:
    """A progress bar; in a log file, where it cannot redraw itself, a line every 30 seconds.

    Args:
        total: None where nobody knows; of nothing at all there is no bar.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        desc=description,
        total=total,
        initial=initial,
        unit=unit,
        disable=total == 0,
        file=sys.stderr,
        dynamic_ncols=terminal,
        mininterval=0.2 if terminal else 30,
        maxinterval=10 if terminal else 30,
    )
