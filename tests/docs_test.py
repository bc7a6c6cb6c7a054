# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The documents: their examples run, their tables of flags and their links are right.

python tests/docs_test.py    # writes the tables of flags anew
"""

import dataclasses
import importlib
import re
import types
import typing
from pathlib import Path

import numpy as np
import pytest
from helpers import rooms
from helpers.photos import export_painter
from PIL import Image

import koalagan
from koalagan import cli, options
from koalagan.inference.colorizer import Colorizer
from koalagan.models import GENERATORS

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "BUILD.md", *DOCS]
FLAG_TABLES = re.compile(r"(<!-- flags of (\w+): .*? -->\n)(.*?)(<!-- end of flags -->)", re.DOTALL)
CODE_BLOCKS = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
# Flags of other programs, of absl, and of scripts under experiments/.
OTHER_FLAGS = {
    *("flagfile", "help", "helpfull", "logdir", "kills", "files", "name", "noname"),
    *("check", "dir", "tag_set", "signature_def", "inputs", "outdir", "pdb", "nodes", "ntasks"),
    *("model_config_file", "model_config_file_poll_wait_seconds", "enable_batching"),
    *("batching_parameters_file", "allow_version_labels_for_unavailable_models"),
    *("runner", "direct_running_mode", "direct_num_workers"),
}


def name(path):
    return path.relative_to(ROOT).as_posix()


def python_blocks(path):
    return re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE)


def flag_tables(command):
    """The flags of a command as Markdown, one table for each group."""
    module = importlib.import_module(f"koalagan.{command}")
    return "\n".join(_table(group) for group in options.groups(module.COMMAND.options))


def _table(group):
    hints = typing.get_type_hints(group)
    rows = [
        f"| `--{field.name}` | {_values(field, hints[field.name])} | {_default(field)} "
        f"| {_escaped(field.metadata['help'])} |"
        for field in dataclasses.fields(group)
    ]
    head = ["| flag | values | default | meaning |", "| --- | --- | --- | --- |"]
    return "\n".join([f"**{options.title(group)}**", "", *head, *rows, ""])


def _values(field, hint):
    """What a flag accepts, in words."""
    facts = field.metadata
    if facts["choices"]:
        return ", ".join(f"`{choice}`" for choice in facts["choices"])
    if isinstance(hint, types.UnionType):
        hint = typing.get_args(hint)[0]
    hint = typing.get_origin(hint) or hint
    kind = {
        bool: "true, false",
        int: "integer",
        float: "number",
        str: "text",
        tuple: "text, may be repeated",
    }[hint]
    if facts["maximum"] is not None:
        return f"{kind} from {facts['minimum']:g} to {facts['maximum']:.10g}"
    if facts["minimum"] is not None:
        return f"{kind}, at least {facts['minimum']:g}"
    return kind


def _default(field):
    if field.metadata["required"]:
        return "required"
    if field.default in (None, ""):
        return "-"
    if isinstance(field.default, tuple):
        return ", ".join(f"`{value}`" for value in field.default)
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def _escaped(text):
    return text.replace("|", "\\|").replace("*", "\\*")


def write_flag_tables():
    for path in DOCS:
        text = path.read_text()
        path.write_text(
            FLAG_TABLES.sub(lambda found: f"{found[1]}\n{flag_tables(found[2])}\n{found[4]}", text)
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with what the examples use: a run with an exported model, and photographs."""
    folder = tmp_path_factory.mktemp("examples")
    for path in (folder / "runs" / "quickstart" / "export", folder / "exported"):
        export_painter(path, 16, offset=(0.1, 0.2))
    (folder / "photos").mkdir()
    random = np.random.default_rng(0)
    for number in range(3):
        picture = Image.fromarray(random.integers(0, 256, (24, 32, 3), np.uint8))
        picture.save(folder / "photos" / f"{number}.jpg")
    picture.save(folder / "photo.jpg")
    return folder


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "docs" / "python.md"], ids=name)
def test_examples_run(path, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    blocks = python_blocks(path)
    assert blocks
    variables = {}  # later examples use what earlier ones have made
    for block in blocks:
        exec(compile(block, name(path), "exec"), variables)
    assert np.asarray(Image.open("colored.png")).shape == (24, 32, 3)


def test_python_page_names_the_public_api():
    text = (ROOT / "docs" / "python.md").read_text()
    methods = [f"Colorizer.{method}" for method in dir(Colorizer) if not method.startswith("_")]
    attributes = ["Colorizer.path", "Colorizer.facts"]
    signatures = ["serving_default", "colorize_bytes", "predict_ab"]
    functions = [f"koalagan.{public}" for public in koalagan.__all__]
    for public in [*functions, *methods, *attributes, *signatures, *GENERATORS]:
        assert f"`{public}" in text, public


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_flag_tables_are_those_of_the_command(command):
    tables = [
        found[3].strip()
        for path in DOCS
        for found in FLAG_TABLES.finditer(path.read_text())
        if found[2] == command
    ]
    # When a flag has changed: python tests/docs_test.py
    assert tables == [flag_tables(command).strip()]


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_flags_exist(path):
    modules = [*(f"koalagan.{command}" for command in cli.COMMANDS), "benchmark"]
    known = {
        field.name
        for module in modules
        for group in options.groups(importlib.import_module(module).COMMAND.options)
        for field in dataclasses.fields(group)
    }
    known |= {f"no{flag}" for flag in known} | OTHER_FLAGS
    used = set(re.findall(r"(?<![\w-])--([a-z]\w+)", path.read_text()))
    assert not used - known


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_and_paths_exist(path):
    text = path.read_text()
    for link in re.findall(r"\]\(([^)\s]+)\)", CODE_BLOCKS.sub("", text)):
        target, _, anchor = link.partition("#")
        if not target.startswith("http"):
            file = path.parent / target if target else path
            assert file.is_file(), link
            headings = re.findall(r"^#+ (.*)$", file.read_text() if anchor else "", re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings]
            assert not anchor or anchor in anchors, link
    for file in re.findall(r"\b(?:koalagan|experiments|tests|docs)/[\w/]+\.\w+", text):
        assert (ROOT / file).is_file() or "NAME" in file, file


def test_rooms_import_in_the_order_that_the_architecture_page_states():
    page = (ROOT / "docs" / "architecture.md").read_text()
    (order,) = re.findall(r"^```\n(commands, run\n.*?)^```$", page, re.DOTALL | re.MULTILINE)
    rows = {room: row for row, line in enumerate(order.splitlines()) for room in line.split()}
    shared = {room for room, row in rows.items() if row == max(rows.values())} | {"koalagan"}
    for room, imported in rooms.rooms().items():
        if room in rows:  # the others are commands and what runs them
            wrong = {other for other in imported - shared if rows.get(other, 0) <= rows[room]}
            assert not wrong, f"{room} imports {wrong}"


def test_readme_is_short_and_holds_one_test_command():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) < 150
    test_command = re.compile(r"^python3 -m venv \.venv && .*'\.\[test\]'.* -m pytest$")
    assert sum(bool(test_command.match(line)) for line in lines) == 1


if __name__ == "__main__":
    write_flag_tables()
