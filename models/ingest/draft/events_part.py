"""Guess the part of a mapping that reads events: its rows, ids, times, types and amounts."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, log10
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models.columns import PURCHASE, REFUND
from models.ingest.draft.mapping_text import column as sql
from models.ingest.draft.mapping_text import toml
from models.ingest.draft.parts import LineColumns, Part, add_currency, likely_rating, line_columns, open_part
from models.ingest.draft.roles import Choice, event_words, kind_of, possible_event_words, unique_ids
from models.ingest.draft.samples import SEVERAL, Column, Sample, overlap
from models.ingest.draft.vocabulary import GUESTS, event_type_of, is_no_sale, names_returns, plain, rank
from models.ingest.placeholder_ids import ITEMS
from models.ingest.tabular.numbers import NumberForm
from models.primitives.arrow_sql import literal
from models.primitives.arrow_types import ArrowColumn

_SHOWN: Final = ("placement", "position", "recommendation_id")
_SHOWN_WITH_ORDERS: Final = ("placement", "recommendation_id")
"""In a table of orders, a position is the number of a line."""
_FEW: Final = 0.02
_SOME: Final = 0.001
_USUAL_QUANTITY: Final = 1_000
_MOST_STATES: Final = 20
_MOSTLY: Final = 0.5
_REPEATED: Final = 0.9
"""A column called event_id identifies events even if an export repeats some rows."""
_UNIQUE: Final = 0.999
_MANY_ALIKE: Final = 0.05
_GOAL: Final = "lists learn from purchases; without sales, these are the actions that lists should lead to"
_GOOD: Final = 0.8
"""A rating is good from this share of the highest one."""


def events_part(
    sample: Sample, user: Choice, item: Choice, times: Sequence[Column], others: Sequence[Sample] = ()
) -> Part:
    """Return the part for a table of events; among the `others` may be one of returns."""
    part = open_part("events", sample)
    found = line_columns(part, user, item, times)
    read = [one.name for one in (found.quantity, found.price or found.total or found.guess) if one]
    form = part.numbers(read)
    kinds = event_words(sample, found.taken)
    devices = sample.likely("device", {user.column})
    returns = find_returns(found.order, others)
    leave_out_rows(part, user, item, kinds, returns, has_device=bool(devices))
    identity = [user.column, item.column, times[0].name, *([kinds.name] if kinds else [])]
    add_event_id(part, found.order, identity, found.quantity)
    if rank(user.column, "device") != 0:  # a lone visitor, of rank 1, is the user
        part.column("user_id", user)
        part.first("device_id", devices, "the visitor of rows without a user")
    else:
        part.column("device_id", user, "known to live events as anonymousId")
        part.suggest("user_id", user.column, "write user_id instead if your systems ask for lists by this id")
    part.column("item_id", item)
    if found.order:
        part.column("session_id", Choice(found.order.name))
    _add_time(part, times)
    _add_type_and_rating(part, user, times[0], found, kinds, form)
    add_currency(part, found.total or found.price or found.guess, form.currency_signs)
    is_order = found.sold and not kinds
    for role in _SHOWN_WITH_ORDERS if is_order else _SHOWN:
        part.first(role, sample.likely(role, part.used))
    return part


def _add_type_and_rating(
    part: Part, user: Choice, time: Column, found: LineColumns, kinds: Column | None, form: NumberForm
) -> None:
    """Add the type of the events, their amounts and ratings."""
    taken = {*part.used, *found.taken}
    signed = next((one for one in (found.quantity, found.total) if one and _has_negative(one, form)), None)
    plain_views = not (kinds or found.sold or found.ratings)
    stars = likely_rating(part.sample, taken, found.quantity) if plain_views else None
    returned = names_returns(*part.sample.files, time.name)
    best = pc.max(found.ratings[0].numbers(form)).as_py() if found.ratings else None
    good = f"{sql(found.ratings[0].name)} >= {_GOOD * best:g}" if best else ""
    add_event_type(part, kinds, signed, sold=found.sold, good=good, returned=returned)
    refunds = refund_rows(kinds, signed, form, returned=returned and bool(found.sold))
    if found.order and not found.is_session and (kinds or signed):
        add_refund_order(part, found.order, user.column, refunds)
    if not (kinds or signed or found.ratings):
        is_sale = bool(found.quantity or (found.order and not found.is_session))
        suggest_event_words(part, possible_event_words(part.sample, {*part.used, *found.taken}, sale=is_sale))
    add_amounts(part, found, form, refunds)
    if found.ratings:
        part.first("rating", found.ratings)
    if stars:
        part.suggest("rating", stars.name, f"uncertain: if {stars.name} is a rating, its event_type is rating, too")


def _add_time(part: Part, times: Sequence[Column]) -> None:
    name = part.first("occurred_at", times)
    assert name is not None
    form = part.time_format(name)
    if not str(form).startswith("epoch") and not _zoned(times[0]):
        part.add("zone", "UTC", "the times name no zone: write the shop's, such as Europe/Berlin")


def _zoned(one: Column) -> bool:
    if one.is_typed_time:
        return getattr(one.cells.type, "tz", None) is not None
    return one.share(r"(Z|UTC|[+-]\d\d:?\d\d)$") > 1 - _FEW


def add_event_id(part: Part, order: Column | None, identity: Sequence[str], quantity: Column | None) -> None:
    """Add the event id: the shortest combination of columns that differs in every row.

    Without one, an event is identified by these `identity` columns and its order. A price never identifies a row,
    because it may be corrected later or be unreadable. A quantity does only if many rows are equal otherwise.
    """
    sample, item = part.sample, identity[1]
    taken = {*part.used, item, *([order.name] if order else [])}
    lines = sample.likely("event_id", taken)
    if order is None and kind_of(sample) != "events":
        lines += [one for one in unique_ids(sample) if one.name not in taken]
    single = [[one.name] for one in lines]
    positions = [one for role in ("line", "variant") for one in sample.likely(role, taken)]
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
    """Return whether these columns are filled and tell different rows with an item apart, at `least` this share."""
    there = pc.is_valid(sample.columns[item].texts)
    texts = [sample.columns[name].texts.filter(there) for name in names]
    keys = pc.binary_join_element_wise(*texts, "\x1f")
    rows = pc.count_distinct(_joined(sample, list(sample.columns)).filter(there)).as_py()
    return bool(rows and pc.count_distinct(keys, mode="only_valid").as_py() >= least * rows)


def add_event_type(
    part: Part, kinds: Column | None, signed: Column | None, *, sold: bool, good: str, returned: bool
) -> None:
    """Add the type: the words of `kinds`, or refunds where `signed` is negative, or one type for all rows.

    Without sales, what users consumed is a purchase, and a `good` rating, by this condition, may be one.
    """
    if kinds:
        by_name = kinds in part.sample.named("event_type")
        part.column("event_type", Choice(kinds.name, note="" if by_name else "guessed from its words"))
        known = {word: kind for word in sorted(kinds.values) if (kind := event_type_of(word))}
        note = "" if PURCHASE in known.values() else _GOAL
        if note:
            known = {word: PURCHASE if kind == "consume" else kind for word, kind in known.items()}
        translated = {word: kind for word, kind in known.items() if word != kind}
        if translated:
            part.add("event_types", translated, note)
        elif note:
            part.comments.append(f"Event types: {note}.")
    elif signed:
        part.add(
            "event_type",
            {"expr": f"if({sql(signed.name)} < 0, 'refund', 'purchase')"},
            f"rows with a negative {signed.name} are taken for refunds",
        )
    elif returned and sold:
        part.add("constants", {"event_type": REFUND}, "uncertain: the names are those of returns; or purchase")
    elif sold:
        part.add("constants", {"event_type": PURCHASE})
    elif good:
        part.add("constants", {"event_type": "rating"})
        part.suggest("event_type", {"expr": f"if({good}, 'purchase', 'rating')"}, f"in place of constants: {_GOAL}")
    else:
        note = "uncertain: no column holds event types; or purchase, rating, click, consume, add_to_cart"
        part.add("constants", {"event_type": "view"}, note)


def refund_rows(kinds: Column | None, signed: Column | None, form: NumberForm, *, returned: bool) -> ArrowColumn:
    """Return which rows are refunds, by the same columns; one value for all rows without them."""
    if kinds:
        words = [word for word in kinds.values if event_type_of(word) == REFUND]
        return pc.is_in(kinds.texts, value_set=pa.array(words, pa.string()))
    return pc.less(signed.numbers(form), 0) if signed else pa.scalar(returned)


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


def add_amounts(part: Part, found: LineColumns, form: NumberForm, refunds: ArrowColumn) -> None:
    """Add the quantity and the money of the whole line; a price that is only a guess is commented out.

    The sign is taken off where the rows of `refunds` have negative numbers: elsewhere, it is a fault of the row.
    """
    quantity, price = found.quantity, found.price or found.guess
    read = [one for one in (quantity, price, found.total) if one]
    negative = {one.name for one in read if _has_negative(one, form, refunds)}
    if quantity:
        part.used.add(quantity.name)
        part.add("quantity", {"expr": _amount(quantity, negative)} if quantity.name in negative else quantity.name)
        pieces = quantity.numbers(form)
        if (pc.mean(pc.greater(pieces, _USUAL_QUANTITY).cast(pa.int8())).as_py() or 0.0) > _SOME:
            part.limits["highest_quantity"] = float(10 ** ceil(log10(pc.max(pieces).as_py())))
    money = found.total or price
    if not money:
        return
    expression, note = _money_of_line(money, quantity, negative, whole=bool(found.total))
    if pc.any(pc.equal(money.numbers(form), 0.0)).as_py():
        expression, note = f"nullif({expression}, 0)", f"{note}; 0 is unknown"
    value = money.name if expression == sql(money.name) else {"expr": expression}
    if found.guess is None:
        part.used.add(money.name)
        part.add("value", value, note)
    else:
        part.suggest("value", value, f"uncertain: {money.name} may be {note.removeprefix('uncertain: ')}")


def _money_of_line(money: Column, quantity: Column | None, negative: set[str], *, whole: bool) -> tuple[str, str]:
    """Return the expression and its comment; the money is that of the `whole` line, or of one piece."""
    expression = _amount(money, negative)
    if whole:
        return expression, "the money of the whole line"
    if quantity:
        return f"round({_amount(quantity, negative)} * {expression}, 2)", "the price of one piece by the quantity"
    return expression, "uncertain: the price of one piece, without a quantity"


def _amount(one: Column, negative: set[str]) -> str:
    return f"abs({sql(one.name)})" if one.name in negative else sql(one.name)


def _has_negative(one: Column, form: NumberForm, rows: ArrowColumn | bool = True) -> bool:
    return bool(pc.any(pc.and_(pc.less(one.numbers(form), 0), rows)).as_py())


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
            conditions.append(f"not {sql(name)} in ({', '.join(map(literal, unknown))})")
            part.comments.append(f"Rows where {name} is {', '.join(unknown)}, a placeholder, are left out.")
    column, closed, doubt = ("", [], "") if kinds else _states(part, {user.column, item.column}, bool(returns))
    if returns:
        part.comments.append(
            f"Refunded orders are kept: {returns[0]} takes them back. Read it by a mapping of its own, with"
        )
        part.comments.append(f'constants = {{ event_type = "refund" }} and refund_order = {toml(returns[1])}.')
    no_sale = f"({sql(column)} is null or not lower({sql(column)}) in ({', '.join(map(literal, closed))}))"
    if column and not doubt:
        conditions.append(no_sale)
        part.comments.append(f"Orders with these states ({column}) are left out: {', '.join(closed)}.")
        part.used.add(column)
    conditions += _known_types(part, kinds) if kinds else []
    if conditions:
        part.add("where", " and ".join(conditions))
    if doubt:
        instead = " in place of the line above" if conditions else ""
        part.suggest("where", " and ".join([*conditions, no_sale]), f"{doubt}{instead}")


def _states(part: Part, taken: set[str], keeps_returned: bool) -> tuple[str, list[str], str]:
    """Return the column of states of orders, those that are no sale, and the doubt: sure by name and words alone.

    All are empty without such a column.
    """
    by_name = part.sample.named("status")
    others = [one for one in part.sample.free(taken) if one not in by_name]
    for one in [*by_name, *(one for one in others if 1 < len(one.values) <= _MOST_STATES)]:
        if closed := sorted({word.lower() for word in one.values if is_no_sale(word, keeps_returned)}):
            doubt = f"uncertain: leave out {', '.join(closed)} ({one.name}), if that is no sale,"
            return one.name, closed, "" if one in by_name else doubt
    for one in by_name:
        if 1 < len(one.values) <= _MOST_STATES and not one.is_number:
            rarest = min(sorted(one.values), key=one.stated.to_pylist().count)
            doubt = f"uncertain: name the states of {one.name} that are no sale, such as cancelled,"
            return one.name, [rarest.lower()], doubt
    return "", [], ""


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
        return [f"not {sql(kinds.name)} in ({', '.join(map(literal, unknown))})"]
    return [f"{sql(kinds.name)} in ({', '.join(map(literal, known))})"]
