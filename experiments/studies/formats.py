# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Exports a model in every format and measures size, speed and color differences.

    python experiments/studies/formats.py [--workdir=runs/NAME] --dataset=... [--split=...] \\
        [--pictures=16]

The model is that of a finished run, or the one that comes with koalagan. Each export is run by its
own runtime, one picture at a time, on pictures at the model's size. The differences are between its
colored pictures, uint8, and those of the float32 SavedModel: the largest, and the share of values
that differ by at most 1.
"""

import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from source_options import SourceOptions

from koalagan import cli, progress
from koalagan.color import lab
from koalagan.data import sources, store
from koalagan.exporting import trained
from koalagan.exporting.settings import ExportSettings
from koalagan.inference import pretrained, saved_model
from koalagan.options import option
from koalagan.training import networks, run_folder


@dataclasses.dataclass(frozen=True)
class FormatsSettings(SourceOptions):
    """Formats."""

    store_dir: str | None = option(
        None, "Where prepared pictures are kept (default: koalagan in the user's cache folder)."
    )
    workdir: str | None = option(None, "The run's folder (default: the model that comes along).")
    pictures: int = option(16, "How many pictures to color.", minimum=1)


# (format, dtype of the weights, whether the frozen networks are left out)
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

# From named inputs of one picture to ab [1,h,w,2].
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


def measure(
    run: str | None, L: np.ndarray, forms: Sequence[tuple[str, str, bool]] = _FORMS
) -> list[dict]:
    """Returns a row for each form: its name, megabytes, seconds per picture, and differences.

    Args:
        run: the run's folder; None is the model that comes along.
        L: float32 [N,h,w,1], pictures of the model's size.
        forms: the others are compared with the first. Without frozen networks, those that leave
            them out are left out.
    """
    given = _frozen_outputs(run, L) if run and any(frozen for _, _, frozen in forms) else {}
    forms = [form for form in forms if given or not form[2]]
    rows, reference = [], None
    with tempfile.TemporaryDirectory() as folder, progress.bar("formats", len(forms)) as bar:
        for number, (format, dtype, frozen) in enumerate(forms):
            path = f"{folder}/{number}"
            settings = ExportSettings(format=format, export_dtype=dtype, frozen_inputs=frozen)
            if run:
                trained.export_run(run, path, settings)
            else:
                trained.export_pretrained(path, settings)
            size = sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())
            color = _RUNTIMES[format](path)
            seconds, colored = [], []
            for row in range(len(L)):
                inputs = {"L": L[row : row + 1]}
                if frozen:
                    inputs |= {name: value[row : row + 1] for name, value in given.items()}
                began = time.perf_counter()
                ab = color(inputs)
                seconds.append(time.perf_counter() - began)
                colored.append(lab.lab_to_rgb(inputs["L"], ab).numpy().astype(int))
            colored = np.concatenate(colored)
            reference = colored if reference is None else reference
            difference = np.abs(colored - reference)
            rows.append(
                {
                    "form": f"{format} {dtype}" + (", frozen networks outside" if frozen else ""),
                    "megabytes": size / 1e6,
                    # The first call is slower: it traces or allocates.
                    "seconds": statistics.median(seconds[1:] or seconds),
                    "largest": int(difference.max()),
                    "within_1": float((difference <= 1).mean()),
                }
            )
            bar.update()
    return rows


def _frozen_outputs(run: str, L: np.ndarray) -> dict[str, np.ndarray]:
    models = networks.load_frozen(run_folder.read_settings(run).networks)
    outputs = {}
    for name, model in models.items():
        one_by_one = [model(L[row : row + 1], training=False) for row in range(len(L))]
        outputs[name] = np.concatenate(one_by_one)
    return outputs


def main(settings: FormatsSettings, _: list[str]) -> None:
    """Prints a Markdown table."""
    run = settings.workdir and os.path.expanduser(settings.workdir)
    if run:
        size = (run_folder.read_settings(run).data.image_size,) * 2
    else:
        size = tuple(pretrained.card()["facts"]["image_size"])
    source = sources.open_source(
        settings.dataset, settings.split, data_dir=settings.data_dir, download=settings.download
    )
    prepared = store.prepare(source, store_dir=settings.store_dir, image_size=size)
    L, _ = lab.rgb_to_lab(np.array(prepared.pictures[: settings.pictures]))
    print("| form | MB | s per picture | largest difference | within 1 of 255 |")
    print("| :--- | ---: | ---: | ---: | ---: |")
    for row in measure(run, L.numpy()):
        print(
            f"| {row['form']} | {row['megabytes']:.1f} | {row['seconds']:.3f} | {row['largest']} | "
            f"{100 * row['within_1']:.2f} % |"
        )


COMMAND = cli.Command(__doc__, FormatsSettings, main)

if __name__ == "__main__":
    cli.run(COMMAND)
