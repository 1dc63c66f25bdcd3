"""Guess the part of a mapping that reads events."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, log10
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models.ingest.draft.amounts import amounts_by_cells, order_by_cells
from models.ingest.draft.currency import add_currency
from models.ingest.draft.event_words import event_type_of, event_words, is_no_sale, possible_event_words
from models.ingest.draft.joins import is_decimal
from models.ingest.draft.mapping_text import column as sql
from models.ingest.draft.mapping_text import text, toml
from models.ingest.draft.names import MONEY, plain
from models.ingest.draft.parts import Part, Settings, number_form, number_settings, open_part, time_settings
from models.ingest.draft.roles import GUESTS, Choice, is_per_order, kind_of, unique_ids
from models.ingest.draft.samples import Column, Sample
from models.ingest.placeholder_ids import ITEMS
from models.ingest.tabular import numbers as table_numbers

_SHOWN: Final = ("placement", "position", "recommendation_id")
_REPEATED: Final = 0.9
"""A column called event_id identifies events even if an export repeats some rows."""
_UNIQUE: Final = 0.999
_FEW: Final = 0.02
_MANY_ALIKE: Final = 0.05
_SOME: Final = 0.001
_USUAL_QUANTITY: Final = 1_000
_MOST_STATES: Final = 20


def events_part(sample: Sample, user: Choice, item: Choice, times: Sequence[Column]) -> Part:
    """Return the part for a table of events."""
    part = open_part("events", sample)
    taken = {user.column, item.column, times[0].name}
    orders = [one for one in sample.candidates("order") if one.name not in taken and _is_order(one)]
    sessions = [one for one in sample.candidates("session") if one.name not in taken]
    unnamed = kind_of(sample) != "events"
    order = next(iter([*orders, *sessions]), order_by_cells(sample, user, item, times) if unnamed else None)
    taken_too = taken | ({order.name} if order else set())
    numbers = {role: _numbers(sample, role, taken_too) for role in _NUMERIC}
    if unnamed:
        priced = bool(numbers["price"] or numbers["total"])
        guesses = amounts_by_cells(sample, taken_too, order, next(iter(numbers["quantity"]), None))
        guesses = {role: one for role, one in guesses.items() if not (numbers[role] or (priced and role != "quantity"))}
        numbers |= {role: [one] for role, one in guesses.items()}
        guessed = ", ".join(f"{one.name} ({role})" for role, one in guesses.items())
        part.comments += [f"Guessed from cells alone, look at the examples of a check: {guessed}."] if guessed else []
    numbers["total"] = [one for one in numbers["total"] if not (order and is_per_order(sample, order.name, one.name))]
    quantity, price, total = (next(iter(numbers[role]), None) for role in ("quantity", "price", "total"))
    guess = None if price or total else _likely_price(sample, taken_too, order, quantity)
    read = [one.name for one in (quantity, price or total or guess) if one]
    settings, doubt = number_settings(sample, read)
    for key, value in settings.items():
        part.add(key, value, doubt)
    kinds = event_words(sample, taken_too)
    _where(part, user, item, kinds)
    _event_id(part, order, [user.column, item.column, times[0].name, *([kinds.name] if kinds else [])], quantity)
    part.column("user_id", user)
    part.column("item_id", item)
    if order:
        part.column("session_id", Choice(order.name))
    _time(part, times)
    signed = next((one for one in (quantity, total) if one and _lowest(one, settings) < 0), None)
    sold = bool(order or price or total)
    stars = None if kinds or sold or numbers["rating"] else _likely_rating(sample, {*part.used, *taken_too}, quantity)
    _add_type(part, kinds, signed, sold, bool(numbers["rating"]))
    if not (kinds or signed or numbers["rating"]):
        is_sale = bool(quantity or (order and order not in sessions))
        _suggest_words(part, possible_event_words(sample, {*part.used, *taken_too}, sale=is_sale))
    _amounts(part, quantity, price or guess, total, settings, sure=guess is None)
    if numbers["rating"]:
        part.first("rating", numbers["rating"])
    if stars:
        part.suggest("rating", stars.name, f"uncertain: if {stars.name} is a rating, its event_type is rating, too")
    add_currency(part, total or price or guess, settings.get("currency_signs", ()))
    for role in _SHOWN:
        part.first(role, [one for one in sample.candidates(role) if one.name not in part.used and one.filled > 0])
    return part


def _likely_price(sample: Sample, taken: set[str], order: Column | None, quantity: Column | None) -> Column | None:
    """Return the column that may be a price: by a part of its name, else the only decimals beside a quantity."""
    free = [one for one in sample.columns.values() if one.name not in taken and one is not quantity and one.is_number]
    free = [one for one in free if not (order and is_per_order(sample, order.name, one.name))]
    by_name = [one for one in free if MONEY.search(plain(one.name))]
    decimals = [one for one in free if is_decimal(one)] if quantity else []
    return next(iter(by_name or decimals), None) if by_name or len(decimals) == 1 else None


def _likely_rating(sample: Sample, taken: set[str], quantity: Column | None) -> Column | None:
    """Return the column that may be a rating: it holds most of the numbers from 1 to 5 or to 10, and no others."""
    others = [quantity, *sample.candidates("position")]
    free = [one for one in sample.columns.values() if one.name not in taken and one not in others]
    ratings = [
        one for one in free if any(one.values <= scale and len(one.values) > len(scale) / 2 for scale in _SCALES)
    ]
    return ratings[0] if len(ratings) == 1 else None


_SCALES: Final = tuple(frozenset(map(str, range(1, most + 1))) for most in (5, 10))
_NUMERIC: Final = ("quantity", "price", "total", "rating")


def _numbers(sample: Sample, role: str, taken: set[str]) -> list[Column]:
    return [one for one in sample.candidates(role) if one.name not in taken and one.is_number]


def _is_order(one: Column) -> bool:
    """Return whether cells may be numbers of orders: `Name` is one if it holds #1001."""
    return one.name.strip().lower() != "name" or one.share(r"^#?\w*\d+$") > 1 - _FEW


def _where(part: Part, user: Choice, item: Choice, kinds: Column | None) -> None:
    """Leave out rows without a user or item, orders that are no sale, and unknown event types."""
    conditions = []
    for name, subject, placeholders in ((user.column, "a user", GUESTS), (item.column, "an item", ITEMS)):
        if part.sample.columns[name].filled < 1:
            conditions.append(f"{sql(name)} is not null")
            part.comments.append(f"Rows without {subject} ({name}) are left out.")
        if unknown := sorted(word for word in part.sample.columns[name].values if word in placeholders):
            conditions.append(f"not {sql(name)} in ({', '.join(map(text, unknown))})")
            part.comments.append(f"Rows where {name} is {', '.join(unknown)}, a placeholder, are left out.")
    states = None if kinds else _states(part, {user.column, item.column})
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


def _states(part: Part, taken: set[str]) -> _States | None:
    """Return the column of states: sure by name and words, uncertain by either; None without one."""
    by_name = part.sample.candidates("status")
    others = [one for one in part.sample.columns.values() if one.name not in taken and one not in by_name]
    for one in [*by_name, *(one for one in others if 1 < len(one.values) <= _MOST_STATES)]:
        if closed := sorted({word.lower() for word in one.values if is_no_sale(word)}):
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


def _event_id(part: Part, order: Column | None, identity: Sequence[str], quantity: Column | None) -> None:
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


def _time(part: Part, times: Sequence[Column]) -> None:
    name = part.first("occurred_at", times)
    assert name is not None
    form, note = time_settings(part.sample, [name])
    if form:
        part.add("time_format", form, note)
    if not str(form).startswith("epoch") and not _zoned(times[0]):
        part.add("zone", "UTC", "the times name no zone: write the shop's, such as Europe/Berlin")


def _zoned(one: Column) -> bool:
    if one.is_typed_time:
        return getattr(one.cells.type, "tz", None) is not None
    return one.share(r"(Z|UTC|[+-]\d\d:?\d\d)$") > 1 - _FEW


def _add_type(part: Part, kinds: Column | None, signed: Column | None, sold: bool, rated: bool) -> None:
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


def _suggest_words(part: Part, words: Column | None) -> None:
    """Mark the constant event type as uncertain, and suggest the column that may hold event types."""
    if not words:
        return
    place = next(place for place, one in enumerate(part.lines) if one.key == "constants")
    part.lines[place] = replace(part.lines[place], note=f"uncertain: or event_type = {toml(words.name)}")
    part.suggest(
        "event_type", words.name, f"uncertain: if {words.name} holds event types, write this in place of constants,"
    )
    part.suggest("event_types", dict.fromkeys(sorted(words.values), "…"), "and the event type of each of its words")


def _amounts(
    part: Part,
    quantity: Column | None,
    price: Column | None,
    total: Column | None,
    settings: Settings,
    *,
    sure: bool,
) -> None:
    """Add the quantity and the money of the whole line; a price that is not `sure` is commented out."""
    stated = [one for one in (quantity, price, total) if one]
    negative = any(_lowest(one, settings) < 0 for one in stated)
    if quantity:
        part.used.add(quantity.name)
        part.add("quantity", {"expr": f"abs({sql(quantity.name)})"} if negative else quantity.name)
        if _share_above(quantity, settings, _USUAL_QUANTITY) > _SOME:
            part.limits["highest_quantity"] = float(10 ** ceil(log10(_highest(quantity, settings))))
    money = total or price
    if not money:
        return
    expression = f"abs({sql(money.name)})" if negative else sql(money.name)
    note = "the money of the whole line"
    if not total and quantity:
        pieces = f"abs({sql(quantity.name)})" if negative else sql(quantity.name)
        expression, note = f"round({pieces} * {expression}, 2)", "the price of one piece by the quantity"
    elif not total:
        note = "uncertain: the price of one piece, without a quantity"
    if _has_zero(money, settings):
        expression, note = f"nullif({expression}, 0)", f"{note}; 0 is unknown"
    value = money.name if expression == sql(money.name) else {"expr": expression}
    if sure:
        part.used.add(money.name)
        part.add("value", value, note)
    else:
        part.suggest("value", value, f"uncertain: {money.name} may be {note.removeprefix('uncertain: ')}")


def _parsed(one: Column, settings: Settings) -> pa.Array:
    return table_numbers.parsed(one.stated, number_form(settings))


def _lowest(one: Column, settings: Settings) -> float:
    return pc.min(_parsed(one, settings)).as_py() or 0.0


def _highest(one: Column, settings: Settings) -> float:
    return pc.max(_parsed(one, settings)).as_py() or 0.0


def _share_above(one: Column, settings: Settings, limit: float) -> float:
    return pc.mean(pc.greater(_parsed(one, settings), limit).cast(pa.int8())).as_py() or 0.0


def _has_zero(one: Column, settings: Settings) -> bool:
    return bool(pc.any(pc.equal(_parsed(one, settings), 0.0)).as_py())
