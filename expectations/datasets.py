"""What a data set promises: of its rows, of the figures counted over whole tables, and of who is in it."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from types import MappingProxyType
from typing import Final

import pyarrow as pa

from expectations.rules import RowRule, outside
from models.columns import ITEM_ID, USER_KEY
from models.datasets.limits import DatasetLimits
from models.features.definitions import ITEM_FEATURES, PAIR_FEATURES, USER_FEATURES, Feature
from models.features.segments.trait_groups import Group

Bounds = tuple[float | None, float | None]
"""Lowest and highest; None leaves a side open."""
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
"""Users and items: with less there is nothing to choose from."""
USUAL: Final = DatasetLimits()
LAKE_ROWS: Final = "lake_rows"
"""The check of the events in the lake by those that the ledger counts."""
_WARNING: Final = ("ratio_", "null_rise_", "group_size ", "group_ratio ")
"""Checks that compare with the last data set or among groups: growth is normal, so that they only warn."""
_NEEDED: Final = ("repeated_", "keyless_", "not_finite_")
"""Faults with which nothing can be learned, besides too few rows, users and items."""

_ROUNDING: Final = 1e-9
_RANGE: Final = re.compile(r"(\d+) (?:to|or) (\d+)")
_WORDS: Final = "name"


def range_of(feature: Feature) -> Bounds | None:
    """Between which numbers a feature lies: its unit says `0 to 1`, or it counts something; None for words."""
    if feature.unit == _WORDS:
        return None
    found = _RANGE.fullmatch(feature.unit)
    low, high = map(float, found.groups()) if found else (0.0, None)
    return low - _ROUNDING, None if high is None else high + _ROUNDING


def aggregates(table: str, features: Sequence[Feature], key: Collection[str] = ()) -> dict[str, str]:
    """SQL aggregates over a feature table, by the figure that each one is.

    `key` are the columns of which no two rows may hold the same; leave it empty where counting that costs too much.
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
    """Return what was counted, how it compares with the lake and with the last data set, and who is in the data.

    `accounted_…` of rows, users and items is by the count of the `lake`, `ratio_…` by the last data set; for each
    group `group_size …` (the users learned from) and `group_ratio …` (its share of them by its share of all users).
    None if there is nothing to compare. That some values are no finite numbers is a figure of its own; others that
    come of them are left out.
    """
    found = {name: value for name, value in counted.items() if value is None or isfinite(value)}
    for name, value in counted.items():
        if name in ("users", "items") or name.startswith("rows_"):
            found[f"ratio_{name}"] = _ratio(value, (previous or {}).get(name))
        if name in lake:
            found[f"accounted_{name}"] = _ratio(value, lake[name])
    if lake:
        found[LAKE_ROWS] = _ratio(lake.get("events"), lake.get("ledger"))
    for group, expected in _expected(groups):
        found[f"group_size {_name(group)}"] = float(group.trained)
        found[f"group_ratio {_name(group)}"] = _ratio(group.trained, expected)
    return found


def null_rises(now: NullShares, before: NullShares) -> dict[str, tuple[float, str]]:
    """Return by feature the largest rise of its share of empty values within one source, and that source.

    A source that the last data set did not have is compared with nothing.
    """
    found: dict[str, tuple[float, str]] = {}
    for source in sorted(set(now) & set(before)):
        for feature, share in now[source].items():
            rise = share - before[source].get(feature, share)
            found[feature] = max(found.get(feature, (rise, source)), (rise, source))
    return found


def warns(check: str) -> bool:
    """Return whether a check that fails is only a warning."""
    return check.startswith(_WARNING)


def acceptable(check: str) -> bool:
    """Return whether a person may take a data set that fails this check."""
    return check not in INTERACTIONS and not check.startswith(_NEEDED)


def bounds(tables: Tables = TABLES, groups: Iterable[Group] = (), limits: DatasetLimits = USUAL) -> dict[str, Bounds]:
    """Return the bounds of figures. A group has some if enough of it is to be expected in the training data."""
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
    """The row rules of what `sample` makes: not a single row may have a feature outside its range."""
    ranges = [(f"{table}_{f.name}", f, range_of(f)) for table, features in tables.items() for f in features]
    made = [outside(f"{column}_outside", _fault(f), column, *limits) for column, f, limits in ranges if limits]
    return tuple(replace(rule, mostly=1.0) for rule in made)


def sample(rows: Mapping[str, pa.Table], tables: Tables = TABLES) -> pa.Table:
    """Rows of each of the feature tables side by side, `<table>_<feature>`; nulls below the shorter ones."""
    longest = max((rows[table].num_rows for table in tables), default=0)
    beside = {}
    for table, features in tables.items():
        for name in (f.name for f in features if range_of(f)):
            values = rows[table][name].cast(pa.float64()).combine_chunks()
            padding = pa.nulls(longest - len(values), pa.float64())
            beside[f"{table}_{name}"] = pa.chunked_array([values, padding])
    return pa.table(beside)


def _expected(groups: Iterable[Group]) -> Iterable[tuple[Group, float]]:
    """Each group, and how many of it would be learned from if its share of them were its share of all users."""
    listed = list(groups)
    everybody: dict[str, int] = {}
    trained: dict[str, int] = {}
    for group in listed:
        everybody[group.trait] = everybody.get(group.trait, 0) + group.users
        trained[group.trait] = trained.get(group.trait, 0) + group.trained
    return [(g, g.users * trained[g.trait] / max(1, everybody[g.trait])) for g in listed]


def _name(group: Group) -> str:
    """Traits hold what users and shops have written, and the name of a figure ends up in a page."""
    value = "unknown" if group.value is None else group.value
    return re.sub(r"[^\w .,+:-]", "_", group.trait)[:60] + "=" + re.sub(r"[^\w .,+:-]", "_", value)[:60]


def _fault(feature: Feature) -> str:
    return f"{feature.meaning}: {f'not {feature.unit}' if _RANGE.fullmatch(feature.unit) else 'below zero'}"


def _ratio(value: float | None, before: float | None) -> float | None:
    return None if value is None or not before else value / before


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
