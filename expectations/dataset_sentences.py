"""Composes sentences on how a data set differs from its expectations."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from expectations.datasets import LAKE_ROWS, Bounds, Figures

_COUNTED: Final = {"rows_interactions": "purchases", "users": "users who bought", "items": "items that were bought"}


@dataclass(frozen=True)
class Comparison:
    """The figures of a data set, and the figures that they are compared with."""

    figures: Figures
    previous: Figures = field(default_factory=dict)
    """Those of the last data set; empty before the first."""
    lake: Figures = field(default_factory=dict)
    """The current counts of the lake."""
    previous_lake: Figures = field(default_factory=dict)
    """Its counts when the last data set was built."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """By feature, `<table>_<feature>`: the source with the largest rise of empty values."""


def sentence(check: str, value: float | None, bounds: Bounds, compared: Comparison) -> str:
    """Return the name of a check with its value, its limit and an explanation."""
    if value is None:
        return f"{check} could not be evaluated"
    about = _about(check, compared)
    return f"{check} is {value:.4g}; {_allowed(bounds)}{f'. {about}' if about else ''}"


def _allowed(bounds: Bounds) -> str:
    low, high = bounds
    if low is not None and high is not None:
        return f"{low:g} to {high:g} is allowed"
    return f"at least {low:g} is allowed" if low is not None else f"at most {high:g} is allowed"


def _about(check: str, compared: Comparison) -> str:
    """Explain checks whose names are not self-explanatory."""
    kind, _, name = check.partition("_")
    if check == LAKE_ROWS:
        events, ledger = (compared.lake.get(part) or 0 for part in ("events", "ledger"))
        return f"The lake holds {events:,.0f} of the {ledger:,.0f} events that the ledger counts as accepted"
    if kind == "accounted":
        now, lake = compared.figures.get(name) or 0, compared.lake.get(name) or 0
        return f"The data set has {now:,.0f} of the {lake:,.0f} {_COUNTED[name]} in the lake"
    if kind == "ratio":
        return _growth(name, compared)
    if check.startswith("null_rise_"):
        source = compared.sources.get(check.removeprefix("null_rise_"))
        return f"This is the rise of the share of empty values in source {source!r}" if source else ""
    if check.startswith("group_ratio "):
        return "The group's share of the training users, divided by its share of all users"
    return "Training users of the group" if check.startswith("group_size ") else ""


def _growth(name: str, compared: Comparison) -> str:
    """Return the current and the previous count, and the growth of the lake."""
    now, before = compared.figures.get(name) or 0, compared.previous.get(name) or 0
    growth = f"{now:,.0f} after {before:,.0f} in the last data set"
    figure = name if name in _COUNTED else None
    gained = [lake.get(figure or "") for lake in (compared.lake, compared.previous_lake)]
    if figure and gained[0] is not None and gained[1] is not None:
        growth += f"; the lake gained {gained[0] - gained[1]:+,.0f} {_COUNTED[name]}"
    return growth
