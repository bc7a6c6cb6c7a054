# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""A run in every format it can be exported in: size, speed, and how far the colours move.

    python experiments/formats.py --workdir=runs/NAME --dataset=... --split=... [--pictures=16]

Each export is run by its own runtime, one picture at a time, on real pictures at the model's size.
The difference is that of the coloured pictures, uint8, to those of the SavedModel in float32: its
largest, and the share of values that differ by no more than 1.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import flags

from koalagan import errors, export, lazy, progress
from koalagan.data import flags as data_flags
from koalagan.data import sources, store
from koalagan.errors import UserError
from koalagan.inference import saved_model
from koalagan.models import FROZEN
from koalagan.training import run_folder

tf = lazy.module("tensorflow")
lab = lazy.module("koalagan.color.lab")

# (format, dtype, whether the frozen networks are left out)
_FORMS = [
    ("savedmodel", "float32", False),
    ("savedmodel", "float16", False),
    ("savedmodel", "float32", True),
    ("tflite", "float32", False),
    ("tflite", "float16", False),
    ("tflite", "int8", False),
    ("tflite", "float32", True),
    ("tflite", "float16", True),
    ("tflite", "int8", True),
    ("onnx", "float32", False),
    ("onnx", "float32", True),
]

# From named inputs, one picture, to ab [1,h,w,2].
Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]


def _savedmodel(folder: str) -> Run:
    signature = saved_model.load(folder, "predict_ab", "ab")
    return lambda inputs: signature(
        **{name: tf.constant(value) for name, value in inputs.items()}
    ).numpy()


def _tflite(folder: str) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(f"{folder}/model.tflite", num_threads=os.cpu_count())
    runner = interpreter.get_signature_runner()
    return lambda inputs: runner(**inputs)["ab"]


def _onnx(folder: str) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
    return lambda inputs: session.run(None, dict(inputs))[0]


_RUNTIMES = {"savedmodel": _savedmodel, "tflite": _tflite, "onnx": _onnx}


def measure(run: str, L: np.ndarray, forms: Sequence[tuple[str, str, bool]] = _FORMS) -> list[dict]:
    """One row for each form: its name, megabytes, seconds a picture, and differences.

    Args:
        run: the run's folder.
        L: float32 [N,h,w,1], pictures of the model's size.
        forms: the first is what the others are compared to.
    """
    given = _frozen_answers(run, L) if any(frozen for _, _, frozen in forms) else {}
    rows, reference = [], None
    with tempfile.TemporaryDirectory() as folder, progress.bar("formats", len(forms)) as bar:
        for number, (format, dtype, frozen) in enumerate(forms):
            path = f"{folder}/{number}"
            export.export_run(run, path, frozen_inputs=frozen, format=format, dtype=dtype)
            size = sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())
            colour = _RUNTIMES[format](path)
            seconds, coloured = [], []
            for row in range(len(L)):
                inputs = {"L": L[row : row + 1]}
                if frozen:
                    inputs |= {name: value[row : row + 1] for name, value in given.items()}
                began = time.perf_counter()
                ab = colour(inputs)
                seconds.append(time.perf_counter() - began)
                coloured.append(lab.lab_to_rgb(inputs["L"], ab).numpy().astype(int))
            coloured = np.concatenate(coloured)
            reference = coloured if reference is None else reference
            difference = np.abs(coloured - reference)
            rows.append(
                {
                    "form": f"{format} {dtype}" + (", frozen networks outside" if frozen else ""),
                    "megabytes": size / 1e6,
                    # The first one is slower: it traces, or allocates.
                    "seconds": statistics.median(seconds[1:] or seconds),
                    "largest": int(difference.max()),
                    "within_1": float((difference <= 1).mean()),
                }
            )
            bar.update()
    return rows


def _frozen_answers(run: str, L: np.ndarray) -> dict[str, np.ndarray]:
    settings = run_folder.read_flags(run)
    answers = {}
    for name, network in FROZEN.items():
        weights = settings[f"{name}_weights"].value
        if weights != "none":
            model = network.build()
            network.load_weights(model, weights)
            one_by_one = [model(L[row : row + 1], training=False) for row in range(len(L))]
            answers[name] = np.concatenate(one_by_one)
    return answers


def main(argv: Sequence[str]) -> None:
    """Prints a Markdown table."""
    settings = flags.FLAGS
    if len(argv) > 1:
        raise UserError(f"formats takes only flags, and {argv[1]!r} is none: see --help.")
    run = os.path.expanduser(settings.workdir)
    own = run_folder.read_flags(run)
    size = (own.image_size, own.image_size)
    source = sources.open_source(
        settings.dataset, settings.split, data_dir=settings.data_dir, download=settings.download
    )
    prepared = store.prepare(source, store_dir=settings.store_dir, image_size=size)
    L, _ = lab.rgb_to_lab(np.array(prepared.pictures[: settings.pictures]))
    print("| form | MB | s a picture | largest difference | within 1 of 255 |")
    print("| :--- | ---: | ---: | ---: | ---: |")
    for row in measure(run, L.numpy()):
        print(
            f"| {row['form']} | {row['megabytes']:.1f} | {row['seconds']:.3f} | {row['largest']} | "
            f"{100 * row['within_1']:.2f} % |"
        )


if __name__ == "__main__":
    data_flags.define_source_flags()
    data_flags.define_store_flag()
    flags.DEFINE_string("workdir", None, "The run.", required=True)
    flags.DEFINE_string("split", "validation", "The pictures to colour.")
    flags.DEFINE_integer("pictures", 16, "How many of them.", lower_bound=1)
    flags.adopt_module_key_flags(data_flags)
    errors.run(main)
