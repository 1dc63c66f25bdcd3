"""Many odd prices come from a wrong file: the batch is named whose prices are far from those before."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from models.ingest.check.odd_prices import odd_batch, too_many

FILES = {f"b{n}": f"{n}.csv" for n in range(9)}


def prices(*rows: tuple[str, list[float]], currency: str = "CZK") -> pa.Table:
    """Median prices of items, batch by batch."""
    result = [(item, currency, f"b{n}", n, price) for item, each in rows for n, price in enumerate(each)]
    names = ("item_id", "currency", "batch_id", "came", "price")
    return pa.table(dict(zip(names, map(list, zip(*result, strict=True)), strict=True)))


def test_prices_in_another_currency_are_not_compared() -> None:
    goods = [(f"i{n}", [2500.0 + n, 2510.0 + n]) for n in range(5)]
    dear = pa.concat_tables([prices(*goods), prices(*((item, [0.0, 100.0]) for item, _ in goods), currency="EUR")])
    assert odd_batch(dear.filter(pc.greater(dear["price"], 0)), FILES, 5) is None


def test_the_batch_is_named_whose_prices_are_far_from_those_before() -> None:
    goods = [(f"i{n}", [40.0 + n, 41.0 + n, 1.0, 40.0 + n]) for n in range(5)]
    result = odd_batch(prices(*goods), FILES, 6)
    assert result is not None
    assert (result.file, result.items, result.price, result.earlier) == ("2.csv", 5, 1.0, 42.5)
    assert "In 2.csv 5 of them cost 1.00 in the median, and 42.50 in the files before." in str(result)
    assert result.command == "tailorbird ledger undo b2"


@pytest.mark.parametrize(
    ("rows", "suspects"),
    [
        ([(f"i{n}", [40.0, 41.0, 1.0]) for n in range(5)], 11),  # most odd prices have another cause
        ([("POST", [5.0, 900.0])], 1),
        ([(f"i{n}", [5.0, 900.0, 0.01, 80.0, 0.5, 7000.0]) for n in range(5)], 5),  # odd in every file
        ([(f"i{n}", [40.0, 20.0, 30.0]) for n in range(5)], 5),
    ],
)
def test_no_batch_is_named_for_few_items_and_for_prices_that_always_differ(rows: Any, suspects: int) -> None:
    assert odd_batch(prices(*rows), FILES, suspects) is None


@pytest.mark.parametrize(
    ("suspects", "sold", "many"),
    [
        ([9] * 5, 200, True),
        ([9] * 4, 200, False),
        ([9] * 5, 300, False),
        ([0] * 50, 200, False),
        ([1000], 200, True),
        ([1000], 50, False),
    ],
)
def test_suspects_are_too_many_beyond_a_share_of_what_is_bought_or_among_best_sellers(
    suspects: list[int], sold: int, many: bool
) -> None:
    bought = [*suspects, *range(10, 10 + sold - len([count for count in suspects if count])), 0, 0]
    assert too_many([{"bought": count} for count in suspects], pa.table({"bought": bought})) == many
