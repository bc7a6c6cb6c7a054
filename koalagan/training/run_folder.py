# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The run folder.

WORKDIR/
  flags.txt      a flagfile that repeats the run
  data.json      fingerprints of the pictures and weights it is trained on
  checkpoints/   see koalagan.training.checkpoint
  tensorboard/   train/ and validation/ event files
  export/        the SavedModel, written at the end
  metrics.json   the evaluation, with table.md and grid.png beside it
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags

from koalagan import files
from koalagan.errors import UserError, one_line
from koalagan.training import run_flags

# Flags of the machine and not of the run: flags.txt leaves them out.
_NOT_KEPT = ("workdir", "store_dir", "download")
# Kept, but a run may be continued with others: of the data, what lies there is compared instead.
_NOT_COMPARED = (
    "data_dir",
    "checkpoint_every_steps",
    "checkpoint_every_minutes",
    "keep_checkpoints",
    "check_every",
)


def read_flags(workdir: str) -> flags.FlagValues:
    """The flags that a run was made with.

    Raises:
        UserError: the folder is not a run's.
    """
    path = Path(workdir) / "flags.txt"
    if not path.is_file():
        raise UserError(f"{workdir} is not a run's folder: it holds no flags.txt.")
    settings = run_flags.parse([f"--flagfile={path}"])
    settings.workdir = workdir
    return settings


def kept_names() -> list[str]:
    """The flags that make the run, and not only the machine's."""
    return [name for name in run_flags.parse([]) if name not in _NOT_KEPT]


def kept_values(settings: flags.FlagValues) -> dict[str, Any]:
    """The flags that make the run, by name, without where its pictures lie on this machine."""
    return {name: settings[name].value for name in kept_names() if name != "data_dir"}


def check(settings: flags.FlagValues) -> None:
    """Checks that the run's folder, where it exists, belongs to the same flags.

    Raises:
        UserError: it belongs to others, which are named.
    """
    if not (Path(settings.workdir) / "flags.txt").exists():
        return
    kept = read_flags(settings.workdir)
    differing = [
        f"--{name}={kept[name].value} (now {settings[name].value})"
        for name in kept_names()
        if name not in _NOT_COMPARED and kept[name].value != settings[name].value
    ]
    if differing:
        raise UserError(
            f"{settings.workdir} belongs to a run with {', '.join(differing)}: "
            "use its flags to continue it, or another --workdir."
        )


def write_flags(settings: flags.FlagValues) -> None:
    """Writes flags.txt.

    Raises:
        UserError: the folder cannot be written.
    """
    kept = [settings[name] for name in kept_names() if settings[name].value is not None]
    _write(settings.workdir, "flags.txt", "".join(f"{flag.serialize()}\n" for flag in kept))


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
            "bring it back to continue, or start anew with another --workdir."
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
    """What a finished run was measured at (see `evaluate.evaluate_models`); None before that."""
    try:
        return json.loads((Path(workdir) / "metrics.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None


def make(workdir: str) -> None:
    """Makes the run's folder, and sees that files can be written to it.

    Raises:
        UserError: they cannot.
    """
    _write(workdir, ".writable", "")
    # Another process that is starting here may have deleted it.
    (Path(workdir) / ".writable").unlink(missing_ok=True)


@contextlib.contextmanager
def alone(workdir: str) -> Iterator[None]:
    """Keeps other processes from training in the folder; the lock ends with this one at the latest.

    A folder that is still empty at the end is deleted: nothing of a run has begun there.

    Raises:
        UserError: another one does already.
    """
    handle = os.open(workdir, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is training in {workdir}: wait for it, stop it, or name another "
                "--workdir."
            ) from None
        except OSError:
            pass  # Some network file systems have no locks.
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.rmdir(workdir)
    finally:
        os.close(handle)


def tidy(workdir: str) -> None:
    """Deletes what killed processes have left half-written; only for who is `alone` there."""
    # `files.publish` and `export` name so what they write; the last is an export being replaced.
    for pattern in ("*.writing-*", "*.replaced-*"):
        for path in Path(workdir).rglob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _write(workdir: str, name: str, text: str) -> None:
    try:
        Path(workdir).mkdir(parents=True, exist_ok=True)
        files.publish_text(Path(workdir) / name, text)
    except OSError as error:
        raise UserError(
            f"the run's folder {workdir} cannot be written ({error.strerror}): "
            "name another --workdir."
        ) from error
