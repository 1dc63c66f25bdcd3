"""Group users by traits: rare values are pooled, and paths such as country|city are cut to few groups.

A trait with too many values for a group check is neither dropped silently nor split into groups of one user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Self

import numpy as np

from models.columns import CATEGORY_SEPARATOR, USER_KEY
from models.features.encoding.traits import as_numbers, is_number
from models.primitives.arrow_types import ArrowColumn, pa, pc
from models.primitives.vocabulary import as_text

MOST_VALUES: Final = 32
"""The largest number of groups of one trait."""
FEWEST_USERS: Final = 5
"""If values are pooled, a value with fewer users is pooled."""
OTHER: Final = "other values"
"""The group of the pooled values."""

_FEW: Final = 10
"""Text of this many different numbers, or fewer, may be codes."""
_SEPARATORS: Final = (CATEGORY_SEPARATOR, ">", "/")
_PATHS: Final = 0.5
"""Values are paths if at least this share of them holds a separator."""

Treatment = Literal["kept", "numbers", "cut", "pooled", "dropped"]


@dataclass(frozen=True)
class TraitGroups:
    """The grouping of the values of one trait: learned once, and the same for later users."""

    trait: str
    treatment: Treatment
    values: int
    """Number of different values."""
    kept: tuple[str, ...] = ()
    """Values (or beginnings of paths) that stay groups if others are pooled."""
    separator: str = ""
    levels: int = 0
    """Levels of a path that stay; 0 leaves the value unchanged."""
    pooled_users: int = 0

    @classmethod
    def fit(cls, trait: str, column: ArrowColumn) -> Self:
        """Learn from an Arrow column of text or numbers, one row per user.

        Text of more than ten different values is a number if every value can be read as one, such as ages.
        """
        text = as_text(column)
        values = int(pc.count_distinct(text).as_py())
        if values <= 1:
            return cls(trait, "dropped", values)
        if is_number(column.type) or (values > _FEW and as_numbers(column).null_count == column.null_count):
            return cls(trait, "numbers", values)
        if values <= MOST_VALUES:
            return cls(trait, "kept", values)
        return cls._pooled(trait, text, values)

    @classmethod
    def _pooled(cls, trait: str, text: pa.Array, values: int) -> Self:
        separator = _separator(text)
        levels = _deepest(text, separator) if separator else 0
        groups = _cut(text, separator, levels)
        counted = sorted(
            ((str(row["values"]), int(row["counts"])) for row in groups.drop_null().value_counts().to_pylist()),
            key=lambda pair: (-pair[1], pair[0]),
        )
        if levels and len(counted) <= MOST_VALUES:
            return cls(trait, "cut", values, (), separator, levels)
        frequent = tuple(value for value, users in counted[: MOST_VALUES - 1] if users >= FEWEST_USERS)
        pooled = sum(users for value, users in counted if value not in frequent)
        return cls(trait, "pooled" if frequent else "dropped", values, frequent, separator, levels, pooled)

    def apply(self, column: ArrowColumn) -> ArrowColumn:
        """Return the column as float64 for a trait of numbers, else as the text of the groups; nulls stay null."""
        if self.treatment == "numbers":
            return as_numbers(column)
        groups = _cut(as_text(column), self.separator, self.levels)
        if self.treatment != "pooled":
            return groups
        frequent = pc.is_in(groups, value_set=pa.array(self.kept, pa.large_string()))
        return pc.if_else(pc.or_(frequent, pc.is_null(groups)), groups, OTHER)

    def sentence(self) -> str:
        """Return a sentence about a trait that is changed; empty for an unchanged trait."""
        dropped = f"none of its {self.values:,} values is shared by {FEWEST_USERS} users."
        if self.values <= 1:
            dropped = f"it has {'one value' if self.values else 'no value'} for all users."
        rest = f"the {len(self.kept)} most frequent are groups, the other {self.pooled_users:,} users are in {OTHER!r}."
        sentences = {
            "dropped": f"{self.trait} is left out: {dropped}",
            "cut": f"{self.trait} is cut to its first {self.levels} levels: it has {self.values:,} different paths.",
            "pooled": f"{self.trait} has {self.values:,} values: {rest}",
        }
        return sentences.get(self.treatment, "")

    def as_dict(self) -> dict[str, object]:
        """Return the values as JSON can hold them."""
        return asdict(self) | {"kept": list(self.kept)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild the groups from their values."""
        return cls(**{**values, "kept": tuple(values["kept"])})


def fit(users: pa.Table) -> dict[str, TraitGroups]:
    """Learn the groups of every trait of `users` (one row per user: `user_key`, and traits as text or numbers)."""
    names = sorted(set(users.column_names) - {USER_KEY})
    return {name: TraitGroups.fit(name, users[name]) for name in names}


def grouped(users: pa.Table, groups: Mapping[str, TraitGroups]) -> pa.Table:
    """Return the traits that are not dropped, as `TraitGroups.apply` makes them; nulls for one the table lacks."""
    absent = pa.nulls(users.num_rows, pa.large_string())
    rules = {name: rule for name, rule in groups.items() if rule.treatment != "dropped"}
    columns = {name: rule.apply(users[name] if name in users.column_names else absent) for name, rule in rules.items()}
    return pa.table(columns) if columns else users.select([])


def sentences(groups: Mapping[str, TraitGroups]) -> list[str]:
    """Return a sentence for each trait that was dropped, pooled or cut."""
    return [sentence for rule in groups.values() if (sentence := rule.sentence())]


def _separator(text: pa.Array) -> str:
    """Return the separator of the levels if most values are paths, else an empty text."""
    values = text.unique().drop_null()
    shares = {mark: float(np.mean(np.asarray(pc.match_substring(values, mark)))) for mark in _SEPARATORS}
    best = max(shares, key=lambda mark: shares[mark])
    return best if shares[best] >= _PATHS else ""


def _deepest(text: pa.Array, separator: str) -> int:
    """Return the largest number of levels with few enough groups, at least one."""
    values, levels = text.unique().drop_null(), 1
    while pc.count_distinct(_cut(values, separator, levels + 1)).as_py() <= MOST_VALUES:
        levels += 1
    return levels


def _cut(text: pa.Array, separator: str, levels: int) -> pa.Array:
    if not levels:
        return text
    parts = pc.list_slice(pc.split_pattern(text, separator), 0, levels)
    return pc.binary_join(parts, pa.scalar(separator, pa.large_string()))
