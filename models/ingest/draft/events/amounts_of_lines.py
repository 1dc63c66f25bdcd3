"""Adds the quantity and the money of a whole line."""

from math import ceil, log10
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models.ingest.draft.events.likely_columns import LineColumns
from models.ingest.draft.mapping_text import column as sql
from models.ingest.draft.parts import Part, Settings, number_form
from models.ingest.draft.samples import Column
from models.ingest.tabular import numbers

_SOME: Final = 0.001
_USUAL_QUANTITY: Final = 1_000


def add_amounts(part: Part, found: LineColumns, settings: Settings) -> None:
    """Add the quantity and the money of the whole line; a price that is only a guess is commented out."""
    quantity, price = found.quantity, found.price or found.guess
    negative = any(lowest(one, settings) < 0 for one in (quantity, price, found.total) if one)
    if quantity:
        part.used.add(quantity.name)
        part.add("quantity", {"expr": f"abs({sql(quantity.name)})"} if negative else quantity.name)
        if _share_above(quantity, settings, _USUAL_QUANTITY) > _SOME:
            part.limits["highest_quantity"] = float(10 ** ceil(log10(_highest(quantity, settings))))
    money = found.total or price
    if not money:
        return
    expression, note = _money_of_line(money, quantity, negative=negative, whole=bool(found.total))
    if _has_zero(money, settings):
        expression, note = f"nullif({expression}, 0)", f"{note}; 0 is unknown"
    value = money.name if expression == sql(money.name) else {"expr": expression}
    if found.guess is None:
        part.used.add(money.name)
        part.add("value", value, note)
    else:
        part.suggest("value", value, f"uncertain: {money.name} may be {note.removeprefix('uncertain: ')}")


def _money_of_line(money: Column, quantity: Column | None, *, negative: bool, whole: bool) -> tuple[str, str]:
    """Return the expression and its comment; the money is that of the `whole` line, or of one piece."""
    amount = "abs({})".format if negative else "{}".format
    expression = amount(sql(money.name))
    if whole:
        return expression, "the money of the whole line"
    if quantity:
        return f"round({amount(sql(quantity.name))} * {expression}, 2)", "the price of one piece by the quantity"
    return expression, "uncertain: the price of one piece, without a quantity"


def _parsed(one: Column, settings: Settings) -> pa.Array:
    return numbers.parsed(one.stated, number_form(settings))


def lowest(one: Column, settings: Settings) -> float:
    """Return the lowest number of a column; 0 for a column without numbers."""
    return pc.min(_parsed(one, settings)).as_py() or 0.0


def _highest(one: Column, settings: Settings) -> float:
    return pc.max(_parsed(one, settings)).as_py() or 0.0


def _share_above(one: Column, settings: Settings, limit: float) -> float:
    return pc.mean(pc.greater(_parsed(one, settings), limit).cast(pa.int8())).as_py() or 0.0


def _has_zero(one: Column, settings: Settings) -> bool:
    return bool(pc.any(pc.equal(_parsed(one, settings), 0.0)).as_py())
