# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Measures how fast koalagan is on the machine it runs on.

    python experiments/benchmark.py --cases=train_step,pipeline --generator=inception_fusion \\
        --mixed_precision=bfloat16 --discriminator_every=1,5 --output=FILE.json \\
        [--peer=STEP.py --peer_python=PYTHON]

    pretrain_step  one step of L1 pretraining on a batch in memory
    train_step     one adversarial step, the discriminator's turns included
    recipe         20 + 15 passes with frozen networks asked once, and in every step, from the parts
    forms          the adversarial step with one fast form after the other in its plain form
    train          `python -m koalagan.train` on a prepared store, with input, logs and checkpoints
    pipeline       the input pipeline alone, on all cores and on one
    prepare        filling a store: decode and resize, and each frozen network
    inference      the SavedModel's signatures at three sizes of picture
    colorize       `python -m koalagan.colorize` on a folder of photographs
    startup        `--help`, `import koalagan`, and from the command to the first step
    profile        the operations that take most of a train_step, of all threads' time

Each runs in a process of its own, after a warm-up. Rates are medians over --rounds, beside their
lowest and highest; those of `train` are over its epochs; those of `colorize` and of the frozen
networks that fill a store were taken once. Memory is the most that the measured process had at
once. Steps stand beside the matrix product's rate in the same dtype, measured between the rounds;
their arithmetic is the networks' nominal one (see `roofline`).

The JSON has each result as soon as it is there; stopped, the same command goes on, and other cases
with the same settings are added to it.

--peer runs another program's step in alternation with ours: a Python file that takes --batch,
--size, --dtype, --discriminator_every and --threads, does the work of the fusion generator without
segmentation on the processor, and prints a line with "N pictures/s".
"""

import concurrent.futures
import itertools
import multiprocessing.connection
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import benchmark_report
from absl import flags

from koalagan import errors, lazy, precision
from koalagan.data import flags as data_flags
from koalagan.errors import UserError
from koalagan.models import GENERATORS

benchmark_cases = lazy.module("benchmark_cases")
benchmark_commands = lazy.module("benchmark_commands")
benchmark_steps = lazy.module("benchmark_steps")

# Where the function is that measures a case: it bears the case's name.
_CASES = {
    "pretrain_step": benchmark_steps,
    "train_step": benchmark_steps,
    "recipe": benchmark_steps,
    "forms": benchmark_steps,
    "train": benchmark_commands,
    "pipeline": benchmark_cases,
    "prepare": benchmark_cases,
    "inference": benchmark_cases,
    "colorize": benchmark_commands,
    "startup": benchmark_commands,
    "profile": benchmark_steps,
}
# What a case finds done, by a process that has ended: it must not count for time or memory.
_SETUPS = {
    "train": "prepare_stores",
    "startup": "prepare_stores",
    "pipeline": "prepare_stores",
    "inference": "export_untrained",
    "colorize": "export_untrained",
}
# What a case is measured for every combination of.
_NETWORK = ("generator", "segmentation")
_STEP = (*_NETWORK, "mixed_precision", "discriminator_every")
_VARIED = {
    "pretrain_step": (*_NETWORK, "mixed_precision"),
    "train_step": _STEP,
    "train": _STEP,
    "recipe": _STEP,
    "forms": _STEP,
    "profile": _STEP,
    "startup": _NETWORK,
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
_PEER_RATE = re.compile(r"([\d.]+) pictures/s")


def _end_with_parent() -> None:
    """Ends this process, and the command that it measures, as soon as its parent has ended.

    One that was killed cannot do it, and a measurement that goes on spoils the next ones.
    """

    def wait():
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _in_a_process(work, *arguments) -> Any:
    """What `work` returns, in a process of its own.

    Raises:
        UserError: it cannot be measured here, or its process was killed.
    """
    # Spawned, not forked: TensorFlow does not survive a fork, and cores are chosen at its start.
    spawn = multiprocessing.get_context("spawn")
    try:
        with concurrent.futures.ProcessPoolExecutor(
            1, mp_context=spawn, initializer=_end_with_parent
        ) as pool:
            return pool.submit(work, *arguments).result()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise UserError("its process was killed: it may need more memory than there is.") from error


def _measure(case: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: settings["cores"]])
    results = getattr(_CASES[case], case)(settings)
    memory = {"peak_memory_gb": benchmark_cases.memory_peak() / 1e9}
    varied = {name: settings[name] for name in _VARIED[case]}
    empty = {"pictures_per_second": None}
    return [{"case": case, **varied, **empty, **memory, **result} for result in results]


def _run_case(case: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results of one case.

    Raises:
        UserError: it cannot be measured with these settings.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = {**settings, "folder": folder}
        if case in _SETUPS:
            _in_a_process(getattr(benchmark_cases, _SETUPS[case]), settings)
        return _in_a_process(_measure, case, settings)


def _peer_rate(command: Sequence[str], settings: Mapping[str, Any]) -> float:
    """Pictures per second of the other program's step.

    Raises:
        UserError: it fails, or does not say.
    """
    command = [
        *command,
        f"--batch={settings['batch_size']}",
        f"--size={settings['image_size']}",
        f"--dtype={settings['mixed_precision']}",
        f"--discriminator_every={settings['discriminator_every']}",
        f"--threads={settings['cores']}",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise UserError(f"--peer_python={command[0]} cannot be run: {error.strerror}.") from error
    rate = _PEER_RATE.search(done.stdout)
    if done.returncode or not rate:
        raise UserError(
            f"the peer ({' '.join(command)}) ended with {done.returncode} and no rate: "
            f"{errors.one_line(done.stderr or done.stdout)}."
        )
    return float(rate[1])


def _beside(
    peer: Sequence[str], settings: Mapping[str, Any], alternations: int
) -> list[dict[str, Any]]:
    """train_step and the peer's step in alternation: our median run, with both rates and ratios.

    Raises:
        UserError: one of them cannot be run.
    """
    runs, ratios, theirs = [], [], []
    for _ in range(alternations):
        theirs.append(_peer_rate(peer, settings))
        (run,) = _run_case("train_step", settings)
        runs.append(run)
        ratios.append(run["pictures_per_second"] / theirs[-1])
    runs.sort(key=lambda run: run["pictures_per_second"])
    return [
        {
            **runs[len(runs) // 2],
            "peer_pictures_per_second": statistics.median(theirs),
            "ratio_to_peer": statistics.median(ratios),
            "ratio_spread": [min(ratios), max(ratios)],
        }
    ]


def is_peers(case: str, settings: Mapping[str, Any]) -> bool:
    """Whether the peer does the same work."""
    return (
        case == "train_step"
        and settings["generator"] == "inception_fusion"
        and not settings["segmentation"]
        and settings["mixed_precision"] in ("float32", "bfloat16")
    )


def _jobs(given: flags.FlagValues) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each case with each combination that it is measured for, and with all its settings."""
    cores = len(os.sched_getaffinity(0))
    varied = {
        "generator": given.generator,
        "segmentation": [given.segmentation],
        "mixed_precision": [precision.resolve(dtype) for dtype in given.mixed_precision],
        "discriminator_every": [int(every) for every in given.discriminator_every],
        "cores": sorted({1, cores}),
        "picture": list(benchmark_cases.PICTURES),
    }
    first = {name: values[0] for name, values in varied.items()} | {"cores": cores}
    shared = {name: given[name].value for name in _SHARED}
    for case in given.cases:
        for values in itertools.product(*(varied[name] for name in _VARIED[case])):
            combination = dict(zip(_VARIED[case], values, strict=True))
            yield case, combination, shared | first | combination


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    given = flags.FLAGS
    if len(argv) > 1:
        raise UserError(f"benchmark takes only flags, and {argv[1]!r} is none: see --help.")
    if bool(given.peer) != bool(given.peer_python):
        raise UserError("--peer and --peer_python go together: its file, and what runs it.")
    output = Path(given.output)
    shared = {name: given[name].value for name in _SHARED}
    report, failed = benchmark_report.begin(output, shared), False
    jobs = list(_jobs(given))
    for number, (case, combination, settings) in enumerate(jobs, 1):
        shown = " ".join(f"{name}={value}" for name, value in combination.items())
        print(f"[{number}/{len(jobs)}] {case} {shown}", file=sys.stderr, flush=True)
        if benchmark_report.holds(report, case, combination):
            print("    measured before", file=sys.stderr, flush=True)
            continue
        try:
            if given.peer and is_peers(case, settings):
                peer = [given.peer_python, given.peer]
                report["results"] += _beside(peer, settings, given.alternations)
            else:
                report["results"] += _run_case(case, settings)
        except UserError as error:
            print(f"koalagan: {case} {shown}: {error}", file=sys.stderr)
            failed = True
        benchmark_report.write(report, output)
    benchmark_report.write(report | {"finished": not failed}, output)
    for case, results in itertools.groupby(report["results"], lambda result: result["case"]):
        print(f"\n{case}\n\n{benchmark_report.format_table(list(results))}")
    print(f"\n{output}")
    return 1 if failed else 0


def _define_flags() -> None:
    data_flags.define_data_flags()
    flags.FLAGS.set_default("dataset", "koala_scenes")
    flags.DEFINE_string("train_split", "train[:320]", "Pictures for the cases that need some.")
    flags.DEFINE_string("eval_split", "validation[:16]", "Pictures that `train` validates on.")
    flags.DEFINE_list("cases", list(_CASES), "What to measure.")
    flags.DEFINE_list("generator", ["inception_fusion"], "One or several.")
    flags.DEFINE_boolean("segmentation", False, "inception_fusion with its segmentation layer.")
    flags.DEFINE_list("mixed_precision", ["auto"], "One or several compute dtypes.")
    flags.DEFINE_list("discriminator_every", ["1", "5"], "One or several, for the steps.")
    flags.DEFINE_integer("batch_size", 16, "Pictures in a step.", lower_bound=1)
    flags.DEFINE_integer("rounds", 7, "Measurements after the warm-up.", lower_bound=1)
    flags.DEFINE_string("output", None, "The JSON file to write.", required=True)
    flags.DEFINE_string("peer", None, "A Python file with another program's step.")
    flags.DEFINE_string("peer_python", None, "The Python that runs it.")
    flags.DEFINE_integer("alternations", 3, "Runs of the peer, and of ours.", lower_bound=1)
    for name, known in (
        ("cases", list(_CASES)),
        ("generator", list(GENERATORS)),
        ("mixed_precision", precision.CHOICES),
    ):
        flags.register_validator(
            name,
            lambda values, known=known: bool(values) and set(values) <= set(known),
            f"name some of {', '.join(known)}",
        )
    flags.register_validator(
        "discriminator_every",
        lambda values: bool(values) and all(re.fullmatch("[1-9][0-9]*", each) for each in values),
        "give whole numbers from 1 on",
    )


if __name__ == "__main__":
    _define_flags()
    flags.adopt_module_key_flags(data_flags)
    errors.run(main)
