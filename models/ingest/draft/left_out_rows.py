"""Leave out rows without a user or item, orders that are no sale, and unknown event types."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models.ingest.draft.mapping_text import column as sql
from models.ingest.draft.mapping_text import text, toml
from models.ingest.draft.parts import Part
from models.ingest.draft.roles import Choice
from models.ingest.draft.samples import SEVERAL, Column, Sample, overlap
from models.ingest.draft.vocabulary import GUESTS, event_type_of, is_no_sale, plain
from models.ingest.placeholder_ids import ITEMS

_MOST_STATES: Final = 20
_RETURNS: Final = re.compile(
    "(^|_)(re(turn|fund|tour|so$|si$|embols|imbors)|devol|zwrot|vracen|iade|storno|terugbet|aterbet)"
)


def names_returns(*names: str) -> bool:
    """Return whether a name of a file or column is one of returns."""
    return any(_RETURNS.search(plain(name)) for name in names)


def find_returns(order: Column | None, tables: Sequence[Sample]) -> tuple[str, str] | None:
    """Return the files of the table that names returns and repeats ids of orders, and its column of orders."""
    named = [one for one in tables if names_returns(*one.files, *one.columns)]
    columns = [(", ".join(table.files), one) for table in named for one in table.columns.values()]
    return next(((files, one.name) for files, one in columns if order and overlap(one, order) >= SEVERAL), None)


def leave_out_rows(
    part: Part, user: Choice, item: Choice, kinds: Column | None, returns: tuple[str, str] | None, *, has_device: bool
) -> None:
    """Add the condition `where` of such rows, with a comment on each reason.

    A row without a user counts if it `has_device`.
    """
    conditions = []
    for name, subject, placeholders in ((user.column, "a user", GUESTS), (item.column, "an item", ITEMS)):
        if part.sample.columns[name].filled < 1 and not (has_device and name == user.column):
            conditions.append(f"{sql(name)} is not null")
            part.comments.append(f"Rows without {subject} ({name}) are left out.")
        if unknown := sorted(word for word in part.sample.columns[name].values if word in placeholders):
            conditions.append(f"not {sql(name)} in ({', '.join(map(text, unknown))})")
            part.comments.append(f"Rows where {name} is {', '.join(unknown)}, a placeholder, are left out.")
    states = None if kinds else _states(part, {user.column, item.column}, keeps_returned=bool(returns))
    if returns:
        part.comments.append(
            f"Refunded orders are kept: {returns[0]} takes them back. Read it by a mapping of its own, with"
        )
        part.comments.append(f'constants = {{ event_type = "refund" }} and refund_order = {toml(returns[1])}.')
    if states and states.sure:
        conditions.append(states.condition)
        part.comments.append(f"Orders with these states ({states.column}) are left out: {', '.join(states.closed)}.")
        part.used.add(states.column)
    conditions += _known_types(part, kinds) if kinds else []
    if conditions:
        part.add("where", " and ".join(conditions))
    if states and not states.sure:
        instead = " in place of the line above" if conditions else ""
        part.suggest("where", " and ".join([*conditions, states.condition]), f"{states.doubt}{instead}")


@dataclass(frozen=True)
class _States:
    """A column of states of orders, and those that are no sale."""

    column: str
    closed: list[str]
    doubt: str = ""
    """The uncertainty as a comment; empty if there is none."""

    @property
    def sure(self) -> bool:
        return not self.doubt

    @property
    def condition(self) -> str:
        name = sql(self.column)
        return f"({name} is null or not lower({name}) in ({', '.join(map(text, self.closed))}))"


def _states(part: Part, taken: set[str], *, keeps_returned: bool) -> _States | None:
    """Return the column of states: sure by name and words, uncertain by either; None without one."""
    by_name = part.sample.named("status")
    others = [one for one in part.sample.free(taken) if one not in by_name]
    for one in [*by_name, *(one for one in others if 1 < len(one.values) <= _MOST_STATES)]:
        if closed := sorted({word.lower() for word in one.values if is_no_sale(word, keeps_returned)}):
            doubt = (
                "" if one in by_name else f"uncertain: leave out {', '.join(closed)} ({one.name}), if that is no sale,"
            )
            return _States(one.name, closed, doubt)
    for one in by_name:
        if 1 < len(one.values) <= _MOST_STATES and not one.is_number:
            words = sorted(one.values, key=one.stated.to_pylist().count)
            doubt = f"uncertain: name the states of {one.name} that are no sale, such as cancelled,"
            return _States(one.name, [words[0].lower()], doubt)
    return None


def _known_types(part: Part, kinds: Column) -> list[str]:
    """Return the condition that leaves out unknown event types, by the shorter list."""
    unknown = sorted(word for word in kinds.values if event_type_of(word) is None)
    known = sorted(kinds.values.difference(unknown))
    if not unknown:
        return []
    part.comments.append(
        f"Left out until you decide, since no event type is known for these words of {kinds.name}: "
        f"{', '.join(map(repr, unknown))}. Add those that are events to `event_types`, and take them out of `where`."
    )
    if len(unknown) <= len(known):
        return [f"not {sql(kinds.name)} in ({', '.join(map(text, unknown))})"]
    return [f"{sql(kinds.name)} in ({', '.join(map(text, known))})"]
