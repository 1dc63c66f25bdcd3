"""Find the table of events with its users and items: by column names, else by how the tables join."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from models.ingest.draft.roles import (
    Kind,
    Link,
    dependency_share,
    is_order,
    kind_of,
    links,
    repeated_ids,
    times_of,
    unique_ids,
    users_of,
)
from models.ingest.draft.samples import SEVERAL, Column, Sample, overlap
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
