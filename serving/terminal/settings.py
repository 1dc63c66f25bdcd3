"""Prints the settings with their origins, processes that use other values, and the rules of placements."""

from collections.abc import Mapping, Sequence
from typing import Any

from models.lists.rules.layer.validation import Conflict
from models.lists.rules.placement_config import Placement, sentences
from models.primitives.json_types import JsonObject
from serving.queries.operator_rules import Layer
from serving.terminal.console import line, table


def print_settings(rows: Sequence[Mapping[str, Any]], file: str | None) -> None:
    """Print all settings, the changed ones first, and the command for processes that use other values."""
    line(f"Settings file: {file}" if file else "Settings file: none. Write one with: tailorbird init", wrap=False)
    changed = [row for row in rows if row["origin"] != "default"]
    if changed:
        table("Changed", changed, {"key": "key", "value": "value", "origin": "from"})
    table("Defaults", [row for row in rows if row["origin"] == "default"], ["key", "value"])
    others = [(row, process, value) for row in rows for process, value in row["running"].items()]
    for row, process, value in others:
        line(f"The running {process} uses {row['key']} = {value} instead of {row['value'] or '(not set)'}", "yellow")
    if others:
        line("Restart what uses other values with: tailorbird up")


def as_json(file: Mapping[str, Placement], layer: Layer | None) -> JsonObject:
    """Return both layers and their conflicts, as far as they are known; rules are sentences, as in the table."""
    of_operators: JsonObject | None = None
    if layer is not None:
        version = layer.version
        of_operators = {
            "version": version.version,
            "author": version.author,
            "comment": version.comment,
            "created_at": version.created_at.isoformat() if version.version else None,
            "rules": [sentence for _, sentence in layer.rules],
        }
    conflicts = [] if layer is None else [_as_json(layer, conflict) for conflict in layer.conflicts]
    return {
        "placements": {name: list(sentences(placement)) for name, placement in file.items()},
        "operator_rules": of_operators,
        "conflicts": conflicts,
    }


def _as_json(layer: Layer, conflict: Conflict) -> JsonObject:
    place = None if conflict.rule is None else layer.version.layer.place_of(conflict.rule)
    return {"placement": conflict.placement, "detail": conflict.detail, "rule": place}


def print_rules(file: Mapping[str, Placement], layer: Layer | None) -> None:
    """Print both layers, as far as they are known."""
    if file:
        rows = [{"placement": name, "rules": "; ".join(sentences(one))} for name, one in file.items()]
        table("Placements file", rows)
    if layer is not None:
        _of_operators(layer)


def _of_operators(layer: Layer) -> None:
    current = layer.version
    if not current.version:
        line("Rules of operators: none")
        return
    line(f"Rules of operators: version {current.version} of {current.created_at:%Y-%m-%d %H:%M %Z} by {current.author}")
    for rule, sentence in layer.rules:
        line(f"  {sentence}")
        for conflict in layer.conflicts:
            if conflict.rule is rule:
                line(f"    {_stated(conflict)}", "yellow")
    for conflict in layer.conflicts:
        if conflict.rule is None:
            line(_stated(conflict), "yellow")
    if layer.unchecked:
        line(f"The pins were not compared with the champion: {layer.unchecked}", "yellow")


def _stated(conflict: Conflict) -> str:
    return f"Conflict in {conflict.placement}: {conflict.detail}"
