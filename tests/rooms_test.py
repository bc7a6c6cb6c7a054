# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The order of the package's rooms: imports go downwards only."""

import pytest
from helpers import rooms

COMMANDS = {"__main__", "train", "evaluate", "export", "colorize", "colorize_beam", "demo"}
SHARED = {
    "cli",
    "options",
    "files",
    "precision",
    "compilation",
    "distribution",
    "progress",
    "errors",
    "koalagan",
}
# From top to bottom; a room may import those of the levels below its own.
LEVELS = (
    COMMANDS,
    {"run"},
    {"training", "exporting", "photos"},
    {"inference", "evaluation"},
    {"data", "models"},
    {"color"},
    SHARED,
)
# And these of its own level.
BESIDE = {
    "exporting": {"training"},
    "inference": {"evaluation"},
    "data": {"models"},
    **dict.fromkeys(SHARED, SHARED),
}


@pytest.fixture(scope="module")
def graph():
    return rooms.rooms()


def test_every_room_has_a_level(graph):
    assert set(graph) == set().union(*LEVELS)


def test_imports_go_downwards(graph):
    for level, names in enumerate(LEVELS):
        below = set().union(*LEVELS[level + 1 :])
        for name in names:
            wrong = graph[name] - below - BESIDE.get(name, set())
            assert not wrong, f"{name} must not import {wrong}:\n{rooms.table(graph)}"


def test_only_commands_know_the_command_line(graph):
    users = {name for name, imported in graph.items() if "cli" in imported}
    assert users <= COMMANDS, rooms.table(graph)


def test_no_cycles(graph):
    assert not rooms.cycle(graph), rooms.table(graph)
    assert not rooms.cycle(rooms.imports())
    assert rooms.cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
