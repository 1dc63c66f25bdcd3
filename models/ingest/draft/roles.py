"""Decide the kind of a table and the roles of its columns, by their names, and by comparing cells of tables."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from models.ingest.draft.names import PERSONAL, TRAITS, plain, rank
from models.ingest.draft.samples import Column, Sample, overlap
from models.ingest.placeholder_ids import PEOPLE, spellings
from models.primitives.arrow_types import ArrowColumn

Kind = Literal["events", "items", "users", "orders", "lines", "unknown"]
"""`orders` lack their products, `lines` lack their users or times: neither is a table of events by itself."""
GUESTS: Final = (
    *PEOPLE,
    *spellings(
        ("gast", "gastkunde", "laufkunde", "laufkundschaft", "barverkauf", "anonym", "invité", "invitado", "ospite")
    ),
    *spellings(("walk-in", "walkin", "cash", "unbekannt", "visitor")),
)
"""User ids that stand for no user, in some languages."""
UNIQUE: Final = 0.95
JOINS: Final = 0.3
"""The share of common ids from which two columns hold the same id."""
_FEW: Final = 0.02
_HALF: Final = 0.5
_DATE: Final = r"^(\d{1,2}[./-] ?\d{1,2}[./-] ?\d{2,4}|\d{4}[./-]\d{1,2}[./-]\d{1,2})($|\D)"
"""A column may have dates in several formats."""


@dataclass(frozen=True)
class Choice:
    """A column for a key, and the alternatives."""

    column: str
    others: tuple[str, ...] = ()
    note: str = ""
    """The reason for uncertainty; empty if there is none."""


def kind_of(sample: Sample) -> Kind:
    """Return the kind of the rows of a table."""
    user, item, time = users_of(sample), items_of(sample), times_of(sample)
    order = [one for one in sample.candidates("order") if rank(one.name, "order") == 0]
    if user and item and time and not _one_row_each(user):
        return "events"
    if item and order and item[0].distinct < UNIQUE and sample.candidates("quantity"):
        return "lines"
    if user and not item:
        headers = [one for one in order if one.distinct > UNIQUE and one.name not in {u.name for u in user}]
        if headers and (time or user[0].distinct < UNIQUE):
            return "orders"
        several = time or _is_sale(sample) or user[0].distinct < _HALF
        return "unknown" if several and not _one_row_each(user) else "users"
    described = any(sample.candidates(role) for role in ("title", "price", "category"))
    if (item or _plain_id(sample)) and described and not user:
        return "items" if _one_row_each(item or _plain_id(sample)) or not time or not _is_sale(sample) else "unknown"
    return "users" if _plain_id(sample) and not described and _is_about_people(sample) else "unknown"


def unique_ids(sample: Sample) -> list[Column]:
    """Return the columns that may be the id of a row, by their cells alone."""
    return [one for one in sample.columns.values() if one.distinct > UNIQUE and may_be_id(one)]


def users_of(sample: Sample) -> list[Column]:
    """Return the columns that may name the user of a row."""
    users = [one for one in sample.candidates("user") if may_be_id(one)] or devices_of(sample)
    return sorted(users, key=lambda one: _real_user_share(one) < JOINS)


def devices_of(sample: Sample) -> list[Column]:
    """Return the columns that may name the device of a row."""
    return [one for one in sample.candidates("device") if may_be_id(one)]


def items_of(sample: Sample) -> list[Column]:
    """Return the columns that may name the item of a row."""
    return [one for one in sample.candidates("item") if may_be_id(one) and not one.is_email]


def times_of(sample: Sample) -> list[Column]:
    """Return the columns that may hold the time of a row: those with a usual name, then others that hold only times."""
    by_name = [one for one in sample.candidates("time") if one.filled > JOINS and one.time_share > JOINS]
    others = [
        one for one in sample.columns.values() if one.filled > JOINS and (one.is_typed_time or _written_time(one))
    ]
    return [*by_name, *(one for one in others if one.name not in {n.name for n in by_name})]


def ids_of(sample: Sample, kind: Kind) -> list[Column]:
    """Return the columns that may be the id of the items or users of a table."""
    by_name = items_of(sample) if kind == "items" else users_of(sample)
    plain = [one for one in _plain_id(sample) if one.name not in {n.name for n in by_name}]
    return [*by_name, *plain]


def joined(
    some: Sequence[Column], others: Sequence[Column], further: Iterable[Column] = ()
) -> tuple[Choice, Choice] | None:
    """Return the pair of columns that share most ids, with the most usual names among equals; None if no pair does.

    `further` are other columns of the first table, with any names.
    """
    pairs = [
        (round(overlap(one, other), 1), plain(one.name) == plain(other.name), -place, -after, one, other)
        for place, one in enumerate([*some, *further])
        for after, other in enumerate(others)
    ]
    if not pairs:
        return None
    shared, *_, column, other_column = max(pairs, key=lambda pair: pair[:4])
    if shared < JOINS:  # samples of large tables share few ids
        alike = [pair for pair in pairs if pair[1] and pair[4] in some]
        if not alike:
            return None
        *_, column, other_column = max(alike, key=lambda pair: pair[:4])
    same = [one for one in some if overlap(one, other_column) >= JOINS]
    return _choice(column, same), _choice(other_column, [one for one in others if overlap(column, one) >= JOINS])


def chosen(candidates: Sequence[Column], note: str = "") -> Choice | None:
    """Return the first candidate, with the others as alternatives."""
    return _choice(candidates[0], candidates, note) if candidates else None


def is_per_order(sample: Sample, order: str, column: str) -> bool:
    """Return whether a number belongs to the whole order: equal, or stated once, on all lines of an order."""
    rows = pa.table({"order": sample.columns[order].texts, "value": sample.columns[column].texts})
    groups = rows.group_by("order").aggregate([("order", "count"), ("value", "count_distinct")])
    several = [
        different <= 1
        for lines, different in zip(
            groups["order_count"].to_pylist(), groups["value_count_distinct"].to_pylist(), strict=True
        )
        if lines > 1
    ]
    return bool(several) and sum(several) > UNIQUE * len(several)


def _choice(column: Column, candidates: Sequence[Column], note: str = "") -> Choice:
    return Choice(column.name, tuple(one.name for one in candidates if one.name != column.name)[:4], note)


def _one_row_each(ids: Iterable[Column]) -> bool:
    """Return whether one of these columns is unique: a table of users or items has one row for each."""
    return any(one.distinct > UNIQUE for one in ids)


def _is_sale(sample: Sample) -> bool:
    return any(sample.candidates(role) for role in ("quantity", "order", "total"))


def _is_about_people(sample: Sample) -> bool:
    names = [plain(name) for name in sample.columns]
    return _one_row_each(_plain_id(sample)) and any(PERSONAL.search(one) or TRAITS.search(one) for one in names)


def _plain_id(sample: Sample) -> list[Column]:
    by_name = [
        one for one in sample.columns.values() if one.name.strip().lower() in ("id", "uuid", "key", "handle", "code")
    ]
    return [one for one in by_name if one.filled > JOINS]


def may_be_id(one: Column) -> bool:
    """Return whether cells may be ids: neither times nor flags, with more than one value."""
    if one.is_typed_time or one.filled < _FEW or len(one.values) < 2:
        return False
    return not _written_time(one) and one.share(r"^-?\d+[.,]\d*[1-9]$") < _FEW


def _real_user_share(one: Column) -> float:
    """Return the share of rows with a real user id: guests of a shop often have the id 0."""
    guests = pc.sum(pc.is_in(one.stated, value_set=pa.array(GUESTS))).as_py() or 0
    return float((len(one.stated) - guests) / max(1, len(one.texts)))


def _written_time(one: Column) -> bool:
    if one.share(r"^\d+([.,]\d+)?$") >= _FEW:
        return False
    return one.is_time or (one.time_share > _HALF and one.share(_DATE) > UNIQUE)


_HELD: Final = 0.7
"""The smallest share of rows of a column with an id of the other table."""
_COVERED: Final = 0.01
_COVERED_NUMBERS: Final = 0.1
"""Quantities also occur among short item numbers, but they cover few of them."""
_LEAST_IDS: Final = 5
_LEAST_ROWS: Final = 25
"""A table of fewer ids may be one of branches, statuses or countries."""
_DEPENDENT: Final = 0.95
_LEAST_GROUPS: Final = 5
_DECIMAL: Final = r"\d[.,]\d{1,2}(\D|$)"
_FEW_FRACTIONS: Final = 0.05


@dataclass(frozen=True)
class Link:
    """A column whose values repeat, and the unique column of another table that has them."""

    column: Column
    table: Sample
    key: Column
    strength: float


def links(sample: Sample, tables: Iterable[Sample]) -> list[Link]:
    """Return at most one link to each other table, and of each column: the strongest ones."""
    ids = repeated_ids(sample)
    candidates = [
        Link(one, table, key, strength)
        for table in tables
        if table is not sample
        for key in unique_ids(table)
        if len(key.values) >= _LEAST_ROWS
        for one in ids
        if (strength := _strength(one, key))
    ]
    strongest: list[Link] = []
    for link in sorted(candidates, key=lambda one: -one.strength):
        if not any(link.table is one.table or link.column is one.column for one in strongest):
            strongest.append(link)
    return strongest


def repeated_ids(sample: Sample) -> list[Column]:
    """Return the columns that may hold ids shared by several rows, by their cells alone."""
    times = {one.name for one in times_of(sample)}
    ids = [one for one in sample.columns.values() if one.name not in times and may_be_id(one)]
    return [one for one in ids if one.distinct < UNIQUE and len(one.values) >= _LEAST_IDS and not is_decimal(one)]


def is_decimal(one: Column) -> bool:
    """Return whether a column has numbers with a fraction, such as money."""
    return one.is_number and one.share(_DECIMAL) > _FEW_FRACTIONS


def dependency_share(some: ArrowColumn, others: ArrowColumn) -> float | None:
    """Return the share of values of one column that come with one value of another; None if too few have two rows."""
    rows = pa.table({"key": some, "value": others}).filter(pc.is_valid(some))
    groups = rows.group_by("key").aggregate([("key", "count"), ("value", "count_distinct")])
    several = groups.filter(pc.greater(groups["key_count"], 1))
    if len(several) < _LEAST_GROUPS:
        return None
    return float(pc.mean(pc.less_equal(several["value_count_distinct"], 1).cast(pa.int8())).as_py())


def is_order(one: Column, times: Sequence[Column]) -> bool:
    """Return whether all rows of a value have one day: rows of an order do, rows of a user or item do not."""
    return bool(times) and (dependency_share(one.texts, times[0].days) or 0) >= _DEPENDENT


def _strength(one: Column, key: Column) -> float:
    """Return how well a column repeats the ids of another, 0 if it does not."""
    shared = len(one.values & key.values)
    covered = shared / max(1, len(key.values))
    numbers = one.share(r"^\d{1,5}$") > _HELD
    if shared < _LEAST_IDS or covered < (_COVERED_NUMBERS if numbers else _COVERED):
        return 0.0
    held = (pc.sum(pc.is_in(one.stated, value_set=pa.array(sorted(key.values)))).as_py() or 0) / len(one.stated)
    return float(held * (1 + covered)) if held >= _HELD else 0.0
