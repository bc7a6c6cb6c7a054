# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Stops a training again and again, and sees that nothing of it is lost.

    python experiments/torture.py --kills=20 --seed=0 [--mixed_precision=float32] [-- TRAIN_FLAGS]

A small training, both phases with dropout, runs twice undisturbed. Then it is killed (SIGKILL; one
time in three it is asked to stop instead, by SIGTERM or SIGINT) at random moments from its start to
its end, whatever it does then (importing, preparing pictures, training, validating, writing a
checkpoint or the SavedModel), and started again with the same command until it ends. A training
that ends before there were enough kills is followed by another, in new folders. Each has to be the
undisturbed one byte for byte: every variable of its checkpoint (weights, optimizers, loss scale,
dropout's state, counters), every point of its TensorBoard curves, every variable of the SavedModel,
every figure of metrics.json.

Exits with 0 if all are equal.
"""

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
from absl import flags
from PIL import Image

from koalagan import errors
from koalagan.data.koala_scenes import drawing
from koalagan.errors import UserError

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


class Training:
    """A training in a folder of its own.

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
        self._command = [
            sys.executable,
            "-m",
            "koalagan.train",
            *(f"--{name}={value}" for name, value in given.items()),
            *more,
        ]
        self._log = folder / "log.txt"

    def start(self, kill_after: float | None = None, number: int = signal.SIGKILL) -> bool:
        """Runs the command; returns whether a signal, sent after some seconds, has ended it.

        Raises:
            UserError: it failed by itself.
        """
        with self._log.open("a") as log:
            process = subprocess.Popen(self._command, stdout=log, stderr=log)
            try:
                status = process.wait(kill_after)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                status = process.wait()
            except KeyboardInterrupt:
                process.kill()
                raise
        # As Python ends by a signal, and as koalagan does.
        ended = (-number, 128 + number) if kill_after is not None else ()
        if status and status not in ended:
            last = self._log.read_text(errors="replace").strip()[-300:]
            raise UserError(f"the training ended with {status}: {errors.one_line(last)}.")
        return status != 0

    def result(self) -> dict[str, bytes]:
        """Everything that it has led to, by name."""
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
                            continue  # nothing that a training leads to
                        point = value.tensor.SerializeToString().hex()
                        points.setdefault(value.tag, []).append((event.step, point))
            for tag, curve in points.items():
                if len({step for step, _ in curve}) < len(curve):
                    raise UserError(f"TensorBoard's curve {tag} of {self.run} has a step twice.")
                found[f"TensorBoard {part} {tag}"] = json.dumps(sorted(curve)).encode()
        return found


def _signal(choose: random.Random) -> signal.Signals:
    """SIGKILL twice of three times."""
    return choose.choice([*4 * [signal.SIGKILL], signal.SIGTERM, signal.SIGINT])


def differences(result: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """What is not in both, or not the same in both."""
    names = sorted({*result, *other})
    return [name for name in names if result.get(name) != other.get(name)]


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    given = flags.FLAGS
    choose = random.Random(given.seed)
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(_PICTURES):
        scene = drawing.draw_scene(np.random.default_rng(number), 48)
        Image.fromarray(scene).save(pictures / f"{number}.png")
    more = [f"--mixed_precision={given.mixed_precision}", *argv[1:]]

    expected, took = None, 0.0
    for name in ("undisturbed", "undisturbed-again"):
        training = Training(folder / name, pictures, more)
        began = time.monotonic()
        training.start()
        took = time.monotonic() - began
        result = training.result()
        if expected and (unequal := differences(expected, result)):
            print(f"two undisturbed trainings differ: {unequal[:5]}", file=sys.stderr)
            return 1
        expected = result
        print(f"{name}: {took:.1f} s, {len(result)} things to compare", flush=True)

    kills = endured = 0
    while kills < given.kills:
        endured += 1
        training = Training(folder / f"killed-{endured}", pictures, more)
        killed = 0
        # The last start of the last training is left alone.
        while training.start(
            *((choose.uniform(0, took), _signal(choose)) if kills < given.kills else ())
        ):
            kills, killed = kills + 1, killed + 1
            print(f"killed {kills} times of {given.kills}", flush=True)
        if unequal := differences(expected, training.result()):
            print(
                f"after {killed} kills, {training.run} differs from the undisturbed training in "
                f"{len(unequal)} things: {', '.join(unequal[:5])}.",
                file=sys.stderr,
            )
            return 1
        print(f"training {endured}: equal after {killed} kills", flush=True)
    shutil.rmtree(folder)
    print(f"{kills} kills, {endured} trainings, all equal to the undisturbed one")
    return 0


def _define_flags() -> None:
    flags.DEFINE_integer("kills", 20, "How many at least.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Of the moments.")
    flags.DEFINE_string("mixed_precision", "float32", "Compute dtype of the training.")


if __name__ == "__main__":
    _define_flags()
    errors.run(main)
