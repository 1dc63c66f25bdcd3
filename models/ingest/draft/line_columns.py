"""Find the columns of orders, amounts and ratings in a table of events, by names and by cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models.ingest.draft.parts import Part, number_form
from models.ingest.draft.roles import Choice, dependency_share, is_order, is_per_order, kind_of, repeated_ids
from models.ingest.draft.samples import Column, Sample
from models.ingest.draft.vocabulary import MONEY, plain

_DEPENDENT: Final = 0.95
_MOSTLY: Final = 0.8
_FINER: Final = 1.05
_CENT: Final = 0.011
_SCALES: Final = tuple(frozenset(map(str, range(1, most + 1))) for most in (5, 10))
_NUMERIC: Final = ("quantity", "price", "total", "rating")


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
    free = [one for one in sample.free(taken) if one.is_number]
    pieces = [quantity] if quantity else []
    pieces = pieces or [one for one in free if one.is_pieces and not (order and _counts_lines(order, one))]
    money = [one for one in free if one.is_decimal and one not in pieces]
    amounts = {"quantity": pieces[0]} if len(pieces) == 1 else {}
    if len(money) == 1:
        return amounts | {"price": money[0]}
    products = [(a, b) for a in money for b in money if a is not b and amounts and _is_product(sample, pieces[0], a, b)]
    return amounts | {"price": products[0][0], "total": products[0][1]} if len(products) == 1 else amounts


def _counts_lines(order: Column, one: Column) -> bool:
    """Return whether a column numbers the lines of an order: no two lines have the same number."""
    pairs = pc.binary_join_element_wise(order.texts, one.texts, "\x1f")
    return pc.count_distinct(pairs).as_py() >= _DEPENDENT * len(pairs) and order.distinct < _DEPENDENT


def _is_product(sample: Sample, pieces: Column, price: Column, total: Column) -> bool:
    """Return whether quantity times price is the total in rows of several pieces."""
    form, _ = number_form(sample, [price.name, total.name])
    quantity, one, whole = (column.numbers(form) for column in (pieces, price, total))
    several = pc.fill_null(pc.greater(quantity, 1), False)
    differs = pc.abs(pc.subtract(pc.multiply(quantity, one), whole)).filter(several)
    return len(differs) > 0 and (pc.mean(pc.less(differs, _CENT).cast(pa.int8())).as_py() or 0) >= _MOSTLY


@dataclass(frozen=True)
class LineColumns:
    """The columns of a table of events that hold its order, amounts and ratings, as far as they are known."""

    order: Column | None
    """The order, or the session."""
    is_session: bool
    quantity: Column | None
    price: Column | None
    """The price of one piece."""
    total: Column | None
    """The money of the whole line."""
    guess: Column | None
    """What may be a price, in a table without a price and a total."""
    ratings: list[Column]
    taken: set[str]
    """The names of the columns of users, items, times and orders."""

    @property
    def sold(self) -> bool:
        """Return whether rows are sales."""
        return bool(self.order or self.quantity or self.price or self.total)


def line_columns(part: Part, user: Choice, item: Choice, times: Sequence[Column]) -> LineColumns:
    """Return the columns; those that cells alone suggest are named in a comment of the part."""
    sample, taken = part.sample, {user.column, item.column, times[0].name}
    unnamed = kind_of(sample) != "events"
    orders, sessions = (sample.likely(role, taken) for role in ("order", "session"))
    order = next(iter([*orders, *sessions]), order_by_cells(sample, user, item, times) if unnamed else None)
    taken |= {order.name} if order else set()
    numbers = {role: sample.likely(role, taken) for role in _NUMERIC}
    if not numbers["quantity"]:  # an amount may be of pieces
        numbers["quantity"] = [one for one in numbers["total"] if one.is_pieces]
        numbers["total"] = [one for one in numbers["total"] if one not in numbers["quantity"]]
    if unnamed:
        numbers |= _by_cells(part, taken, order, numbers)
    numbers["total"] = [one for one in numbers["total"] if not (order and is_per_order(sample, order.name, one.name))]
    quantity, price, total = (next(iter(numbers[role]), None) for role in ("quantity", "price", "total"))
    return LineColumns(
        order=order,
        is_session=order in sessions,
        quantity=quantity,
        price=price,
        total=total,
        guess=None if price or total else _likely_price(sample, taken, order, quantity),
        ratings=numbers["rating"],
        taken=taken,
    )


def _by_cells(
    part: Part, taken: set[str], order: Column | None, numbers: Mapping[str, list[Column]]
) -> dict[str, list[Column]]:
    """Return the columns of roles without any, by their cells."""
    priced = bool(numbers["price"] or numbers["total"])
    guesses = amounts_by_cells(part.sample, taken, order, next(iter(numbers["quantity"]), None))
    guesses = {role: one for role, one in guesses.items() if not (numbers[role] or (priced and role != "quantity"))}
    if guesses:
        guessed = ", ".join(f"{one.name} ({role})" for role, one in guesses.items())
        part.comments.append(f"Guessed from cells alone, look at the examples of a check: {guessed}.")
    return {role: [one] for role, one in guesses.items()}


def _likely_price(sample: Sample, taken: set[str], order: Column | None, quantity: Column | None) -> Column | None:
    """Return the column that may be a price: by a part of its name, else the only decimals beside a quantity."""
    free = [one for one in sample.free(taken) if one is not quantity and one.is_number]
    free = [one for one in free if not (order and is_per_order(sample, order.name, one.name))]
    by_name = [one for one in free if MONEY.search(plain(one.name))]
    decimals = [one for one in free if one.is_decimal] if quantity else []
    return next(iter(by_name or decimals), None) if by_name or len(decimals) == 1 else None


def likely_rating(sample: Sample, taken: set[str], quantity: Column | None) -> Column | None:
    """Return the column that may be a rating: it holds most of the numbers from 1 to 5 or to 10, and no others."""
    free = [one for one in sample.free(taken) if one not in (quantity, *sample.named("position"))]
    ratings = [
        one for one in free if any(one.values <= scale and len(one.values) > len(scale) / 2 for scale in _SCALES)
    ]
    return ratings[0] if len(ratings) == 1 else None
