"""Finds the columns of orders, amounts and ratings in a table of events, by names and by cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from models.ingest.draft.amounts import amounts_by_cells, is_pieces, order_by_cells
from models.ingest.draft.joins import is_decimal
from models.ingest.draft.names import MONEY, plain
from models.ingest.draft.parts import Part
from models.ingest.draft.roles import Choice, is_per_order, kind_of
from models.ingest.draft.samples import Column, Sample

_FEW: Final = 0.02
_SCALES: Final = tuple(frozenset(map(str, range(1, most + 1))) for most in (5, 10))
_NUMERIC: Final = ("quantity", "price", "total", "rating")


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
    orders = [one for one in sample.candidates("order") if one.name not in taken and _is_order(one)]
    sessions = [one for one in sample.candidates("session") if one.name not in taken]
    order = next(iter([*orders, *sessions]), order_by_cells(sample, user, item, times) if unnamed else None)
    taken |= {order.name} if order else set()
    numbers = {role: _numbers(sample, role, taken) for role in _NUMERIC}
    if not numbers["quantity"]:  # an amount may be of pieces
        numbers["quantity"] = list(filter(is_pieces, numbers["total"]))
        numbers["total"] = [one for one in numbers["total"] if one not in numbers["quantity"]]
    if unnamed:
        numbers |= _by_cells(part, taken, order, numbers)
    numbers["total"] = [one for one in numbers["total"] if not (order and is_per_order(sample, order.name, one.name))]
    quantity, price, total = (next(iter(numbers[role]), None) for role in ("quantity", "price", "total"))
    guess = None if price or total else _likely_price(sample, taken, order, quantity)
    return LineColumns(order, order in sessions, quantity, price, total, guess, numbers["rating"], taken)


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
    free = [one for one in sample.columns.values() if one.name not in taken and one is not quantity and one.is_number]
    free = [one for one in free if not (order and is_per_order(sample, order.name, one.name))]
    by_name = [one for one in free if MONEY.search(plain(one.name))]
    decimals = [one for one in free if is_decimal(one)] if quantity else []
    return next(iter(by_name or decimals), None) if by_name or len(decimals) == 1 else None


def likely_rating(sample: Sample, taken: set[str], quantity: Column | None) -> Column | None:
    """Return the column that may be a rating: it holds most of the numbers from 1 to 5 or to 10, and no others."""
    others = [quantity, *sample.candidates("position")]
    free = [one for one in sample.columns.values() if one.name not in taken and one not in others]
    ratings = [
        one for one in free if any(one.values <= scale and len(one.values) > len(scale) / 2 for scale in _SCALES)
    ]
    return ratings[0] if len(ratings) == 1 else None


def _numbers(sample: Sample, role: str, taken: set[str]) -> list[Column]:
    return [one for one in sample.candidates(role) if one.name not in taken and one.is_number]


def _is_order(one: Column) -> bool:
    """Return whether cells may be numbers of orders: `Name` is one if it holds #1001."""
    return one.name.strip().lower() != "name" or one.share(r"^#?\w*\d+$") > 1 - _FEW
