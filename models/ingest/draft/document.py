"""Writes a first mapping for some tables, with what is uncertain as comments."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from models.errors import TailorbirdError
from models.ingest.draft import catalogue, events
from models.ingest.draft.parts import Part, open_part
from models.ingest.draft.roles import (
    Choice,
    Kind,
    chosen,
    ids_of,
    items_of,
    joined,
    kind_by_ids,
    kind_of,
    times_of,
    unique_ids,
    users_of,
)
from models.ingest.draft.samples import Column, Sample
from models.ingest.mapping_text import toml

_ADVICE: Final = {
    "orders": "has orders without their products. Join it with the table of order lines into one file first",
    "lines": "has order lines without a user or a time. Join it with the table of orders into one file first",
    "unknown": "is none of events, items and users, as far as its columns say",
    "events": "is another table of events. Write a mapping of its own for it",
    "items": "is another table of items. Write a mapping of its own for it",
    "users": "is another table of users. Write a mapping of its own for it",
}


@dataclass(frozen=True)
class Draft:
    """The text of a mapping, and which tables it does not read."""

    text: str
    parts: tuple[str, ...]
    unused: tuple[str, ...]
    """A sentence for each table that it does not read."""


def draft(
    name: str, samples: Sequence[Sample], location: str | None = None, consent: str = "opt-in", note: str = ""
) -> Draft:
    """Return a mapping that reads these tables. Raises TailorbirdError if there is nothing that it could read."""
    tables = list(map(_named, samples))
    happened = max((one for one in tables if kind_of(one) == "events"), key=lambda one: len(one.rows), default=None)
    kinds = [(kind_by_ids(one, happened), one) for one in tables]
    of: dict[Kind, Sample] = {}
    for kind, sample in kinds:
        if kind not in of or len(sample.rows) > len(of[kind].rows):
            of[kind] = sample
    parts = _parts(of)
    read = {file for part in parts for file in part.sample.files}
    unused = [
        f"{', '.join(sample.files)} {_ADVICE[kind]}." for kind, sample in kinds if not read.intersection(sample.files)
    ]
    if not parts:
        raise TailorbirdError(
            f"No mapping can be guessed: {' '.join(unused)} Write one by hand: docs/mapping.md has all keys."
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
    names = [part.name for part in parts]
    free = [name for name in ("items", "users") if name not in names]
    open_tables = [sample for kind, sample in kinds if kind == "unknown"]
    skeletons = [_skeleton(name, sample) for name, sample in zip(free, open_tables, strict=False)]
    text = "\n\n".join(["\n".join(head), *(part.text().rstrip() for part in parts), *skeletons]) + "\n"
    return Draft(text, tuple(names), tuple(unused))


def _parts(of: dict[Kind, Sample]) -> list[Part]:
    """Return the parts for the table of each kind; items and users without a table come from the events."""
    happened, sold, people = (of.get(kind) for kind in ("events", "items", "users"))
    item = chosen(items_of(happened)) if happened else None
    user = chosen(users_of(happened)) if happened else None
    parts: list[Part] = []
    if sold:
        pair = _joined(happened, items_of(happened), sold, "items") if happened else None
        item, own = pair or (item, chosen(ids_of(sold, "items")))
        if happened and not pair and item and own:
            item, own = _doubted(item), _doubted(own)
        parts += [catalogue.items_part(sold, own)] if own else []
    if people:
        pair = _joined(happened, users_of(happened), people, "users") if happened else None
        user, own = pair or (user, chosen(ids_of(people, "users")))
        if happened and not pair and user and own:
            user, own = _doubted(user), _doubted(own)
        found = catalogue.users_part(people, own) if own else None
        parts += [found] if found else []
    if happened and item and user:
        if not sold and any(happened.candidates(role) for role in ("title", "category")):
            parts.append(catalogue.items_part(happened, Choice(item.column), own_table=False))
        found = None if people else catalogue.users_part(happened, Choice(user.column), own_table=False)
        parts += [found] if found else []
        user = _without_address(happened, user)
        times = [one for one in times_of(happened) if one.name not in (item.column, user.column)]
        parts.append(events.events_part(happened, user, item, times))
    return parts


def _skeleton(name: str, sample: Sample) -> str:
    """Return a part that is commented out, for a person to complete."""
    part = open_part(name, sample)
    part.add("item_id" if name == "items" else "user_id", "…")
    part.add("title" if name == "items" else "attributes", "…" if name == "items" else ["…"])
    lines = [
        f"If {', '.join(sample.files)} has the {name}, complete this part; docs/mapping.md has all keys.",
        *part.text().replace("# Not used: ", "Columns: ").splitlines(),
    ]
    return "\n".join(f"# {line}" for line in lines)


def _named(sample: Sample) -> Sample:
    """Return the sample without columns that have no name, as programs write for the numbers of rows."""
    return replace(sample, rows=sample.rows.select([name for name in sample.rows.column_names if name.strip()]))


def _joined(happened: Sample, ids: Sequence[Column], other: Sample, kind: Kind) -> tuple[Choice, Choice] | None:
    """Return the columns that join events with another table: named like ids, else whatever holds the same ids."""
    return joined(ids, ids_of(other, kind), _rest(happened)) or joined(ids, unique_ids(other))


def _rest(sample: Sample) -> list[Column]:
    """Return the columns that may be ids, whatever they are called."""
    return [one for one in sample.columns.values() if len(one.values) > 1 and not one.is_time]


def _doubted(choice: Choice) -> Choice:
    return Choice(choice.column, choice.others, "uncertain: few of its values are in the other table")


def _without_address(sample: Sample, user: Choice) -> Choice:
    if not sample.columns[user.column].is_email:
        return user
    return Choice(user.column, user.others, "uncertain: an address changes; a number of the customer is better")


def _consent(parts: Sequence[Part], consent: str, note: str) -> list[str]:
    """Return the lines on consent; without a column of it, what a person has to decide."""
    lines = [f"consent = {toml(consent)}", *([f"consent_note = {toml(note)}"] if note else [])]
    if consent != "opt-in" or any(line.key == "consent" for part in parts for line in part.lines):
        return lines
    return [
        "# No column states consent. With opt-in no event comes in until users have agreed. If you may use the data of",
        '# all users, write consent = "given" and consent_note = "how it was given", or pass --consent and its note.',
        *lines,
    ]
