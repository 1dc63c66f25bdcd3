"""Decide the kind of a table and the roles of its columns, by their names, and by comparing cells of tables."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from models.ingest.draft.samples import SEVERAL, UNIQUE, Column, Sample, overlap
from models.ingest.draft.vocabulary import GUESTS, PERSONAL, TRAITS, event_type_of, is_unnamed, plain, rank
from models.primitives.arrow_types import ArrowColumn

Kind = Literal["events", "items", "users", "orders", "lines", "unknown"]
"""`orders` lack their products, `lines` lack their users or times: neither is a table of events by itself."""
_HALF: Final = 0.5
_SALES: Final = frozenset(["purchase", "refund"])
_MOST_TYPES: Final = 60
_FEW_WORDS: Final = 12
_NO_WORD: Final = re.compile(r"\d|^.?$|.{41}|[\n,;!?]|^(true|false|yes|no)$", re.IGNORECASE)
"""A number, a sign, a sentence or an answer."""
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


@dataclass(frozen=True)
class Choice:
    """A column for a key, and the alternatives."""

    column: str
    others: tuple[str, ...] = ()
    note: str = ""
    """The reason for uncertainty; empty if there is none."""


def kind_of(sample: Sample) -> Kind:
    """Return the kind of the rows of a table."""
    user, item, time = users_of(sample), sample.likely("item"), times_of(sample)
    order = [one for one in sample.named("order") if rank(one.name, "order") == 0]
    if user and item and time and not _one_row_each(user):
        return "events"
    if item and order and item[0].distinct < UNIQUE and sample.named("quantity"):
        return "lines"
    if user and not item:
        headers = [one for one in order if one.distinct > UNIQUE and one.name not in {u.name for u in user}]
        if headers and (time or user[0].distinct < UNIQUE):
            return "orders"
        several = time or _is_sale(sample) or user[0].distinct < _HALF
        return "unknown" if several and not _one_row_each(user) else "users"
    described = any(sample.named(role) for role in ("title", "price", "category"))
    if (item or _plain_id(sample)) and described and not user:
        return "items" if _one_row_each(item or _plain_id(sample)) or not time or not _is_sale(sample) else "unknown"
    return "users" if _plain_id(sample) and not described and _is_about_people(sample) else "unknown"


def unique_ids(sample: Sample) -> list[Column]:
    """Return the columns that may be the id of a row, by their cells alone."""
    return [one for one in sample.columns.values() if one.distinct > UNIQUE and one.may_be_id]


def users_of(sample: Sample) -> list[Column]:
    """Return the columns that may name the user of a row, or else its device."""
    users = sample.likely("user") or sample.likely("device")
    return sorted(users, key=lambda one: (rank(one.name, "device") is not None, _real_user_share(one) < SEVERAL))


def times_of(sample: Sample) -> list[Column]:
    """Return the columns that may hold the time of a row: those with a usual name, then others that hold only times."""
    by_name = sample.likely("time")
    others = [one for one in sample.columns.values() if one.filled > SEVERAL and one not in by_name]
    return [*by_name, *(one for one in others if one.is_typed_time or one.is_written_time)]


def event_words(sample: Sample, taken: Collection[str]) -> Column | None:
    """Return the column of event types: by its name and a known word, else by the words in most of its cells."""
    free = [one for one in sample.free(taken) if not one.is_number]
    for one in sample.named("event_type"):
        if one in free and len(one.values) <= _MOST_TYPES and any(map(event_type_of, one.values)):
            return one
    return next((one for one in free if is_unnamed(one.name) and _few_words(one) and _holds_event_words(one)), None)


def possible_event_words(sample: Sample, taken: Collection[str], *, sale: bool) -> Column | None:
    """Return the column that may hold event types in unknown words.

    A table that is a `sale` by other columns has many columns of few words, so only a name counts.
    """
    free = [one for one in sample.free(taken) if _few_words(one)]
    by_name = [one for one in sample.named("event_type") if one in free]
    return next(iter(by_name), None) or (None if sale else next((one for one in free if is_unnamed(one.name)), None))


def _few_words(one: Column) -> bool:
    return 1 < len(one.values) <= _FEW_WORDS and not any(map(_NO_WORD.search, one.values))


def _holds_event_words(one: Column) -> bool:
    """Return whether most cells are known event words, and not only words of sales, which order states have."""
    known = {word: kind for word in one.values if (kind := event_type_of(word))}
    if set(known.values()) <= _SALES:
        return False
    return sum(cell in known for cell in one.stated.to_pylist()) > _HALF * len(one.stated)


def ids_of(sample: Sample, kind: Kind) -> list[Column]:
    """Return the columns that may be the id of the items or users of a table."""
    by_name = sample.likely("item") if kind == "items" else users_of(sample)
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
    if shared < SEVERAL:  # samples of large tables share few ids
        alike = [pair for pair in pairs if pair[1] and pair[4] in some]
        if not alike:
            return None
        *_, column, other_column = max(alike, key=lambda pair: pair[:4])
    same = [one for one in some if overlap(one, other_column) >= SEVERAL]
    return _choice(column, same), _choice(other_column, [one for one in others if overlap(column, one) >= SEVERAL])


def chosen(candidates: Sequence[Column], note: str = "") -> Choice | None:
    """Return the first candidate, with the others as alternatives."""
    return _choice(candidates[0], candidates, note) if candidates else None


def is_per_order(sample: Sample, order: str, column: str) -> bool:
    """Return whether a number belongs to the whole order: equal, or stated once, on all lines of an order."""
    share = dependency_share(sample.columns[order].texts, sample.columns[column].texts, fewest=1)
    return (share or 0) > UNIQUE


def _choice(column: Column, candidates: Sequence[Column], note: str = "") -> Choice:
    return Choice(column.name, tuple(one.name for one in candidates if one.name != column.name)[:4], note)


def _one_row_each(ids: Iterable[Column]) -> bool:
    """Return whether one of these columns is unique: a table of users or items has one row for each."""
    return any(one.distinct > UNIQUE for one in ids)


def _is_sale(sample: Sample) -> bool:
    return any(sample.named(role) for role in ("quantity", "order", "total"))


def _is_about_people(sample: Sample) -> bool:
    names = [plain(name) for name in sample.columns]
    return _one_row_each(_plain_id(sample)) and any(PERSONAL.search(one) or TRAITS.search(one) for one in names)


def _plain_id(sample: Sample) -> list[Column]:
    by_name = [
        one for one in sample.columns.values() if one.name.strip().lower() in ("id", "uuid", "key", "handle", "code")
    ]
    return [one for one in by_name if one.filled > SEVERAL]


def _real_user_share(one: Column) -> float:
    """Return the share of rows with a real user id: guests of a shop often have the id 0."""
    guests = pc.sum(pc.is_in(one.stated, value_set=pa.array(GUESTS))).as_py() or 0
    return float((len(one.stated) - guests) / max(1, len(one.texts)))


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
    ids = [one for one in sample.columns.values() if one.name not in times and one.may_be_id]
    return [one for one in ids if one.distinct < UNIQUE and len(one.values) >= _LEAST_IDS and not one.is_decimal]


def dependency_share(some: ArrowColumn, others: ArrowColumn, fewest: int = _LEAST_GROUPS) -> float | None:
    """Return the share of values of one column that come with one value of another.

    Only values with several rows count; None if there are less than `fewest` of them.
    """
    rows = pa.table({"key": some, "value": others}).filter(pc.is_valid(some))
    groups = rows.group_by("key").aggregate([("key", "count"), ("value", "count_distinct")])
    several = groups.filter(pc.greater(groups["key_count"], 1))
    if len(several) < fewest:
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
