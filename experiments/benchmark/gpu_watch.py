# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""How busy the GPU is, and how much of its memory is taken, as `nvidia-smi` says.

Busy is the share of time in which anything ran on the GPU, not how much of it was used.
"""

import contextlib
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator

_QUERY = "--query-gpu=utilization.gpu,memory.used"
_EVERY_MS = 100


class Watch:
    """What was seen: (Unix time, share of time that the GPU was busy, bytes taken)."""

    def __init__(self):
        self.samples: list[tuple[float, float, int]] = []

    def summary(self, begin: float = 0.0, end: float = float("inf")) -> dict[str, float]:
        """Mean share and most memory between two times; nothing where no GPU was seen."""
        seen = [sample for sample in self.samples if begin <= sample[0] <= end]
        if not seen:
            return {}
        _, busy, memory = zip(*seen, strict=True)
        return {"gpu_busy": statistics.mean(busy), "gpu_memory_gb": max(memory) / 1e9}


@contextlib.contextmanager
def watched() -> Iterator[Watch]:
    """Watches the first GPU while the context lasts; sees nothing without `nvidia-smi`."""
    watch = Watch()
    if not shutil.which("nvidia-smi"):
        yield watch
        return
    with subprocess.Popen(
        ["nvidia-smi", "--id=0", _QUERY, "--format=csv,noheader,nounits", f"-lms={_EVERY_MS}"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        reader = threading.Thread(target=_read, args=(process.stdout, watch))
        reader.start()
        try:
            yield watch
        finally:
            process.terminate()
            reader.join()


def _read(lines: Iterator[str], watch: Watch) -> None:
    for line in lines:
        # A figure that a GPU does not have is "[N/A]".
        with contextlib.suppress(ValueError):
            busy, memory = map(int, line.split(","))
            watch.samples.append((time.time(), busy / 100, memory * 2**20))
