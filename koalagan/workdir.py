# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The run folder, and the flags that make a run.

WORKDIR/
  flags.txt      a flagfile that repeats the run
  data.json      fingerprints of the pictures and weights it is trained on
  checkpoints/   see koalagan.checkpoint
  tensorboard/   train/ and validation/ event files
  export/        the SavedModel, written at the end
  metrics.json   the evaluation, with table.md and grid.png beside it
"""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import keras
from absl import flags

from koalagan import files, precision
from koalagan.data.flags import define_data_flags
from koalagan.errors import UserError, one_line
from koalagan.models import GENERATORS

# Flags of the machine and not of the run: flags.txt leaves them out.
_NOT_KEPT = ("workdir", "store_dir", "download")
# Kept, but a run may be continued with another: what lies there is compared instead.
_NOT_COMPARED = ("data_dir",)


def define_run_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of `train`, with the Inception-GAN paper's values as defaults."""
    define_data_flags(flag_values)

    def positive(name: str, default: float, text: str) -> None:
        flags.DEFINE_float(name, default, text, lower_bound=0.0, flag_values=flag_values)

    def count(name: str, default: int, minimum: int, text: str) -> None:
        flags.DEFINE_integer(name, default, text, lower_bound=minimum, flag_values=flag_values)

    def choice(name: str, choices: Sequence[str], text: str) -> None:
        flags.DEFINE_enum(name, choices[0], choices, text, flag_values=flag_values)

    def text(name: str, default: str | None, text: str) -> None:
        flags.DEFINE_string(name, default, text, flag_values=flag_values)

    text("workdir", None, "The run's folder; the same command with the same one continues it.")
    text("train_split", "train[:8000]", "What to train on, in TFDS's slice syntax.")
    text("eval_split", "train[8000:10000]", "What to validate and evaluate on.")
    choice("generator", list(GENERATORS), "The network that colours.")
    text(
        "embedding_weights",
        "imagenet",
        "Weights of the frozen Inception-ResNet-v2: imagenet, slim:PATH (the original checkpoint), "
        "PATH.weights.h5, random (untrained), or none (leave the branch out of the network).",
    )
    count("pretrain_epochs", 20, 0, "Passes of L1 pretraining of the generator alone.")
    positive("pretrain_learning_rate", 1e-4, "Adam's learning rate in pretraining.")
    count("epochs", 15, 0, "Passes of adversarial training.")
    positive("generator_learning_rate", 2e-4, "Adam's learning rate for the generator.")
    positive("discriminator_learning_rate", 2e-4, "Adam's learning rate for the discriminator.")
    count("discriminator_every", 5, 1, "Generator steps to each discriminator step.")
    choice("pixel_loss", ["l1", "l2"], "The distance between predicted and true colours.")
    positive("l1_weight", 100.0, "What the pixel loss is multiplied by.")
    choice("gan_loss", ["vanilla", "lsgan"], "Cross-entropy, or least squares.")
    count("batch_size", 64, 1, "Pictures in a step.")
    choice("mixed_precision", precision.CHOICES, "Compute dtype; auto takes the fastest safe one.")
    text("init_from", None, "Start from the generator of another run's folder.")
    flags.DEFINE_integer(
        "seed",
        0,
        "Of weights, order and flips.",
        lower_bound=0,
        upper_bound=2**32 - 1,
        flag_values=flag_values,
    )
    flags.DEFINE_boolean(
        "deterministic", False, "Only kernels that repeat bit by bit.", flag_values=flag_values
    )


def resolve(settings: flags.FlagValues) -> None:
    """Makes `settings` independent of where and on what they were given, so that they can be kept.

    Raises:
        UserError: the workdir is missing, a number is not one, or there is nothing to train.
    """
    if not settings.workdir:
        raise UserError("--workdir is missing: name the folder that the run is kept in.")
    if settings.pretrain_epochs + settings.epochs == 0:
        raise UserError("--pretrain_epochs and --epochs are both 0: nothing would be trained.")
    for name, value in settings.flag_values_dict().items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"--{name}={value} is not a number to train with.")
    settings.mixed_precision = precision.resolve(settings.mixed_precision)
    settings.workdir = os.path.expanduser(settings.workdir)
    for name in ("data_dir", "init_from"):
        if settings[name].value:
            settings[name].value = _absolute(settings[name].value)
    kind, colon, path = settings.embedding_weights.rpartition(":")
    if colon or path.endswith(".h5"):
        settings.embedding_weights = f"{kind}{colon}{_absolute(path)}"


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _fresh() -> flags.FlagValues:
    settings = flags.FlagValues()
    define_run_flags(settings)
    return settings


def read_flags(workdir: str) -> flags.FlagValues:
    """The flags that a run was made with.

    Raises:
        UserError: the folder is not a run's.
    """
    path = Path(workdir) / "flags.txt"
    if not path.is_file():
        raise UserError(f"{workdir} is not a run's folder: it holds no flags.txt.")
    settings = _fresh()
    try:
        settings(["koalagan", f"--flagfile={path}"])
    except (flags.Error, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as flags ({one_line(error)}).") from error
    settings.workdir = workdir
    return settings


def _kept_names() -> list[str]:
    return [name for name in _fresh() if name not in _NOT_KEPT]


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
        for name in _kept_names()
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
    kept = [settings[name] for name in _kept_names() if settings[name].value is not None]
    _write(settings.workdir, "flags.txt", "".join(f"{flag.serialize()}\n" for flag in kept))


def compare_data(workdir: str, fingerprints: dict[str, str]) -> None:
    """Keeps what a run is trained on in data.json, or checks that a continued run still has it.

    Args:
        workdir: the run's folder.
        fingerprints: of each split and of the frozen network's weights.

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


def make(workdir: str) -> None:
    """Makes the run's folder, and sees that files can be written to it.

    Raises:
        UserError: they cannot.
    """
    _write(workdir, ".writable", "")
    (Path(workdir) / ".writable").unlink()


def _write(workdir: str, name: str, text: str) -> None:
    try:
        Path(workdir).mkdir(parents=True, exist_ok=True)
        files.publish(Path(workdir) / name, lambda path: path.write_text(text))
    except OSError as error:
        raise UserError(
            f"the run's folder {workdir} cannot be written ({error.strerror}): "
            "name another --workdir."
        ) from error


def build_generator(settings: flags.FlagValues, image_size) -> keras.Model:
    """The generator that the flags describe, untrained, for `image_size` (see its `build`)."""
    return GENERATORS[settings.generator](
        image_size=image_size,
        segmentation=False,
        embedding=settings.embedding_weights != "none",
    )
