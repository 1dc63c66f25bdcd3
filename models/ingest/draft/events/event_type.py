"""Finds the types of events: in a column, by the sign of an amount, or one type for all rows."""

from dataclasses import replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models.columns import REFUND
from models.ingest.draft.event_words import event_type_of
from models.ingest.draft.mapping_text import column as sql
from models.ingest.draft.mapping_text import toml
from models.ingest.draft.parts import Part, Settings, number_form
from models.ingest.draft.roles import Choice
from models.ingest.draft.samples import Column
from models.ingest.tabular import numbers
from models.primitives.arrow_types import ArrowColumn

_MOSTLY: Final = 0.5


def add_event_type(
    part: Part, kinds: Column | None, signed: Column | None, sold: bool, rated: bool, returned: bool
) -> None:
    """Add the type: the words of `kinds`, or refunds where `signed` is negative, or one type for all rows."""
    if kinds:
        by_name = kinds in part.sample.candidates("event_type")
        part.column("event_type", Choice(kinds.name, note="" if by_name else "guessed from its words"))
        known = {word: kind for word in sorted(kinds.values) if (kind := event_type_of(word))}
        translated = {word: kind for word, kind in known.items() if word != kind}
        if translated:
            part.add("event_types", translated)
    elif signed:
        part.add(
            "event_type",
            {"expr": f"if({sql(signed.name)} < 0, 'refund', 'purchase')"},
            f"rows with a negative {signed.name} are taken for refunds",
        )
    elif returned and sold:
        part.add("constants", {"event_type": REFUND}, "uncertain: the names are those of returns; or purchase")
    else:
        kind = "purchase" if sold else "rating" if rated else "view"
        note = (
            ""
            if sold or rated
            else "uncertain: no column holds event types; or purchase, rating, click, consume, add_to_cart"
        )
        part.add("constants", {"event_type": kind}, note)


def refund_rows(kinds: Column | None, signed: Column | None, settings: Settings) -> ArrowColumn:
    """Return which rows are refunds, by the same columns."""
    if kinds:
        words = [word for word in kinds.values if event_type_of(word) == REFUND]
        return pc.is_in(kinds.texts, value_set=pa.array(words, pa.string()))
    assert signed is not None
    return pc.less(numbers.parsed(signed.texts, number_form(settings)), 0)


def add_refund_order(part: Part, order: Column, user: str, is_refund: ArrowColumn) -> None:
    """Add the order of refunds if most refunds of the sample name an order that their user placed."""
    placed = pc.binary_join_element_wise(order.texts, part.sample.columns[user].texts, "\x1f")
    refunded = placed.filter(is_refund).drop_null()
    known = pc.is_in(refunded, value_set=placed.filter(pc.invert(is_refund)).drop_null())
    if (pc.mean(known.cast(pa.int8())).as_py() or 0) > _MOSTLY:
        part.add("refund_order", order.name, "refunds name orders of purchases: an unknown one takes back nothing")


def suggest_event_words(part: Part, words: Column | None) -> None:
    """Mark the constant event type as uncertain, and suggest the column that may hold event types."""
    if not words:
        return
    place = next(place for place, one in enumerate(part.lines) if one.key == "constants")
    part.lines[place] = replace(part.lines[place], note=f"uncertain: or event_type = {toml(words.name)}")
    part.suggest(
        "event_type", words.name, f"uncertain: if {words.name} holds event types, write this in place of constants,"
    )
    part.suggest("event_types", dict.fromkeys(sorted(words.values), "…"), "and the event type of each of its words")
