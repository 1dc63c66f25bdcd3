"""Guess orders, quantities and prices of a table of events from its cells if column names do not show them."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models.ingest.draft.joins import dependency_share, is_decimal, is_order, repeated_ids
from models.ingest.draft.parts import Settings, number_form, number_settings
from models.ingest.draft.roles import Choice
from models.ingest.draft.samples import Column, Sample
from models.ingest.tabular import numbers

_DEPENDENT: Final = 0.95
_MOSTLY: Final = 0.8
_ONES: Final = 0.2
_FINER: Final = 1.05
_CENT: Final = 0.011
_ONE_PIECE: Final = r"^-?1([.,]0+)?$"
_PIECES: Final = r"^-?[1-9]([.,]0+)?$"
_WHOLE: Final = r"^-?\d{1,6}([.,]0+)?$"


def order_by_cells(sample: Sample, user: Choice, item: Choice, times: Sequence[Column]) -> Column | None:
    """Return the finest column whose rows have one user and are of one day, but of several items."""
    people = sample.columns[user.column]
    orders = [
        one
        for one in repeated_ids(sample)
        if one.name not in (user.column, item.column)
        and len(one.values) > _FINER * len(people.values)
        and (dependency_share(one.texts, people.texts) or 0) >= _DEPENDENT
        and is_order(one, times)
    ]
    return max(orders, key=lambda one: len(one.values), default=None)


def amounts_by_cells(
    sample: Sample, taken: set[str], order: Column | None, quantity: Column | None = None
) -> dict[str, Column]:
    """Return the columns of quantity, price and total: small whole numbers, decimals, and the product of both.

    A role with two possible columns is left out.
    """
    free = [one for one in sample.columns.values() if one.name not in taken and one.is_number]
    pieces = [quantity] if quantity else []
    pieces = pieces or [one for one in free if is_pieces(one) and not (order and _counts_lines(order, one))]
    money = [one for one in free if is_decimal(one) and one not in pieces]
    amounts = {"quantity": pieces[0]} if len(pieces) == 1 else {}
    if len(money) == 1:
        return amounts | {"price": money[0]}
    products = [(a, b) for a in money for b in money if a is not b and amounts and _is_product(sample, pieces[0], a, b)]
    return amounts | {"price": products[0][0], "total": products[0][1]} if len(products) == 1 else amounts


def is_pieces(one: Column) -> bool:
    """Return whether a column has small whole numbers, and many ones, as quantities do."""
    return (
        len(one.values) > 1
        and one.share(_WHOLE) >= 1 - (1 - _DEPENDENT) / 2
        and one.share(_PIECES) >= _MOSTLY
        and one.share(_ONE_PIECE) >= _ONES
    )


def _counts_lines(order: Column, one: Column) -> bool:
    """Return whether a column numbers the lines of an order: no two lines have the same number."""
    pairs = pc.binary_join_element_wise(order.texts, one.texts, "\x1f")
    return pc.count_distinct(pairs).as_py() >= _DEPENDENT * len(pairs) and order.distinct < _DEPENDENT


def _is_product(sample: Sample, pieces: Column, price: Column, total: Column) -> bool:
    """Return whether quantity times price is the total in rows of several pieces."""
    settings, _ = number_settings(sample, [price.name, total.name])
    quantity, one, whole = (_parsed(column, settings) for column in (pieces, price, total))
    several = pc.fill_null(pc.greater(quantity, 1), False)
    differs = pc.abs(pc.subtract(pc.multiply(quantity, one), whole)).filter(several)
    return len(differs) > 0 and (pc.mean(pc.less(differs, _CENT).cast(pa.int8())).as_py() or 0) >= _MOSTLY


def _parsed(one: Column, settings: Settings) -> pa.Array:
    return numbers.parsed(one.texts, number_form(settings))
