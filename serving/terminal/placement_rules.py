"""Prints the rules of placements: those of the file, those of operators, and the conflicts of both."""

from collections.abc import Mapping

from models.lists.rules.placement_config import Placement
from models.lists.rules.rule_words import sentences
from serving.queries.operator_rules import Layer
from serving.terminal.console import line, table


def of_file(placements: Mapping[str, Placement]) -> None:
    """Print the rules of the placements file."""
    rows = [{"placement": name, "rules": "; ".join(sentences(placement))} for name, placement in placements.items()]
    table("Placements file", rows, {"placement": "placement", "rules": "rules"})


def of_operators(layer: Layer) -> None:
    """Print the rules of operators, and their conflicts with the file."""
    current = layer.version
    if not current.version:
        line("Rules of operators: none")
        return
    line(f"Rules of operators: version {current.version} of {current.created_at:%Y-%m-%d %H:%M %Z} by {current.author}")
    for rule in layer.rules:
        line(f"  {rule}")
    for conflict in layer.conflicts:
        line(f"Conflict in {conflict.placement}: {conflict.detail}", "yellow")
