# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The run folder.

WORKDIR/
  flags.txt      a flagfile that repeats the run
  data.json      fingerprints of the pictures and weights that it is trained on
  checkpoints/   see `koalagan.training.checkpoint`
  tensorboard/   event files: train/ and validation/
  export/        the SavedModel, written at the end
  metrics.json   the evaluation, with table.md, pictures.csv, pictures.jsonl and grid.png beside
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from koalagan import files, options
from koalagan.errors import UserError, one_line
from koalagan.training import settings as run_settings
from koalagan.training.settings import RunSettings

# Settings of the machine and not of the run: flags.txt leaves them out.
_NOT_KEPT = ("workdir", "store_dir", "download")
# Kept, but a run may be continued with other values: data is compared by fingerprints instead.
_NOT_COMPARED = (
    "data_dir",
    "checkpoint_every_steps",
    "checkpoint_every_minutes",
    "keep_checkpoints",
    "check_every",
    "log_every",
    "jit_compile",
    "strategy",
)
_FLAGS = "flags.txt"
_LOCK = ".lock"


def exists(workdir: str) -> bool:
    """Whether a run has begun in the folder."""
    return (Path(workdir) / _FLAGS).is_file()


def name(workdir: str) -> str:
    """The name of a run, which is that of its folder."""
    return os.path.basename(os.path.abspath(workdir))


def read_settings(workdir: str) -> RunSettings:
    """The settings that a run was made with.

    Raises:
        UserError: the folder is not a run's.
    """
    if not exists(workdir):
        raise UserError(f"{workdir} is not the folder of a run: it has no {_FLAGS}.")
    path = Path(workdir) / _FLAGS
    return options.replace(run_settings.parse([f"--flagfile={path}"]), workdir=workdir)


def kept_values(settings: RunSettings) -> dict[str, Any]:
    """The settings that make the run, by flag, without where its pictures lie on this machine."""
    return {name: value for name, value in _kept(settings).items() if name != "data_dir"}


def _kept(settings: RunSettings) -> dict[str, Any]:
    values = options.values(settings)
    return {name: value for name, value in values.items() if name not in _NOT_KEPT}


def check(settings: RunSettings) -> None:
    """Checks that the run's folder, if there is one, belongs to a run with the same settings.

    Raises:
        UserError: it belongs to another run; the settings that differ are named.
    """
    workdir = settings.saving.workdir
    if not exists(workdir):
        return
    kept = _kept(read_settings(workdir))
    differing = [
        f"--{name}={kept[name]} (now {value})"
        for name, value in _kept(settings).items()
        if name not in _NOT_COMPARED and kept[name] != value
    ]
    if differing:
        raise UserError(
            f"{workdir} belongs to a run with {', '.join(differing)}: use its flags to continue "
            "it, or another --workdir."
        )


def write_settings(settings: RunSettings) -> None:
    """Writes flags.txt.

    Raises:
        UserError: the folder cannot be written.
    """
    lines = [_flag(name, value) for name, value in _kept(settings).items() if value is not None]
    _write(settings.saving.workdir, _FLAGS, "".join(f"{line}\n" for line in lines))


def _flag(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={value}"


def compare_data(workdir: str, fingerprints: dict[str, str]) -> None:
    """Keeps what a run is trained on in data.json, or checks that a continued run still has it.

    Args:
        workdir: the run's folder.
        fingerprints: of each split and of the frozen networks' weights.

    Raises:
        UserError: the pictures or the weights are not those that the run began with.
    """
    kept = read_data(workdir)
    if kept is None:
        _write(workdir, "data.json", json.dumps(fingerprints, indent=1) + "\n")
        return
    changed = [name for name in fingerprints if kept.get(name) != fingerprints[name]]
    if changed:
        raise UserError(
            f"the data of the run in {workdir} has changed since it began ({', '.join(changed)}): "
            "restore it to continue, or start a new run with another --workdir."
        )


def read_data(workdir: str) -> dict[str, str] | None:
    """The fingerprints that `compare_data` kept; None where there are none."""
    path = Path(workdir) / "data.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({one_line(error)}).") from error


def read_metrics(workdir: str) -> dict[str, Any] | None:
    """The evaluation of a finished run (see `evaluation.protocol`); None before that."""
    try:
        return json.loads((Path(workdir) / "metrics.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None


def make(workdir: str) -> None:
    """Makes the run's folder, and checks that files can be written to it.

    Raises:
        UserError: they cannot.
    """
    _write(workdir, ".writable", "")
    # Another process that starts here at the same moment may have deleted it.
    (Path(workdir) / ".writable").unlink(missing_ok=True)


@contextlib.contextmanager
def locked(workdir: str) -> Iterator[None]:
    """Keeps other processes from training in the folder.

    A folder that is still empty at the end is deleted: no run has begun in it.

    Raises:
        UserError: another process is training there.
    """

    def refuse() -> NoReturn:
        raise UserError(
            f"another process is training in {workdir}: wait for it, stop it, or name another "
            "--workdir."
        )

    try:
        with files.locked(Path(workdir) / _LOCK, refuse):
            yield
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(workdir)


def _write(workdir: str, name: str, text: str) -> None:
    try:
        Path(workdir).mkdir(parents=True, exist_ok=True)
        files.publish_text(Path(workdir) / name, text)
    except OSError as error:
        raise UserError(
            f"the run's folder {workdir} cannot be written ({error.strerror}): name another "
            "--workdir."
        ) from error
