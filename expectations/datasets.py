"""Defines the expectations on a data set: on its rows, on figures of whole tables, and on groups of users.

A failed check is a sentence with its value, its limit and the figures that it is compared with.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from types import MappingProxyType
from typing import Final

import pyarrow as pa

from expectations.batches import stated
from expectations.rules import RowRule, outside
from models.columns import ITEM_ID, USER_KEY
from models.datasets.acceptance import DatasetLimits
from models.features.definitions import ITEM_FEATURES, PAIR_FEATURES, USER_FEATURES, Feature
from models.features.segments.trait_clusters import Group
from models.ingest.batch_limits import Bounds

Limited = Mapping[str, Bounds]
Figures = Mapping[str, float | None]
Tables = Mapping[str, Sequence[Feature]]
NullShares = Mapping[str, Mapping[str, float]]
"""By source, and by feature as `<table>_<feature>`: the share of empty values."""

TABLES: Final[Tables] = {
    "user_features": USER_FEATURES,
    "item_features": ITEM_FEATURES,
    "pair_features": PAIR_FEATURES,
}

INTERACTIONS: Final[Mapping[str, str]] = {
    "rows_interactions": "count(*)",
    "users": f"count(DISTINCT {USER_KEY})",
    "items": f"count(DISTINCT {ITEM_ID})",
}
"""Figures of the table of interactions, by the SQL that counts them."""

FEWEST: Final = 2
"""The fewest users and items from which a model can choose."""
USUAL: Final = DatasetLimits()
LAKE_ROWS: Final = "lake_rows"
"""The check that the lake has as many events as the ledger counts."""
_WARNING: Final = ("ratio_", "null_rise_", "group_size ", "group_ratio ")
"""Checks that compare with the last data set or between groups: growth is normal, so they only warn."""
_NEEDED: Final = ("repeated_", "keyless_", "not_finite_")
"""Errors with which no model can be trained, besides too few rows, users and items."""

_COUNTED: Final = {"rows_interactions": "purchases", "users": "users who bought", "items": "items that were bought"}
_ROUNDING: Final = 1e-9
_RANGE: Final = re.compile(r"(\d+) (?:to|or) (\d+)")
_WORDS: Final = "name"


def range_of(feature: Feature) -> Bounds | None:
    """Return the range of a feature, from its unit such as `0 to 1`, or for counts; None for names."""
    if feature.unit == _WORDS:
        return None
    stated = _RANGE.fullmatch(feature.unit)
    low, high = map(float, stated.groups()) if stated else (0.0, None)
    return low - _ROUNDING, None if high is None else high + _ROUNDING


def aggregates(table: str, features: Sequence[Feature], key: Collection[str] = ()) -> dict[str, str]:
    """Return SQL aggregates over a feature table, by figure.

    `key` are the columns that identify a row; leave it empty if counting distinct keys costs too much.
    """
    numbers = [feature.name for feature in features if range_of(feature)]
    counted = {f"rows_{table}": "count(*)"}
    if key:
        columns = [_quoted(name) for name in key]
        counted[f"repeated_{table}"] = f"count(*) - count(DISTINCT row({', '.join(columns)}))"
        counted[f"keyless_{table}"] = f"count(*) FILTER (WHERE {' OR '.join(f'{c} IS NULL' for c in columns)})"
    if numbers:
        odd = " OR ".join(f"NOT isfinite({_quoted(name)}::DOUBLE)" for name in numbers)
        counted[f"not_finite_{table}"] = f"count(*) FILTER (WHERE {odd})"
    counted |= {f"null_{table}_{f.name}": f"1 - count({_quoted(f.name)}) / count(*)" for f in features}
    for name in numbers:
        counted[f"lowest_{table}_{name}"] = f"min({_quoted(name)})"
        counted[f"highest_{table}_{name}"] = f"max({_quoted(name)})"
    return counted


def figures(
    counted: Figures,
    groups: Iterable[Group] = (),
    previous: Figures | None = None,
    lake: Figures = MappingProxyType({}),
) -> dict[str, float | None]:
    """Return the counts, their ratios to the lake and to the last data set, and the sizes of groups.

    `accounted_…` of rows, users and items is by the count of the `lake`, `ratio_…` by the last data set; for each
    group `group_size …` (the users learned from) and `group_ratio …` (its share of them by its share of all users).
    None without a value to compare. Values that are not finite are counted by a figure of their own; figures that
    depend on them are left out.
    """
    result = {name: value for name, value in counted.items() if value is None or isfinite(value)}
    for name, value in counted.items():
        if name in ("users", "items") or name.startswith("rows_"):
            result[f"ratio_{name}"] = _ratio(value, (previous or {}).get(name))
        if name in lake:
            result[f"accounted_{name}"] = _ratio(value, lake[name])
    if lake:
        result[LAKE_ROWS] = _ratio(lake.get("events"), lake.get("ledger"))
    for group, expected in _expected(groups):
        result[f"group_size {_name(group)}"] = float(group.trained)
        result[f"group_ratio {_name(group)}"] = _ratio(group.trained, expected)
    return result


def null_rises(now: NullShares, before: NullShares) -> dict[str, tuple[float, str]]:
    """Return by feature the largest rise of its share of empty values within one source, and that source.

    A source that the last data set lacks is not compared.
    """
    rises: dict[str, tuple[float, str]] = {}
    for source in sorted(set(now) & set(before)):
        for feature, share in now[source].items():
            rise = share - before[source].get(feature, share)
            rises[feature] = max(rises.get(feature, (rise, source)), (rise, source))
    return rises


def warns(check: str) -> bool:
    """Return whether a check that fails is only a warning."""
    return check.startswith(_WARNING)


def acceptable(check: str) -> bool:
    """Return whether a person may accept a data set that fails this check."""
    return check not in INTERACTIONS and not check.startswith(_NEEDED)


def bounds(tables: Tables = TABLES, groups: Iterable[Group] = (), limits: DatasetLimits = USUAL) -> dict[str, Bounds]:
    """Return the bounds of figures. A group has bounds if enough of its users are expected in the training data."""
    counted = [*INTERACTIONS, *(f"rows_{table}" for table in tables)]
    ratio = (limits.smallest_ratio, limits.largest_ratio)
    allowed: dict[str, Bounds] = {"rows_interactions": (1, None), "users": (FEWEST, None), "items": (FEWEST, None)}
    allowed |= {LAKE_ROWS: ratio} | {f"accounted_{name}": ratio for name in INTERACTIONS}
    allowed |= {f"ratio_{name}": ratio for name in counted}
    for table, features in tables.items():
        allowed |= {f"{fault}_{table}": (None, 0) for fault in ("repeated", "keyless", "not_finite")}
        for feature in features:
            allowed[f"null_rise_{table}_{feature.name}"] = (None, limits.null_rise)
            low, high = range_of(feature) or (None, None)
            allowed |= {f"lowest_{table}_{feature.name}": (low, None)} if low is not None else {}
            allowed |= {f"highest_{table}_{feature.name}": (None, high)} if high is not None else {}
    for group, expected in _expected(groups):
        if expected >= limits.group_users:
            allowed[f"group_size {_name(group)}"] = (limits.group_users * limits.smallest_ratio, None)
            allowed[f"group_ratio {_name(group)}"] = ratio
    return allowed


def rules(tables: Tables = TABLES) -> tuple[RowRule, ...]:
    """Return the row rules for the rows of `sample`: no row may have a feature outside its range."""
    ranges = [(f"{table}_{f.name}", f, range_of(f)) for table, features in tables.items() for f in features]
    made = [outside(f"{column}_outside", _fault(f), column, *limits) for column, f, limits in ranges if limits]
    return tuple(replace(rule, mostly=1.0) for rule in made)


def sample(rows: Mapping[str, pa.Table], tables: Tables = TABLES) -> pa.Table:
    """Return rows of all feature tables side by side, as `<table>_<feature>`; shorter tables are filled with nulls."""
    longest = max((rows[table].num_rows for table in tables), default=0)
    beside = {}
    for table, features in tables.items():
        for name in (f.name for f in features if range_of(f)):
            values = rows[table][name].cast(pa.float64()).combine_chunks()
            padding = pa.nulls(longest - len(values), pa.float64())
            beside[f"{table}_{name}"] = pa.chunked_array([values, padding])
    return pa.table(beside)


def _expected(groups: Iterable[Group]) -> Iterable[tuple[Group, float]]:
    """Return each group, and its number of training users if that were proportional to its share of all users."""
    listed = list(groups)
    users: dict[str, int] = {}
    trained: dict[str, int] = {}
    for group in listed:
        users[group.trait] = users.get(group.trait, 0) + group.users
        trained[group.trait] = trained.get(group.trait, 0) + group.trained
    return [(g, g.users * trained[g.trait] / max(1, users[g.trait])) for g in listed]


def _name(group: Group) -> str:
    """Return the name of a group without special characters, because pages show it and traits hold any text."""
    value = "unknown" if group.value is None else group.value
    return re.sub(r"[^\w .,+:-]", "_", group.trait)[:60] + "=" + re.sub(r"[^\w .,+:-]", "_", value)[:60]


def _fault(feature: Feature) -> str:
    return f"{feature.meaning}: {f'not {feature.unit}' if _RANGE.fullmatch(feature.unit) else 'below zero'}"


def _ratio(value: float | None, before: float | None) -> float | None:
    return None if value is None or not before else value / before


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


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
    return f"{check} is {value:.4g}; {stated(bounds)} is allowed{f'. {about}' if about else ''}"


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
