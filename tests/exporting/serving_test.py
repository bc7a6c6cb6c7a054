# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""An export in other programs: TensorFlow Serving's JSON, saved_model_cli, threads, many calls.

Serving itself is not run. `serve` maps JSON to tensors and back as its documentation says (RESTful
API, "Request format", "Response format", "Encoding binary values").
"""

import base64
import concurrent.futures
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from helpers.exports import photograph
from helpers.pictures import encode
from PIL import Image


def serve(signatures, body: str) -> str:
    """The server's response to POST .../v1/models/NAME:predict."""
    request = json.loads(body)
    signature = signatures[request.get("signature_name", "serving_default")]
    specs = signature.structured_input_signature[1]
    if "instances" in request:  # rows: an object each, or bare values of the only input
        rows = request["instances"]
        if not all(isinstance(row, dict) and set(row) == set(specs) for row in rows):
            rows = [{next(iter(specs)): row} for row in rows]
        columns = {name: [row[name] for row in rows] for name in specs}
    else:  # columns: an object of inputs, or the only input
        columns = request["inputs"]
        if not isinstance(columns, dict):
            columns = {next(iter(specs)): columns}
    inputs = {name: tf.constant(_binary(columns[name]), specs[name].dtype) for name in specs}
    outputs = {name: value.numpy() for name, value in signature(**inputs).items()}
    ((name, value),) = outputs.items()  # the name of a single output is left out
    if name.endswith("_bytes"):
        answer = [{"b64": base64.b64encode(one).decode()} for one in value]
    else:
        answer = value.tolist()
    return json.dumps({"predictions" if "instances" in request else "outputs": answer})


def _binary(value):
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"])
    return [_binary(one) for one in value] if isinstance(value, list) else value


def b64(encoded: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(encoded).decode()}


def picture(answer: dict[str, str]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["b64"]))))


def test_pictures_as_bytes_over_rest(signatures):
    encoded = [encode(photograph(20, 31)), encode(photograph(33, 18, 1), "JPEG")]
    answers = signatures["colorize_bytes"](image_bytes=encoded)["colorized_bytes"]
    expected = [tf.io.decode_png(one).numpy() for one in answers]
    named = {"instances": [{"image_bytes": b64(one)} for one in encoded]}
    bare = {"instances": [b64(one) for one in encoded]}
    columns = {"inputs": {"image_bytes": [b64(one) for one in encoded]}}
    for request, key in ((named, "predictions"), (bare, "predictions"), (columns, "outputs")):
        body = json.dumps({"signature_name": "colorize_bytes", **request})
        found = [picture(one) for one in json.loads(serve(signatures, body))[key]]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_pictures_as_numbers_over_rest(signatures):
    rgb = photograph(9, 12)
    expected = signatures["serving_default"](image=rgb[None])["colorized"].numpy()
    answer = json.loads(serve(signatures, json.dumps({"instances": [rgb.tolist()]})))
    np.testing.assert_array_equal(answer["predictions"], expected)


def test_saved_model_cli(saved, signatures, tmp_path):
    cli = str(Path(sys.executable).with_name("saved_model_cli"))

    def run(*arguments):
        return subprocess.run(
            [cli, *arguments],
            cwd=tmp_path,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    shown = run("show", "--dir", str(saved), "--tag_set", "serve", "--all")
    for name, dtype, shape in (
        ("inputs['image']", "DT_UINT8", "(-1, -1, -1, -1)"),
        ("inputs['image_bytes']", "DT_STRING", "(-1)"),
        ("inputs['L']", "DT_FLOAT", "(-1, -1, -1, 1)"),
        ("outputs['colorized']", "DT_UINT8", "(-1, -1, -1, 3)"),
        ("outputs['colorized_bytes']", "DT_STRING", "(-1)"),
        ("outputs['ab']", "DT_FLOAT", "(-1, -1, -1, 2)"),
    ):
        assert f"{name} tensor_info:\n        dtype: {dtype}\n        shape: {shape}\n" in shown
    rgb = photograph(11, 14)[None]
    np.save(tmp_path / "pictures.npy", rgb)
    signature = ("--tag_set", "serve", "--signature_def", "serving_default")
    run("run", "--dir", str(saved), *signature, "--inputs", "image=pictures.npy", "--outdir", "OUT")
    expected = signatures["serving_default"](image=rgb)["colorized"]
    np.testing.assert_array_equal(np.load(tmp_path / "OUT" / "colorized.npy"), expected)


def test_many_threads_get_the_results_of_one(signatures):
    signature = signatures["serving_default"]
    pictures = [photograph(8 + seed, 40 - seed, seed)[None] for seed in range(24)]

    def color(rgb):
        return signature(image=tf.constant(rgb))["colorized"].numpy()

    alone = [color(rgb) for rgb in pictures]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(color, pictures))
    for one, other in zip(alone, together, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


def test_memory_stays_bounded_over_calls_of_many_sizes(saved):
    """In a process of its own, so that the peak is due to the calls alone."""
    program = """
import resource, sys
import numpy as np, tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
rng = np.random.default_rng(0)
for call in range(500):
    height, width = rng.integers(1, 200, 2)
    image = rng.integers(0, 256, (1, height, width, 3)).astype(np.uint8)
    loaded.signatures["serving_default"](image=image)
    if call in (99, 499):
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    ended = subprocess.run(
        [sys.executable, "-I", "-c", program, str(saved)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    early, late = map(int, ended.stdout.split())
    assert late - early < 50_000  # kilobytes
