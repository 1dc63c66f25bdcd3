"""Write a first mapping for some tables, with uncertain guesses as comments."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from models.errors import TailorbirdError
from models.ingest.draft.events_part import events_part
from models.ingest.draft.items_and_users_parts import items_part, users_part
from models.ingest.draft.mapping_text import toml
from models.ingest.draft.parts import Part, open_part
from models.ingest.draft.roles import (
    Choice,
    Kind,
    Link,
    chosen,
    dependency_share,
    ids_of,
    is_order,
    joined,
    kind_of,
    links,
    repeated_ids,
    times_of,
    unique_ids,
    users_of,
)
from models.ingest.draft.samples import SEVERAL, UNIQUE, Column, Sample, overlap
from models.ingest.draft.vocabulary import PERSONAL, plain

_SURE: Final = 2
_HINT: Final = 1
_DEPENDENT: Final = 0.9
_OPEN: Final = 0.7
_FEWEST_USERS: Final = 10
_ORDERS_OF_A_USER: Final = 20
_GROUPS: Final = 12
"""Up to this many different words group rows; more may be ids."""


@dataclass(frozen=True)
class Events:
    """The table of events, with the columns that may name users and items, the most likely first."""

    sample: Sample
    users: Sequence[Column]
    items: Sequence[Column]
    joins: Mapping[Kind, Link] = field(default_factory=dict)
    """The tables of items and users, if the cells show them."""
    unjoined: str = ""
    """The column of `users` or `items` that only its cells suggest."""


def find_events(tables: Sequence[Sample]) -> Events | None:
    """Return the largest table of events by its names, or else the one that joins others; None if none is sure."""
    by_name = [one for one in tables if kind_of(one) == "events"]
    if by_name:
        sample = max(by_name, key=lambda one: len(one.rows))
        return Events(sample, users_of(sample), sample.likely("item"))
    apart = split_orders(tables)
    whole = [one for one in tables if times_of(one) and not any(one is other for other, _ in apart)]
    for sample in sorted(whole, key=lambda one: -len(one.rows)):
        if events := _by_joins(sample, links(sample, tables)):
            return events
    return None


def split_orders(tables: Sequence[Sample]) -> list[tuple[Sample, Kind]]:
    """Return tables of order lines and of orders that are useless without each other."""
    pairs: list[tuple[Sample, Kind]] = []
    for lines in tables:
        finest = max(links(lines, tables), key=lambda one: len(one.column.values), default=None)
        if finest is None or not times_of(finest.table):
            continue
        needs_user = kind_of(finest.table) == "orders" and not users_of(lines)
        if needs_user or (_is_order_head(finest) and _lacks_time(lines, finest)):
            pairs += [(lines, "lines"), (finest.table, "orders")]
    return pairs


def kind_by_ids(sample: Sample, events: Events | None) -> Kind:
    """Return the kind of a table: by its names, else by the ids of the events that it has one row for."""
    kind = kind_of(sample)
    if events is None:
        return kind
    if sample is events.sample:
        return "events"
    for name, link in events.joins.items():
        if link.table is sample:
            return name
    repeated = repeated_ids(sample) if kind == "unknown" and times_of(sample) else []
    if any(overlap(own, one) >= SEVERAL for own in repeated for one in events.items):
        return "events"
    if kind not in ("items", "users", "unknown") or users_of(sample) or sample.likely("item"):
        return kind
    ids_of_events: dict[Kind, Sequence[Column]] = {"items": events.items, "users": events.users}
    own = unique_ids(sample)
    kinds = [one for one, ids in ids_of_events.items() if any(overlap(m, n) >= SEVERAL for m in ids for n in own)]
    return kinds[0] if len(kinds) == 1 else kind


def likely_kind(sample: Sample) -> Kind:
    """Return the most likely kind of an undecided table, as a proposal for a person."""
    keys, ids = unique_ids(sample), repeated_ids(sample)
    if any(one.is_email for one in keys):
        return "users"
    if times_of(sample) and ids and len(keys) <= 1:
        return "events"
    personal = sum(bool(PERSONAL.search(plain(name))) for name in sample.columns)
    return "users" if personal > _HINT and not any(one.is_decimal for one in sample.columns.values()) else "items"


def _is_order_head(link: Link) -> bool:
    """Return whether the other table has orders: one id, no e-mail, and another column that many rows repeat."""
    table = link.table
    others = [one for one in repeated_ids(table) if len(one.values) > _GROUPS]
    unique = [one for one in unique_ids(table) if not one.is_decimal]
    return bool(others) and len(unique) == 1 and kind_of(table) not in ("items", "users")


def _lacks_time(lines: Sample, link: Link) -> bool:
    """Return whether rows have no time of their own, or that of their order."""
    times, heads = times_of(lines), times_of(link.table)
    if not times:
        return True
    day_of = dict(zip(link.key.texts.to_pylist(), heads[0].days.to_pylist(), strict=True))
    pairs = zip(link.column.texts.to_pylist(), times[0].days.to_pylist(), strict=True)
    known = [day_of[key] == day for key, day in pairs if key in day_of]
    return bool(known) and sum(known) > _OPEN * len(known)


def _by_joins(sample: Sample, joins: Sequence[Link]) -> Events | None:
    """Return the events of a table that repeats ids of other tables; None if users and items are unclear."""
    votes = [(_vote(sample, link) + _owner_vote(sample, link, joins), link) for link in joins]
    if len(votes) > 1:
        (low, user), (high, item) = min(votes, key=lambda one: one[0]), max(votes, key=lambda one: one[0])
        return None if low == high else Events(sample, [user.column], [item.column], {"users": user, "items": item})
    for vote, link in votes:
        by_name = [one for one in (users_of(sample) if vote > 0 else sample.likely("item")) if one is not link.column]
        other = (by_name or _other_ids(sample, link.column))[:1]
        unjoined = "" if by_name else "".join(one.name for one in other)
        if vote > 0 and other:
            return Events(sample, other, [link.column], {"items": link}, unjoined)
        if vote < 0 and other:
            return Events(sample, [link.column], other, {"users": link}, unjoined)
    return None


def _vote(sample: Sample, link: Link) -> int:
    """Return a vote for items (above 0) or users (below 0), by column names, then by cells of the other table."""
    columns = link.table.columns.values()
    names = {"items": _SURE, "users": -_SURE}.get(kind_of(link.table), 0)
    user, item = users_of(sample), sample.likely("item")
    names += 2 * _SURE * ((link.column in item) - (link.column in user))
    names += _SURE * (bool(user) and link.column not in user) - _SURE * (bool(item) and link.column not in item)
    cells = -_SURE * any(one.is_email for one in columns)
    cells += _HINT * any(one.is_decimal for one in columns)
    return names + cells + _HINT * any(one.share("^https?://") > _OPEN for one in columns)


def _owner_vote(sample: Sample, link: Link, joins: Sequence[Link]) -> int:
    """Return the vote of the orders of a table: an order has one user and often several items."""
    times, others = times_of(sample), [one for one in joins if one is not link]
    groups = [one for one in repeated_ids(sample) if all(one is not of.column for of in joins)]
    orders = [one for one in groups if is_order(one, times)]
    for order in [*orders, *(times if others else [])]:
        own_share = dependency_share(order.texts, link.column.texts)
        other_shares = [
            share for other in others if (share := dependency_share(order.texts, other.column.texts)) is not None
        ]
        if own_share is None or len(other_shares) < len(others):
            continue
        if own_share >= _DEPENDENT and all(share < _OPEN for share in other_shares):
            return -_SURE
        if own_share < _OPEN and (not other_shares or max(other_shares) >= _DEPENDENT):
            return _SURE
    return 0


def _other_ids(sample: Sample, known: Column) -> list[Column]:
    """Return the column with the other id of a row: the finest that is neither an order nor determined by it."""
    ids = [one for one in repeated_ids(sample) if one is not known and not one.share(r"^-?\d{1,2}$") > _OPEN]
    ids = [one for one in ids if (dependency_share(known.texts, one.texts) or 0) < _DEPENDENT]
    ids.sort(key=lambda one: (-len(one.values), one.is_email))
    orders = [one for one in ids if is_order(one, times_of(sample))]
    others = [one for one in ids if one not in orders and len(one.values) >= _FEWEST_USERS]
    if orders and others and _ORDERS_OF_A_USER * len(others[0].values) < len(orders[0].values):
        return []
    return others[:1]


_ADVICE: Final = {
    "orders": "has orders without their products. Join it with the table of order lines into one file first",
    "lines": "has order lines without a user or a time. Join it with the table of orders into one file first",
    "unknown": "has no events, items or users, judging by its columns and cells",
    "events": "is another table of events. Write a mapping of its own for it",
    "items": "is another table of items. Write a mapping of its own for it",
    "users": "is another table of users. Write a mapping of its own for it",
}
_NO_TIMES: Final = "has no column of times, which events need. Add the time of each row, or its day"
_NUMBER: Final = r"[-+]?\d+([.,]\d+)?"
_TO_JOIN: Final = (
    "may have the events, but nothing shows which columns name users and items. Complete its part, or begin again with "
    "the files of items and users beside it"
)
_TO_COMPLETE: Final = {
    "events": ("user_id", "item_id", "occurred_at", "event_type", "quantity", "value"),
    "items": ("item_id", "title"),
    "users": ("user_id", "attributes"),
}
"""Keys of a part that could not be guessed."""


@dataclass(frozen=True)
class Draft:
    """The text of a mapping, and the tables that it does not read."""

    text: str
    parts: tuple[str, ...]
    unused: tuple[str, ...]
    """A sentence for each table that it does not read."""


def draft(
    name: str, samples: Sequence[Sample], location: str | None = None, consent: str = "opt-in", note: str = ""
) -> Draft:
    """Return a mapping that reads these tables. Raises TailorbirdError if it could read none of them."""
    # Programs write columns without a name for row numbers.
    tables = [replace(one, rows=one.rows.select([name for name in one.columns if name.strip()])) for one in samples]
    events = find_events(tables)
    apart = [] if events else split_orders(tables)
    kinds = [
        (next((kind for one, kind in apart if one is sample), kind_by_ids(sample, events)), sample) for sample in tables
    ]
    by_kind: dict[Kind, Sample] = {}
    for kind, sample in kinds:
        if kind not in by_kind or len(sample.rows) > len(by_kind[kind].rows):
            by_kind[kind] = sample
    by_kind |= {kind: link.table for kind, link in events.joins.items()} if events else {}
    parts = _parts(by_kind, events, tables)
    read = {file for part in parts for file in part.sample.files}
    names = [part.name for part in parts]
    undecided = [one for kind, one in kinds if kind == "unknown"]
    reasons = {one.files: reason for one in undecided if (reason := _lacking(one))}
    open_tables = [one for one in undecided if len(one.columns) > 1 and one.files not in reasons]
    proposed = [(free, one) for one in open_tables if (free := _free_name(one, names))]
    skeletons = [_skeleton(free, one) for free, one in proposed]
    reasons |= {one.files: _TO_JOIN for free, one in proposed if free == "events"}
    unused = [
        f"{', '.join(one.files)} {reasons.get(one.files, _ADVICE[kind])}."
        for kind, one in kinds
        if not read.intersection(one.files)
    ]
    if not parts and not skeletons:
        raise TailorbirdError(
            f"No mapping can be guessed: {' '.join(unused)} Or write a mapping by hand: docs/mapping.md has all keys."
        )
    limits = {key: value for part in parts for key, value in part.limits.items()}
    head = [
        "# A first mapping, guessed from the columns and cells of the files. Look at every comment, then run a check.",
        *(f"# {one}" for one in unused),
        f"name = {toml(name)}",
        *([f"location = {toml(location)}"] if location else []),
        *_consent(parts, consent, note),
        *(f"limits.{key} = {value:_.0f}" for key, value in limits.items()),
    ]
    text = "\n\n".join(["\n".join(head), *(part.text().rstrip() for part in parts), *skeletons]) + "\n"
    return Draft(text, tuple(names), tuple(unused))


def _lacking(sample: Sample) -> str:
    """Return the advice for an undecided table without names or times; empty if a person can complete a part for it."""
    if any(re.fullmatch(_NUMBER, name.strip()) for name in sample.columns):
        return "seems to begin with a row in place of names of columns. Write a line of names above it"
    return _NO_TIMES if users_of(sample) and sample.likely("item") and not times_of(sample) else ""


def _parts(by_kind: dict[Kind, Sample], events: Events | None, tables: Sequence[Sample]) -> list[Part]:
    """Return the parts for the table of each kind; items and users without a table come from the events."""
    item = chosen(events.items, _doubt(events, events.items)) if events else None
    user = chosen(events.users, _doubt(events, events.users)) if events else None
    parts: list[Part | None] = []
    if sold := by_kind.get("items"):
        item, own = _pair(events, sold, "items", item) if events else (None, _own_id(sold, "items", tables))
        parts.append(items_part(sold, own) if own else None)
    if people := by_kind.get("users"):
        user, own = _pair(events, people, "users", user) if events else (None, _own_id(people, "users", tables))
        parts.append(users_part(people, own) if own else None)
    if events and item and user:
        sample, buyer = events.sample, events.sample.columns[user.column]
        if not sold and any(sample.named(role) for role in ("title", "category")):
            parts.append(items_part(sample, Choice(item.column), buyer))
        if not people:
            parts.append(users_part(sample, Choice(user.column), own_table=False))
        if buyer.is_email:
            user = replace(user, note="uncertain: an address changes; a number of the customer is better")
        times = [one for one in times_of(sample) if one.name not in (item.column, user.column)]
        parts.append(events_part(sample, user, item, times, [one for one in tables if one is not sample]))
    return [part for part in parts if part]


def _own_id(sample: Sample, kind: Kind, tables: Sequence[Sample]) -> Choice | None:
    """Return the id of a table without events: one that other tables repeat, else a number before an address."""
    by_name = sorted(ids_of(sample, kind), key=lambda one: one.is_email)
    repeated = [link.key for one in tables for link in links(one, [sample])]
    numbers = [one for one in unique_ids(sample) if one.share(r"^\S*\d\S*$") > UNIQUE and not one.is_email]
    only_addresses = bool(by_name) and by_name[0].is_email
    return chosen([*repeated, *(numbers if only_addresses else []), *by_name])


def _pair(events: Events, other: Sample, kind: Kind, column: Choice | None) -> tuple[Choice | None, Choice | None]:
    """Return the columns that join events with a table; in doubt if few ids are in both."""
    by_name = ids_of(other, kind)
    if link := events.joins.get(kind):
        return Choice(link.column.name), Choice(link.key.name)
    ids = events.items if kind == "items" else events.users
    possible = [one for one in events.sample.columns.values() if len(one.values) > 1 and not one.is_time]
    if pair := joined(ids, by_name, possible) or joined(ids, unique_ids(other)):
        return pair
    own, doubt = chosen(by_name), "uncertain: few of its values are in the other table"
    return (replace(column, note=doubt), replace(own, note=doubt)) if own and column else (column, own)


def _doubt(events: Events, ids: Sequence[Column]) -> str:
    unjoined = ids and ids[0].name == events.unjoined
    return "uncertain: guessed from its cells; no other file has these ids" if unjoined else ""


def _free_name(sample: Sample, taken: Sequence[str]) -> str | None:
    """Return the most likely kind of a table among those that no table has yet."""
    likely = likely_kind(sample)
    return next((name for name in (likely, "items", "users") if name not in taken), None)


def _skeleton(name: str, sample: Sample) -> str:
    """Return a part that is commented out, for a person to complete."""
    part = open_part(name, sample)
    for key in _TO_COMPLETE[name]:
        part.add(key, ["…"] if key == "attributes" else "…")
    if name == "events" and (times := times_of(sample)):
        part.lines = [line for line in part.lines if line.key != "occurred_at"]
        part.first("occurred_at", times)
    lines = [
        f"If {', '.join(sample.files)} has the {name}, complete this part; docs/mapping.md has all keys.",
        *part.text().replace("# Not used: ", "Columns: ").splitlines(),
    ]
    return "\n".join(f"# {line}" for line in lines)


def _consent(parts: Sequence[Part], consent: str, note: str) -> list[str]:
    """Return the lines on consent; without a column of it, the decision for a person."""
    lines = [f"consent = {toml(consent)}", *([f"consent_note = {toml(note)}"] if note else [])]
    if consent != "opt-in" or any(line.key == "consent" for part in parts for line in part.lines):
        return lines
    return [
        "# No column states consent. With opt-in no event is accepted until users have agreed. If you may use all",
        '# data, write consent = "given" and consent_note = "how it was given", or pass --consent and its note.',
        *lines,
    ]
