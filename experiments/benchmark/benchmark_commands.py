# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The cases of `benchmark.py` that run koalagan's commands as a user does."""

import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gpu_watch
from benchmark_cases import Settings, drawn, memory_peak, training_run
from PIL import Image

from koalagan import options
from koalagan.errors import UserError, one_line

_EPOCHS = 5
_PHOTOGRAPHS = 100
_TIMED_TRAIN = str(Path(__file__).with_name("timed_train.py"))


def run_python(*command: str) -> tuple[float, int]:
    """Runs Python with these arguments; returns its time in seconds and its peak memory in bytes.

    Raises:
        UserError: it fails; the message contains the end of its output.
    """
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    pause = 0.01  # grows: some commands end at once, others take minutes
    while True:
        try:
            _, output = process.communicate(timeout=pause)
            break
        except subprocess.TimeoutExpired:
            peak = max(peak, memory_peak(str(process.pid)))
            pause = min(1.5 * pause, 0.2)
    took = time.perf_counter() - start
    if process.returncode:
        raise UserError(
            f"{' '.join(command)} ended with status {process.returncode}: "
            f"{one_line(output.strip()[-300:])}."
        )
    return took, peak


def _memory(peak: int) -> dict[str, float]:
    return {"peak_memory_gb": peak / 1e9}


def _timed_run(
    settings: Settings, epochs: int
) -> tuple[list[tuple[str, float]], int, gpu_watch.Watch]:
    """Trains on prepared pictures.

    Returns:
        Events with their times, the start of the command first, the peak memory in bytes, and what
        was seen of the GPU.
    """
    run = options.replace(training_run(settings), pretrain_epochs=0, epochs=epochs)
    given = {name: value for name, value in options.values(run).items() if value is not None}
    notes = Path(f"{settings['folder']}/notes")
    started = time.time()
    with gpu_watch.watched() as watch:
        _, peak = run_python(
            _TIMED_TRAIN, str(notes), *(f"--{name}={value}" for name, value in given.items())
        )
    events = [tuple(json.loads(line)) for line in notes.read_text().splitlines()]
    return [("command", started), *events], peak, watch


def train(settings: Settings) -> list[dict[str, Any]]:
    """Adversarial training as a user runs it; see `epoch_rates` for what is included."""
    events, peak, watch = _timed_run(settings, _EPOCHS)
    begun = [at for event, at in events if event == "epoch"]
    steps, found = epoch_rates(events, settings["batch_size"])
    return [
        {
            "batch_size": settings["batch_size"],
            "image_size": settings["image_size"],
            "steps_per_epoch": steps,
            "pictures_per_second": statistics.median(found),
            "spread": [min(found), max(found)],
            **_memory(peak),
            **watch.summary(begun[1], begun[-1]),
        }
    ]


def epoch_rates(events: Sequence[tuple[str, float]], batch_size: int) -> tuple[int, list[float]]:
    """Steps in an epoch, and pictures per second of each epoch except the first and the last.

    Measured from the start of an epoch to the start of the next: input, logging, TensorBoard's
    images and the checkpoint are included, validation is not. The first epoch includes tracing; the
    last has no next.

    Args:
        events: see `timed_train`.
        batch_size: pictures in a step.
    """
    begun = [number for number, (event, _) in enumerate(events) if event == "epoch"]
    found = []
    for first, last in itertools.pairwise(begun[1:]):
        epoch = events[first:last]
        at = dict(epoch)
        steps = sum(event == "step" for event, _ in epoch)
        took = events[last][1] - at["epoch"] - (at["tested"] - at["test"])
        found.append(steps * batch_size / took)
    return steps, found


def startup(settings: Settings) -> list[dict[str, Any]]:
    """The time before a command starts its work."""
    results = []
    for what, command in {
        "import koalagan": ["-c", "import koalagan"],
        "train --help": ["-m", "koalagan.train", "--help"],
        "colorize --help": ["-m", "koalagan.colorize", "--help"],
    }.items():
        runs = [run_python(*command) for _ in range(settings["rounds"])]
        took, peaks = zip(*runs, strict=True)
        results.append({"what": what, "seconds": statistics.median(took), **_memory(max(peaks))})
    events, peak, _ = _timed_run(settings, epochs=1)
    first_step = next(at for event, at in events if event == "step")
    what = "train, prepared, to the end of its first step"
    results.append({"what": what, "seconds": first_step - events[0][1], **_memory(peak)})
    return results


def colorize(settings: Settings) -> list[dict[str, Any]]:
    """A folder of photographs: the time of all, minus that of one (starting and loading)."""
    took, peak = {}, 0
    for count in (1, _PHOTOGRAPHS):
        photographs = Path(f"{settings['folder']}/photographs-{count}")
        photographs.mkdir()
        for number in range(count):
            picture = Image.fromarray(drawn(number, (480, 640))).convert("L")
            picture.save(photographs / f"{number}.jpg", quality=95)
        took[count], peak = run_python(
            "-m",
            "koalagan.colorize",
            f"--saved_model={settings['folder']}/export",
            f"--output_dir={settings['folder']}/colored-{count}",
            str(photographs),
        )
    return [
        {
            "what": f"{_PHOTOGRAPHS} JPEGs of 640x480",
            "pictures_per_second": (_PHOTOGRAPHS - 1) / (took[_PHOTOGRAPHS] - took[1]),
            "seconds_of_one": took[1],
            **_memory(peak),
        }
    ]
