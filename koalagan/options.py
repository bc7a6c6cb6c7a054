# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Options: frozen dataclasses whose fields are command-line flags.

A field made by `option` is the one place that states a flag's name, type, default, limits and help.
A command reads its flags once into such an object (`from_flags`) and passes the object on; nothing
below a command sees absl's `FlagValues`.

    @dataclasses.dataclass(frozen=True)
    class Saving:
        "When a run saves itself."
        keep_checkpoints: int = option(2, "How many checkpoints to keep.", minimum=1)

A field whose type is another such class is a group: its flags are defined too, under the first line
of its docstring.
"""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from absl import flags

from koalagan import files
from koalagan.errors import UserError

_Options = TypeVar("_Options")

# Names the model that comes with koalagan (`koalagan.inference.pretrained`), wherever a model's
# folder is expected; a folder of that name is ./koala.
PRETRAINED = "koala"


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] | None = None,
    required: bool = False,
    url: bool = False,
) -> Any:
    """A dataclass field that is a command-line flag of the same name.

    The field's type is bool, int, float or str, each possibly `| None`, or `tuple[str, ...]` for a
    flag that may be repeated.

    Args:
        default: the value where the flag is not given.
        help: what `--help` says.
        minimum, maximum: the limits of a number.
        choices: the values that a string may have.
        required: `require` refuses flags without it.
        url: whether a string may be a URL, such as gs://bucket/folder.
    """
    limits = {"minimum": minimum, "maximum": maximum, "choices": choices}
    facts = {"help": help, "required": required, "url": url}
    return dataclasses.field(default=default, metadata={**facts, **limits})


def groups(options: type) -> Iterator[type]:
    """The dataclasses that hold the flags of `options`: itself, or those of its fields."""
    hints = typing.get_type_hints(options)
    nested = [hints[field.name] for field in dataclasses.fields(options)]
    if all(map(dataclasses.is_dataclass, nested)):
        for group in nested:
            yield from groups(group)
    else:
        yield options


def title(group: type) -> str:
    """The heading of a group of flags: the first line of its docstring."""
    return (group.__doc__ or group.__name__).strip().splitlines()[0].rstrip(".")


def define_flags(options: type, flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of `options` on `flag_values`, with their group's title as module name."""
    for group in groups(options):
        hints = typing.get_type_hints(group)
        for field in dataclasses.fields(group):
            _define(field, hints[field.name], title(group), flag_values)


def _define(field: dataclasses.Field, hint: Any, module: str, values: flags.FlagValues) -> None:
    facts = field.metadata
    common = {
        "name": field.name,
        "default": field.default,
        "help": facts["help"],
        "flag_values": values,
        "module_name": module,
    }
    limits = {"lower_bound": facts["minimum"], "upper_bound": facts["maximum"]}
    kind = _kind(hint)
    if facts["choices"]:
        flags.DEFINE_enum(enum_values=list(facts["choices"]), **common)
    elif kind is bool:
        flags.DEFINE_boolean(**common)
    elif kind is int:
        flags.DEFINE_integer(**common, **limits)
    elif kind is float:
        flags.DEFINE_float(**common, **limits)
    elif kind is str:
        flags.DEFINE_string(**common)
    elif kind is tuple:
        flags.DEFINE_multi_string(**common)
    else:
        raise TypeError(f"The option {field.name} has the unsupported type {hint}.")


def _kind(hint: Any) -> Any:
    """The type of a field without its `| None`; tuple for `tuple[str, ...]`."""
    if isinstance(hint, types.UnionType):
        (hint,) = (kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    return typing.get_origin(hint) or hint


def expand_flagfiles(arguments: Sequence[str], within: tuple[str, ...] = ()) -> list[str]:
    """Replaces each `--flagfile=FILE` by the flags in the file, one a line.

    absl would do so too, but takes the byte order mark that some editors write for a part of the
    first flag.

    Args:
        arguments: of a command line.
        within: flagfiles that are being read, which a file must not name again.

    Raises:
        UserError: a flagfile names itself, or no file is named.
        OSError, ValueError: a file cannot be read, or is not text.
    """
    expanded: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return [*expanded, argument, *rest]
        name, named, path = argument.partition("=")
        if name not in ("--flagfile", "-flagfile"):
            expanded.append(argument)
            continue
        path = os.path.expanduser(path.strip("\"'") if named else next(rest, ""))
        if not path:
            raise UserError("--flagfile needs the name of a file.")
        if path in within:
            raise UserError(f"The flagfile {path} names itself.")
        lines = [line.strip() for line in Path(path).read_text("utf-8-sig").splitlines()]
        flags_of_file = [line for line in lines if line and not line.startswith(("#", "//"))]
        expanded += expand_flagfiles(flags_of_file, (*within, path))
    return expanded


def from_flags(options: type[_Options], flag_values: flags.FlagValues) -> _Options:
    """Reads an object of the dataclass `options` from parsed flags.

    Raises:
        UserError: a URL is given where koalagan needs a file or folder of this machine.
    """
    hints = typing.get_type_hints(options)
    values = {}
    for field in dataclasses.fields(options):
        if dataclasses.is_dataclass(hints[field.name]):
            values[field.name] = from_flags(hints[field.name], flag_values)
        else:
            value = flag_values[field.name].value
            values[field.name] = tuple(value) if isinstance(value, list) else value
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, str) and not field.metadata["url"]:
                    refuse_url(one, f"--{field.name}={one}")
    return options(**values)


def refuse_url(path: str, what: str) -> None:
    """Raises UserError where a path is a URL, which Python would take for a relative path."""
    if files.is_url(path):
        raise UserError(
            f"{what} is a URL: koalagan needs files of this machine here, so copy or mount them."
        )


def require(options: type, flag_values: flags.FlagValues) -> None:
    """Checks that all required flags were given.

    Raises:
        UserError: one was not.
    """
    for group in groups(options):
        for field in dataclasses.fields(group):
            if field.metadata["required"] and not flag_values[field.name].value:
                raise UserError(f"--{field.name} is missing: {field.metadata['help']}")


def values(options: Any) -> dict[str, Any]:
    """The values of all flags of an options object by name, those of its groups included."""
    found = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        found |= values(value) if dataclasses.is_dataclass(value) else {field.name: value}
    return found


def replace(options: _Options, **changes: Any) -> _Options:
    """A copy with other values, by the names of flags, also of those in groups."""
    own = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            names = {inner for inner in values(value) if inner in changes}
            if names:
                own[field.name] = replace(value, **{name: changes.pop(name) for name in names})
        elif field.name in changes:
            own[field.name] = changes.pop(field.name)
    if changes:
        raise TypeError(f"{type(options).__name__} has no option {', '.join(changes)}.")
    return dataclasses.replace(options, **own)
