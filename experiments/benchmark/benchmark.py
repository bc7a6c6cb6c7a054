# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Measures the speed of koalagan on this machine.

    python experiments/benchmark/benchmark.py --cases=train_step,pipeline \\
        --generator=inception_fusion --mixed_precision=bfloat16 --discriminator_every=1,5 \\
        --output=FILE.json [--peer=STEP.py --peer_python=PYTHON]
    python experiments/benchmark/benchmark.py --cases=train_step --batch_size=64 \\
        --mixed_precision=bfloat16,float16 --jit_compile=true,false --batches=resident,fed \\
        --peer=experiments/benchmark/pytorch_peer.py --peer_python=PYTHON \\
        --peer_mode=eager,compile --output=FILE.json

    pretrain_step  one step of L1 pretraining on batches in memory
    train_step     one adversarial step, averaged over the discriminator's turns
    recipe         20 + 15 epochs with frozen networks run once, and in every step, from the parts
    forms          the adversarial step with each fast form in turn replaced by its plain form, and
                   without TensorFlow's optimizer of layouts
    train          `python -m koalagan.train` on a prepared store, with input, logs and checkpoints
    pipeline       the input pipeline alone, on all cores and on one
    prepare        filling a store: decoding and resizing, and each frozen network
    inference      the SavedModel's signatures at three picture sizes
    colorize       `python -m koalagan.colorize` on a folder of photographs
    startup        `--help`, `import koalagan`, and from the command to the first step
    profile        the operations (on a GPU: kernels) that take most of a train_step

Each case runs in its own process, after a warm-up. Rates are medians over --rounds, with the lowest
and highest; those of `train` are over its epochs; those of `colorize` and of the frozen networks
that fill a store are single measurements. Memory is the peak of the measured process. Steps are
compared with the rate of a matrix product in the same dtype, measured between the rounds; their
arithmetic is the nominal one of the networks (see `roofline`).

--batches: `resident` is one batch that stays on the device, `fed` comes from the input pipeline,
from pictures in memory. On a GPU, results say how busy it was (see `gpu_watch`) and how much of its
memory the step took.

The JSON file receives each result as soon as it is available. The same command continues an
interrupted benchmark and adds further cases with the same settings.

--peer runs another program's step in alternation with ours: a Python file that takes --batch,
--size, --dtype, --discriminator_every, --threads and, if --peer_mode is given, --mode, does the
work of the fusion generator without segmentation on the same device, and prints a line with
"N pictures/s". `pytorch_peer.py` is one.
"""

import concurrent.futures
import dataclasses
import functools
import importlib
import itertools
import multiprocessing.connection
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import benchmark_peer

from koalagan import cli, options
from koalagan.data.settings import PictureSettings
from koalagan.errors import UserError
from koalagan.models.generators import GENERATORS
from koalagan.options import option

# The module with the function that measures a case; the function has the case's name.
_CASES = {
    "pretrain_step": "benchmark_steps",
    "train_step": "benchmark_steps",
    "recipe": "benchmark_steps",
    "forms": "benchmark_steps",
    "train": "benchmark_commands",
    "pipeline": "benchmark_cases",
    "prepare": "benchmark_cases",
    "inference": "benchmark_cases",
    "colorize": "benchmark_commands",
    "startup": "benchmark_commands",
    "profile": "benchmark_steps",
}
# Functions of benchmark_cases that run before a case, in a process that ends: their time and memory
# must not count.
_SETUPS = {
    "train": "prepare_stores",
    "startup": "prepare_stores",
    "pipeline": "prepare_stores",
    "inference": "export_untrained",
    "colorize": "export_untrained",
}
# A case is measured for every combination of these.
_NETWORK = ("generator", "segmentation")
_STEP = (*_NETWORK, "mixed_precision", "discriminator_every", "jit_compile")
_VARIED = {
    "pretrain_step": (*_NETWORK, "mixed_precision", "jit_compile", "batches"),
    "train_step": (*_STEP, "batches"),
    "train": _STEP,
    "recipe": _STEP,
    "forms": _STEP,
    "profile": _STEP,
    "startup": (*_NETWORK, "jit_compile"),
    "pipeline": (*_NETWORK, "cores"),
    "inference": (*_NETWORK, "picture"),
    "colorize": _NETWORK,
    "prepare": (),
}
# Flags that all cases share.
_SHARED = (
    "batch_size",
    "image_size",
    "dataset",
    "data_dir",
    "download",
    "resize",
    "on_bad_picture",
    "train_split",
    "eval_split",
    "store_dir",
    "rounds",
)
_PRECISIONS = ("auto", "float32", "float16", "bfloat16")
_JIT_COMPILE = ("auto", "true", "false")
_BATCHES = ("resident", "fed")


@dataclasses.dataclass(frozen=True)
class Pictures(PictureSettings):
    """Pictures."""

    dataset: str = option("koala_scenes", "A TensorFlow Datasets name, or 'folder'.")
    train_split: str = option("train[:320]", "Pictures for the cases that need some.")
    eval_split: str = option("validation[:16]", "Pictures that `train` validates on.")
    image_size: int = option(256, "Side of the square pictures that the model sees.", minimum=8)


@dataclasses.dataclass(frozen=True)
class Measurements:
    """Measurements; flags with several values take them separated by commas."""

    cases: str = option(",".join(_CASES), "What to measure.")
    generator: str = option("inception_fusion", "One or more generators.")
    segmentation: bool = option(False, "inception_fusion with its segmentation layer.")
    mixed_precision: str = option("auto", "One or more dtypes of computations.")
    discriminator_every: str = option("1,5", "One or more values, for the steps.")
    jit_compile: str = option("auto", "One or more of auto, true and false.")
    batches: str = option("resident", "Where the batches of steps are: resident, fed, or both.")
    batch_size: int = option(16, "Pictures in a step.", minimum=1)
    rounds: int = option(7, "Measurements after the warm-up.", minimum=1)
    output: str = option(None, "The JSON file to write.", required=True)
    peer: str | None = option(None, "A Python file with another program's step.")
    peer_python: str | None = option(None, "The Python interpreter that runs it.")
    peer_mode: str | None = option(None, "One or more values of the peer's --mode.")
    alternations: int = option(3, "Runs of the peer, and of our step.", minimum=1)


@dataclasses.dataclass(frozen=True)
class BenchmarkSettings:
    """The flags of this command."""

    pictures: Pictures = Pictures()
    measurements: Measurements = Measurements()


def _end_with_parent() -> None:
    """Ends this process, and the command that it measures, as soon as its parent has ended.

    A killed parent cannot do this, and a leftover measurement would spoil the next ones.
    """

    def wait():
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def in_a_process(work: Callable, *arguments) -> Any:
    """Returns what `work` returns, in a process of its own.

    Raises:
        UserError: it cannot be measured here, or its process was killed.
    """
    # Spawned, not forked: TensorFlow does not survive a fork, and reads the CPU affinity at start.
    spawn = multiprocessing.get_context("spawn")
    try:
        with concurrent.futures.ProcessPoolExecutor(
            1, mp_context=spawn, initializer=_end_with_parent
        ) as pool:
            return pool.submit(work, *arguments).result()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise UserError("its process was killed: it may need more memory than there is.") from error


def measure(case: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Measures one case in this process.

    Args:
        case: its name.
        settings: see `benchmark_cases`.
    """
    import benchmark_cases

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: settings["cores"]])
    results = getattr(importlib.import_module(_CASES[case]), case)(settings)
    memory = {"peak_memory_gb": benchmark_cases.memory_peak() / 1e9}
    varied = {name: settings[name] for name in _VARIED[case]}
    empty = {"pictures_per_second": None}
    return [{"case": case, **varied, **empty, **memory, **result} for result in results]


def _set_up(case: str, settings: Mapping[str, Any]) -> None:
    import benchmark_cases

    getattr(benchmark_cases, _SETUPS[case])(settings)


def run_case(case: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Measures one case in a process of its own, after what it needs.

    Raises:
        UserError: it cannot be measured with these settings.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = {**settings, "folder": folder}
        if case in _SETUPS:
            in_a_process(_set_up, case, settings)
        return in_a_process(measure, case, settings)


def _choices(name: str, given: str, known: Sequence[str]) -> list[str]:
    """The values of a flag that takes several.

    Raises:
        UserError: one of them is unknown, or there is none.
    """
    values = [value.strip() for value in given.split(",")]
    if not set(values) <= set(known):
        raise UserError(f"--{name}={given}: choose from {', '.join(known)}.")
    return values


def jobs(given: Measurements, shared: Mapping[str, Any]) -> Iterator[tuple[str, dict, dict]]:
    """Each case with each combination that it is measured for, and with all its settings.

    Raises:
        UserError: a flag has an unknown value.
    """
    cases = _choices("cases", given.cases, list(_CASES))
    generators = _choices("generator", given.generator, list(GENERATORS))
    dtypes = _choices("mixed_precision", given.mixed_precision, _PRECISIONS)
    compiled = _choices("jit_compile", given.jit_compile, _JIT_COMPILE)
    batches = _choices("batches", given.batches, _BATCHES)
    every = given.discriminator_every.split(",")
    if not all(re.fullmatch("[1-9][0-9]*", number) for number in every):
        raise UserError(
            f"--discriminator_every={given.discriminator_every}: give positive whole numbers."
        )
    # They import TensorFlow: after the flags have been checked.
    import benchmark_cases

    from koalagan import compilation, precision

    cores = len(os.sched_getaffinity(0))
    varied = {
        "generator": generators,
        "segmentation": [given.segmentation],
        "mixed_precision": [precision.resolve(dtype) for dtype in dtypes],
        "discriminator_every": [int(number) for number in every],
        "jit_compile": [compilation.resolve(one, deterministic=False) for one in compiled],
        "batches": batches,
        "cores": sorted({1, cores}),
        "picture": list(benchmark_cases.PICTURES),
    }
    first = {name: values[0] for name, values in varied.items()} | {"cores": cores}
    for case in cases:
        for values in itertools.product(*(varied[name] for name in _VARIED[case])):
            combination = dict(zip(_VARIED[case], values, strict=True))
            yield case, combination, {**shared, **first, **combination}


def main(settings: BenchmarkSettings, _: list[str]) -> int:
    """Runs the command; returns the exit status."""
    given = settings.measurements
    if bool(given.peer) != bool(given.peer_python):
        raise UserError("--peer and --peer_python must be given together.")
    shared = {name: options.values(settings)[name] for name in _SHARED}
    planned = list(jobs(given, shared))

    import benchmark_report

    output = Path(given.output)
    report, failed = benchmark_report.begin(output, shared), False
    for number, (case, combination, case_settings) in enumerate(planned, 1):
        shown = " ".join(f"{name}={value}" for name, value in combination.items())
        print(f"[{number}/{len(planned)}] {case} {shown}", file=sys.stderr, flush=True)
        if benchmark_report.holds(report, case, combination):
            print("    measured already", file=sys.stderr, flush=True)
            continue
        try:
            if given.peer and benchmark_peer.is_comparable(case, case_settings):
                peer = [given.peer_python, given.peer]
                measure_ours = functools.partial(run_case, case, case_settings)
                modes = given.peer_mode.split(",") if given.peer_mode else [None]
                report["results"] += benchmark_peer.compare(
                    peer, modes, case_settings, given.alternations, measure_ours
                )
            else:
                report["results"] += run_case(case, case_settings)
        except UserError as error:
            print(f"koalagan: {case} {shown}: {error}", file=sys.stderr)
            failed = True
        benchmark_report.write(report, output)
    benchmark_report.write(report | {"finished": not failed}, output)
    for case, results in itertools.groupby(report["results"], lambda result: result["case"]):
        print(f"\n{case}\n\n{benchmark_report.format_table(list(results))}")
    print(f"\n{output}")
    return 1 if failed else 0


COMMAND = cli.Command(__doc__, BenchmarkSettings, main)

if __name__ == "__main__":
    cli.run(COMMAND)
