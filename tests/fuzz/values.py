"""Values for the arguments of commands, by what the command line knows about each: type, bounds, choices."""

import math
from collections.abc import Iterator
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from hypothesis import strategies as st

from flows.__main__ import app

WORDS = [
    *("", " ", "\t", "\n", "-", "--", "-1", "0", "1", "nan", "None", "true", "🦜", "\u202e", "\x1b[31m", "[red]"),
    *("%s", "{x}", "'; DROP TABLE users; --", "\\", "a" * 5000, "x" * 300, "\udce9", "caf\u00e9", "\ufeff", "\x7f"),
    *("/", "/dev/null", "/proc/self/mem", "..", "~", "~nobody/x", "*", "**", "[", "**/*.csv", "package:nowhere/x"),
    *("package:", "file:///x", "ftp://h/x", "://", "http://", "x.toml", "/x.toml", "home", "segment", "[/L]"),
    *("1970-01-01", "2999-12-31", "2017-02-30", "0001-01-01", "9999-12-31", "2017-06-01", "yesterday", "2017-W01-1"),
    *("* * * * *", "UTC", "Mars/Olympus", "given", "opt-in", "als", "70/15/15", "1/2", "nan/1/1", "1e308/1/1"),
]
NUMBERS = [
    *("0", "-0", "1", "-1", "nan", "-nan", "inf", "-inf", "1e308", "1e309", "-1e308", "1e-320", "0x10", "1_000", "1.5"),
    *(str(2**31), str(2**63), str(-(2**63)), str(2**64), "9" * 5000, " 7 ", "٣", "½", "", "seven", "1e400", "1,5"),
]
USUAL = {"source": ["shop.toml", "segment"], "model": ["als", "own_frequency"], "zone": ["UTC"]}
"""Values drawn most of the time for parameters that refuse nearly all others, by the parameter's name."""
TEXT = st.sampled_from(WORDS) | st.text(st.characters(exclude_characters="\0"), max_size=12)


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command of the command line with its name."""
    yield from _below(typer.main.get_command(app), ())


def arguments(command: Any, without: frozenset[str], known: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    """Draw the arguments of a command; `known` are values that exist in this shop."""
    given = [_written(parameter, known) for parameter in command.params if parameter.name not in without]
    stray = st.just([]) | st.just([]) | st.lists(TEXT, max_size=2)
    return st.tuples(*given, stray).map(lambda parts: [word for part in parts for word in part])


def _below(command: Any, name: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for word, inner in getattr(command, "commands", {}).items():
        yield from _below(inner, (*name, word))
    if not hasattr(command, "commands"):
        yield name, command


def _written(parameter: Any, known: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    """Draw a parameter as it is written, or nothing; required parameters are nearly always given."""
    optional: st.SearchStrategy[list[str]] = st.just([])
    if getattr(parameter, "is_flag", False):
        flags = st.sampled_from([[flag] for flag in (*parameter.opts, *parameter.secondary_opts)])
        return flags | flags | optional if parameter.required else flags | optional
    values = value(parameter, known)
    if parameter.param_type_name == "argument":
        many = st.lists(values, max_size=3) if parameter.nargs == -1 else st.lists(values, min_size=1, max_size=1)
        return many if parameter.required else many | optional
    option = st.tuples(st.sampled_from(parameter.opts), values).map(list)
    return option if parameter.required else optional | option


def value(parameter: Any, known: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Draw values of a parameter's type, at and beyond its bounds, and some of other types."""
    kind = parameter.type_descriptor.annotation
    if get_origin(kind) is list:
        [kind] = get_args(kind)
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind)) | TEXT
    if kind in (int, float):
        bounds = [str(kind(bound) + step) for bound in (parameter.min, parameter.max) for step in (-1, 0, 1)]
        inside = st.integers if kind is int else st.floats
        fitting = inside(kind(math.ceil(parameter.min)), kind(parameter.max)).map(str)
        return st.sampled_from([*bounds, *NUMBERS]) | fitting | fitting
    if kind is date:
        return st.dates().map(str) | TEXT
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from([word.value for word in kind]) | TEXT
    assert kind in (str, Path), f"{parameter.name} is a {kind}, for which tests.fuzz.values has no values: add some"
    usual = st.sampled_from(USUAL.get(parameter.name, [])) if parameter.name in USUAL else TEXT
    return usual | usual | known | TEXT
