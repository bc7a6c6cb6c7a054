# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The progress bar of all long operations, on stderr, with the rate and the remaining time."""

import sys

from tqdm import tqdm


def bar(description: str, total: int | None, initial: int = 0, unit: str = "picture") -> tqdm:
    """Creates a progress bar. A log file, which cannot be redrawn, gets a line every 30 seconds.

    Args:
        description: the text before the bar.
        total: the number of items, or None if it is unknown; 0 shows no bar.
        initial: the number of items that are already done.
        unit: what an item is called.
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
