"""Write a first mapping for some tables, with uncertain guesses as comments."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from models.errors import TailorbirdError
from models.ingest.draft.events_part import events_part
from models.ingest.draft.items_and_users_parts import items_part, users_part
from models.ingest.draft.mapping_text import toml
from models.ingest.draft.parts import Part, open_part
from models.ingest.draft.roles import Choice, Kind, chosen, ids_of, joined, links, times_of, unique_ids, users_of
from models.ingest.draft.samples import UNIQUE, Column, Sample
from models.ingest.draft.table_kinds import Events, find_events, kind_by_ids, likely_kind, split_orders

_ADVICE: Final = {
    "orders": "has orders without their products. Join it with the table of order lines into one file first",
    "lines": "has order lines without a user or a time. Join it with the table of orders into one file first",
    "unknown": "has no events, items or users, judging by its columns and cells",
    "events": "is another table of events. Write a mapping of its own for it",
    "items": "is another table of items. Write a mapping of its own for it",
    "users": "is another table of users. Write a mapping of its own for it",
}
_NO_NAMES: Final = "seems to begin with a row in place of names of columns. Write a line of names above it"
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
        return _NO_NAMES
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
