"""Finds the types of events: in a column, by the sign of an amount, or one type for all rows."""

from dataclasses import replace

from models.ingest.draft.event_words import event_type_of
from models.ingest.draft.mapping_text import column as sql
from models.ingest.draft.mapping_text import toml
from models.ingest.draft.parts import Part
from models.ingest.draft.roles import Choice
from models.ingest.draft.samples import Column


def add_event_type(part: Part, kinds: Column | None, signed: Column | None, sold: bool, rated: bool) -> None:
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
    else:
        kind = "purchase" if sold else "rating" if rated else "view"
        note = (
            ""
            if sold or rated
            else "uncertain: no column holds event types; or purchase, rating, click, consume, add_to_cart"
        )
        part.add("constants", {"event_type": kind}, note)


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
