# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The report of `benchmark.py`: the machine, the settings and the results."""

import itertools
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from koalagan import files
from koalagan.errors import UserError, one_line
from koalagan.evaluation import protocol


def begin(output: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Opens the report: the existing one, if machine and settings are the same, or an empty one.

    Raises:
        UserError: it cannot be written, or results of other settings would be lost.
    """
    report = {
        "machine": machine(),
        "versions": protocol.versions(),
        "settings": dict(settings),
        "finished": False,
        "results": [],
    }
    if output.exists():
        try:
            former = json.loads(output.read_text())
            former["results"]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{output} exists and is not a report ({one_line(error)}): choose another --output."
            ) from error
        if former | {"results": [], "finished": False} == report:
            return former | {"finished": False}
        if former["results"]:
            raise UserError(
                f"{output} holds results of another machine, other versions or other settings: "
                "choose another --output."
            )
    write(report, output)
    return report


def write(report: Mapping[str, Any], output: Path) -> None:
    """Writes the report atomically.

    Raises:
        UserError: it cannot be written.
    """
    text = json.dumps(report, indent=1) + "\n"
    try:
        files.publish_text(output, text)
    except OSError as error:
        raise UserError(f"{output} cannot be written ({error.strerror}).") from error


def holds(report: Mapping[str, Any], case: str, combination: Mapping[str, Any]) -> bool:
    """Whether the report has the results of a case with this combination of varied settings."""
    wanted = {"case": case, **combination}
    return any(
        all(name in result and result[name] == value for name, value in wanted.items())
        for result in report["results"]
    )


def machine() -> dict[str, Any]:
    """Describes this machine."""
    facts = {}
    for line in _lines("/proc/cpuinfo"):
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    extensions = facts.get("flags", "").split()
    # Listed in another process, so that this one takes no GPU memory.
    found = subprocess.run(
        [sys.executable, "-c", _LIST_GPUS], capture_output=True, text=True
    ).stdout.splitlines()
    return {
        "processor": facts.get("model name", platform.processor()),
        "cores": len(os.sched_getaffinity(0)),
        "bfloat16": [name for name in ("amx_bf16", "avx512_bf16") if name in extensions],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpus": found,
        "system": platform.system(),
    }


_LIST_GPUS = """
import tensorflow as tf
for gpu in tf.config.list_physical_devices("GPU"):
    print(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name))
"""


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def format_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Formats the results of one case as a Markdown table with a column for every key."""
    columns = [name for name in dict.fromkeys(itertools.chain(*results)) if name != "case"]
    columns = [name for name in columns if any(result.get(name) is not None for result in results)]
    lines = [columns, ["---"] * len(columns)]
    lines += [[_cell(result.get(name)) for name in columns] for result in results]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    if isinstance(value, list):
        return " to ".join(map(_cell, value))
    return str(value)
