"""Finds the columns that identify an event."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models.ingest.draft.mapping_text import column as sql
from models.ingest.draft.names import plain
from models.ingest.draft.parts import Part
from models.ingest.draft.roles import kind_of, unique_ids
from models.ingest.draft.samples import Column, Sample

_REPEATED: Final = 0.9
"""A column called event_id identifies events even if an export repeats some rows."""
_UNIQUE: Final = 0.999
_MANY_ALIKE: Final = 0.05


def add_event_id(part: Part, order: Column | None, identity: Sequence[str], quantity: Column | None) -> None:
    """Add the event id: the shortest combination of columns that differs in every row.

    Without one, an event is identified by these `identity` columns and its order. A price never identifies a row,
    because it may be corrected later or be unreadable. A quantity does only if many rows are equal otherwise.
    """
    sample, item = part.sample, identity[1]
    taken = {*part.used, item, *([order.name] if order else [])}
    lines = [one for one in sample.candidates("event_id") if one.name not in taken]
    if order is None and kind_of(sample) != "events":
        lines += [one for one in unique_ids(sample) if one.name not in taken]
    single = [[one.name] for one in lines]
    positions = [one for role in ("line", "variant") for one in sample.candidates(role) if one.name not in taken]
    pairs = [[order.name, one.name] for one in positions] if order else []
    pairs += [[order.name, item], *([order.name, item, one.name] for one in positions)] if order else []
    for names in [*single, *pairs]:
        least = _REPEATED if plain(names[0]) == "event_id" else _UNIQUE
        if _different(sample, names, item, least):
            part.used.update(names)
            part.add("event_id", names[0] if len(names) == 1 else names)
            return
    alike = _contradictory(sample, [*identity, *([order.name] if order else [])])
    if order and quantity and alike > _MANY_ALIKE:
        value: list[str | dict[str, str]] = [order.name, item, {"expr": f"coalesce({sql(quantity.name)}, 'none')"}]
        part.add(
            "event_id", value, f"uncertain: no column numbers the lines, and {alike:.0%} repeat an item of an order"
        )
        return
    part.comments.append("Without an event_id, rows alike in user, item, type, time and session are one event.")
    if alike:
        part.comments.append(
            f"{max(alike, 0.001):.1%} of the rows are alike in these and differ in others: they wait in quarantine as "
            "id_conflict."
        )
        part.comments.append("A column that numbers the lines of an order would tell them apart: name it in event_id.")


def _contradictory(sample: Sample, identity: Sequence[str]) -> float:
    """Return the share of rows that equal another row in the `identity` columns, but not in all columns."""
    keys = _joined(sample, list(sample.columns))
    apart = pc.count_distinct(_joined(sample, identity)).as_py()
    return float((pc.count_distinct(keys).as_py() - apart) / max(1, len(keys)))


def _joined(sample: Sample, names: Sequence[str]) -> pa.Array:
    texts = [pc.fill_null(sample.columns[name].texts, "") for name in names]
    return pc.binary_join_element_wise(*texts, "\x1f")


def _different(sample: Sample, names: Sequence[str], item: str, least: float) -> bool:
    """Return whether these columns are filled and tell rows with an item apart, at `least` this share of them."""
    there = pc.is_valid(sample.columns[item].texts)
    texts = [sample.columns[name].texts.filter(there) for name in names]
    keys = pc.binary_join_element_wise(*texts, "\x1f")
    return len(keys) > 0 and pc.count_distinct(keys, mode="only_valid").as_py() >= least * len(keys)
