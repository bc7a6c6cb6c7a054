# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Kills a training repeatedly and checks that nothing is lost.

    python experiments/robustness/torture.py --kills=20 --seed=0 [--mixed_precision=float32] \\
        [-- TRAIN_FLAGS]

A small training, both phases with dropout, runs twice without interruption. Then it is killed at
random moments between its start and its end (by SIGKILL; one time in three by SIGTERM or SIGINT),
whatever it is doing (importing, preparing pictures, training, validating, writing a checkpoint or
the SavedModel), and restarted with the same command until it ends. If it ends before there were
enough kills, another training follows in new folders. Each result must be identical to the
uninterrupted one, byte for byte: every variable of the checkpoint (weights, optimizers, loss scale,
dropout's state, counters), every point of the TensorBoard curves, every variable of the SavedModel,
every number in metrics.json.

The exit status is 0 if all are equal.
"""

import dataclasses
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from koalagan import cli
from koalagan.data.koala_scenes import drawing
from koalagan.errors import UserError, one_line
from koalagan.options import option

_PICTURES = 20
_TRAINING = {
    "dataset": "folder",
    "train_split": "train[:16]",
    "eval_split": "train[16:]",
    "image_size": 32,
    "embedding_weights": "none",
    "segmentation_weights": "none",
    "dropout": 0.2,
    "batch_size": 4,
    "pretrain_epochs": 2,
    "epochs": 2,
    "checkpoint_every_steps": 3,
    "deterministic": "true",
}


@dataclasses.dataclass(frozen=True)
class TortureSettings:
    """Torture."""

    kills: int = option(20, "The minimum number of kills.", minimum=1)
    seed: int = option(0, "Seed of the moments of the kills.")
    mixed_precision: str = option("float32", "The dtype of computations of the training.")


class Training:
    """A training in a folder of its own.

    Attributes:
        run: the run's folder.
        command: the command that trains.

    Args:
        folder: for its run and its store.
        pictures: the folder of photographs.
        more: further flags of `koalagan.train`.
    """

    def __init__(self, folder: Path, pictures: Path, more: Sequence[str]):
        self.run = folder / "run"
        folder.mkdir()
        given = _TRAINING | {
            "data_dir": pictures,
            "workdir": self.run,
            "store_dir": folder / "store",
        }
        self.command = [
            sys.executable,
            "-m",
            "koalagan.train",
            *(f"--{name}={value}" for name, value in given.items()),
            *more,
        ]
        self._log = folder / "log.txt"

    def start(self, kill_after: float | None = None, number: int = signal.SIGKILL) -> bool:
        """Runs the command; returns whether a signal ended it.

        Args:
            kill_after: when to send the signal, in seconds; None never sends it.
            number: the signal.

        Raises:
            UserError: the training failed on its own.
        """
        with self._log.open("a") as log:
            process = subprocess.Popen(self.command, stdout=log, stderr=log)
            try:
                status = process.wait(kill_after)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                status = process.wait()
            except KeyboardInterrupt:
                process.kill()
                raise
        # The status of a process ended by a signal, and that of koalagan's commands.
        ended = (-number, 128 + number) if kill_after is not None else ()
        if status and status not in ended:
            last = self._log.read_text(errors="replace").strip()[-300:]
            raise UserError(f"the training ended with status {status}: {one_line(last)}.")
        return status != 0

    def result(self) -> dict[str, bytes]:
        """Everything that the training produced, by name.

        Raises:
            UserError: a TensorBoard curve has two points for the same step.
        """
        rows = json.loads((self.run / "metrics.json").read_text())["rows"]
        found = {"metrics.json": json.dumps(rows).encode()}
        newest = tf.train.latest_checkpoint(str(self.run / "checkpoints"))
        exported = str(self.run / "export" / "variables" / "variables")
        for kind, path in (("checkpoint", newest), ("SavedModel", exported)):
            reader = tf.train.load_checkpoint(path)
            for name in reader.get_variable_to_shape_map():
                if name != "_CHECKPOINTABLE_OBJECT_GRAPH":
                    found[f"{kind} {name}"] = np.asarray(reader.get_tensor(name)).tobytes()
        for part in ("train", "validation"):
            points = {}
            for path in sorted((self.run / "tensorboard" / part).glob("*tfevents*")):
                for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                    event = tf.compat.v1.Event.FromString(record)
                    for value in event.summary.value:
                        if value.tag == "pictures_per_second":
                            continue  # differs in every run
                        point = value.tensor.SerializeToString().hex()
                        points.setdefault(value.tag, []).append((event.step, point))
            for tag, curve in points.items():
                if len({step for step, _ in curve}) < len(curve):
                    raise UserError(
                        f"the TensorBoard curve {tag} of {self.run} has two points for a step."
                    )
                found[f"TensorBoard {part} {tag}"] = json.dumps(sorted(curve)).encode()
        return found


def _signal(choose: random.Random) -> signal.Signals:
    """SIGKILL two times in three."""
    return choose.choice([*4 * [signal.SIGKILL], signal.SIGTERM, signal.SIGINT])


def differences(result: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """The names of what is missing in one result or differs between the two."""
    names = sorted({*result, *other})
    return [name for name in names if result.get(name) != other.get(name)]


def draw_pictures(folder: Path) -> None:
    """Fills a new folder with the pictures to train on."""
    folder.mkdir()
    for number in range(_PICTURES):
        scene = drawing.draw_scene(np.random.default_rng(number), 48)
        Image.fromarray(scene).save(folder / f"{number}.png")


def train_twice(
    folder: Path, pictures: Path, more: Sequence[str]
) -> tuple[dict[str, bytes], float]:
    """Trains twice without interruption; returns the result and the time in seconds.

    Raises:
        UserError: the two trainings differ.
    """
    expected, took = None, 0.0
    for name in ("undisturbed", "undisturbed-again"):
        training = Training(folder / name, pictures, more)
        began = time.monotonic()
        training.start()
        took = time.monotonic() - began
        result = training.result()
        if expected and (unequal := differences(expected, result)):
            raise UserError(f"two uninterrupted trainings differ in {', '.join(unequal[:5])}.")
        expected = result
        print(f"{name}: {took:.1f} s, {len(result)} values to compare", flush=True)
    return expected, took


def main(settings: TortureSettings, arguments: list[str]) -> int:
    """Runs the command; returns the exit status."""
    choose = random.Random(settings.seed)
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    pictures = folder / "pictures"
    draw_pictures(pictures)
    more = [f"--mixed_precision={settings.mixed_precision}", *arguments]
    expected, took = train_twice(folder, pictures, more)
    kills = trainings = 0
    while kills < settings.kills:
        trainings += 1
        training = Training(folder / f"killed-{trainings}", pictures, more)
        before = kills
        # The last start of the last training is not killed.
        while training.start(
            *((choose.uniform(0, took), _signal(choose)) if kills < settings.kills else ())
        ):
            kills += 1
            print(f"killed {kills} of {settings.kills} times", flush=True)
        if unequal := differences(expected, training.result()):
            print(
                f"after {kills - before} kills, {training.run} differs from the uninterrupted "
                f"training in {len(unequal)} values: {', '.join(unequal[:5])}.",
                file=sys.stderr,
            )
            return 1
        print(f"training {trainings}: equal after {kills - before} kills", flush=True)
    shutil.rmtree(folder)
    print(f"{kills} kills, {trainings} trainings, all equal to the uninterrupted one")
    return 0


COMMAND = cli.Command(__doc__, TortureSettings, main, arguments="[-- TRAIN_FLAGS]")

if __name__ == "__main__":
    cli.run(COMMAND)
