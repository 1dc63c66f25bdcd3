"""Tests that the simulated wholesaler's table has the promised dirt, and that the recounts find false figures."""

import ast
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.foreign_shop import ledger_recount
from benchmarks.foreign_shop.export import CLOSED, NOTES, SERVICES, START, Export, export
from benchmarks.foreign_shop.files import read, write_export, write_impressions, write_renamed
from benchmarks.foreign_shop.history import net_purchases, services_of, tidy
from benchmarks.foreign_shop.lists_recount import prices_not_paid
from benchmarks.foreign_shop.reasons_recount import Facts, Place, false
from benchmarks.foreign_shop.returns import with_orders

FOLDER = Path(ledger_recount.__file__).parent
CUT = pd.Timestamp("2025-03-01")


@pytest.fixture(scope="module")
def made() -> Export:
    return export(120, 80, seed=5)


def test_the_table_has_every_kind_of_dirt(made: Export) -> None:
    rows = made.rows
    assert rows["CustomerID"].isna().any()
    assert rows["CustomerID"].dropna().str.endswith(".0").all()
    assert rows["InvoiceNo"].str.startswith("C").any()
    assert set(NOTES) & set(rows["Description"])
    assert services_of(rows) <= SERVICES
    assert len(services_of(rows)) > 3
    assert rows.duplicated().any()
    assert rows["Country"].nunique() > 32
    assert made.always_cancelled


def test_the_shop_is_closed_for_two_weeks_and_guests_pay_more(made: Export) -> None:
    rows = pd.concat([made.rows, made.later])
    days = (rows["InvoiceDate"] - START).dt.days
    assert not [day for first in CLOSED for day in range(first, first + 7) if (days == day).any()]
    assert made.rows["InvoiceDate"].max() < START + timedelta(days=CLOSED[-1]) < made.later["InvoiceDate"].min()
    goods = tidy(made.rows[made.rows["UnitPrice"] > 0])
    guest = goods["CustomerID"].isna()
    mean = [goods[chosen].groupby("StockCode")["UnitPrice"].mean() for chosen in (guest, ~guest)]
    assert (mean[0] / mean[1]).drop(list(SERVICES), errors="ignore").median() > 1.5


def test_the_price_of_a_line_without_a_customer_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    rows = table(("1", "A", 5, "2025-01-01", "7.0"), ("2", "B", 5, "2025-01-02", "7.0"))
    right = pd.DataFrame({"item_id": ["A", "B", "C"], "price": ["1", "1", ""]})
    assert prices_not_paid(right, rows) == 0
    assert prices_not_paid(right.assign(price=["1.9", "", "1.9"]), rows) == 3
    assert "A has the price 1.9, and customers paid [1.0]" in capsys.readouterr().out


def test_cancellations_name_orders_of_the_table_earlier_ones_or_none(made: Export) -> None:
    rows = with_orders(made.rows, np.random.default_rng(1))
    cancelled = rows["InvoiceNo"].str.startswith("C") & rows["CustomerID"].notna()
    named = rows.loc[cancelled, "ReturnOf"]
    known = named.isin(set(rows["InvoiceNo"]))
    assert min(known.mean(), named.isna().mean(), (named.notna() & ~known).mean()) > 0.1
    assert rows.loc[~cancelled, "ReturnOf"].isna().all()
    assert rows.loc[cancelled].groupby(["InvoiceNo", tidy(rows)["StockCode"]])["ReturnOf"].nunique().max() == 1


def test_impressions_follow_the_last_order_for_a_week(made: Export, tmp_path: Path) -> None:
    shown = pd.read_csv(write_impressions(made.later, tmp_path, np.random.default_rng(1)), parse_dates=["at"])
    assert made.later["InvoiceDate"].max() < shown["at"].min()
    assert shown["at"].dt.normalize().nunique() == 7


def test_the_same_seed_makes_the_same_table(made: Export) -> None:
    pd.testing.assert_frame_equal(export(120, 80, seed=5).rows, made.rows)
    assert not export(120, 80, seed=6).rows.equals(made.rows)


def test_both_files_hold_the_same_rows(made: Export, tmp_path: Path) -> None:
    first, renamed = read(write_export(made.rows, tmp_path)), read(write_renamed(made.rows, tmp_path))
    pd.testing.assert_frame_equal(first, renamed.iloc[::-1].reset_index(drop=True))


def test_the_counts_of_the_ledger_add_up(made: Export) -> None:
    counts = ledger_recount.expected(made.rows, SERVICES)
    assert counts["read"] == sum(count for name, count in counts.items() if name != "read")
    assert min(counts[name] for name in ("accepted", "duplicate", "routed")) > 0


def test_goods_whose_every_sale_was_cancelled_are_kept_by_nobody(made: Export) -> None:
    _, cancelled = net_purchases(tidy(made.rows), SERVICES, pd.Timestamp("2030-01-01"))
    sold = set(tidy(made.rows).dropna(subset=["CustomerID"])["StockCode"])
    assert set(made.always_cancelled) & sold <= cancelled


def table(*lines: tuple[str, str, int, str, str]) -> pd.DataFrame:
    names = ["InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "CustomerID"]
    rows = pd.DataFrame(lines, columns=names).assign(UnitPrice=1.0, Description="RED MUG")
    return rows.assign(InvoiceDate=pd.to_datetime(rows["InvoiceDate"]))


def test_a_cancellation_takes_back_the_last_pieces_first() -> None:
    rows = table(
        ("1", "A", 5, "2025-01-01", "7.0"),
        ("2", "A", 5, "2025-01-02", "7.0"),
        ("C3", "A", -7, "2025-01-03", "7.0"),
        ("4", "A", 5, "2025-01-04", "7.0"),
    )
    remaining, cancelled = net_purchases(rows, (), CUT)
    assert [(purchase.invoice, purchase.remaining) for purchase in remaining] == [("1", 3), ("4", 5)]
    assert not cancelled
    assert [purchase.invoice for purchase in net_purchases(rows, (), pd.Timestamp("2025-01-03"))[0]] == ["1", "2"]


def test_a_cancellation_that_names_an_order_takes_back_nothing_else() -> None:
    rows = table(
        ("1", "A", 5, "2025-01-01", "7.0"),
        ("2", "A", 5, "2025-01-02", "7.0"),
        ("C3", "A", -4, "2025-01-03", "7.0"),
        ("C4", "A", -5, "2025-01-04", "7.0"),
        ("C5", "A", -1, "2025-01-05", "7.0"),
    )
    remaining, _ = net_purchases(rows.assign(ReturnOf=[None, None, "1", "unknown", None]), (), CUT)
    assert [(purchase.invoice, purchase.remaining) for purchase in remaining] == [("1", 1), ("2", 4)]
    first, _ = net_purchases(rows.assign(ReturnOf=[None, None, None, "2", None]), (), CUT)
    assert [(purchase.invoice, purchase.remaining) for purchase in first] == [], "the named order comes first"


def facts() -> Facts:
    rows = table(
        *((str(n), item, 1, f"2025-{month:02}-10", "7.0") for n, month in enumerate((1, 2), 1) for item in "AB"),
        ("3", "A", 1, "2025-02-20", "7.0"),
        *((f"9{user}", "C", 1, "2025-02-15", f"{user}.0") for user in range(5)),
    )
    return Facts.of(net_purchases(rows, (), CUT)[0], rows, CUT)


@pytest.mark.parametrize(
    ("place", "holds"),
    [
        (Place("7", "", "A", "You bought this on 3 days, about every 20 days, last on 20 February"), True),
        (Place("7", "", "A", "You bought this on 3 days, about every 9 days, last on 20 February"), False),
        (Place("7", "", "B", "You bought this on 2 days, last on 10 February"), True),
        (Place("7", "", "B", "You bought this on 3 days, last on 10 February"), False),
        (Place("0", "", "C", "You bought this on 15 February"), True),
        (Place("0", "", "C", "You bought this on 14 February"), False),
        (Place("0", "", "A", "Bought by 5 customers in the last 28 days"), False),
        (Place("0", "", "C", "Bought by 5 customers in the last 28 days"), True),
        (Place("", "A", "B", "In 2 of 3 baskets with this item"), False),
        (Place("0", "", "A", "Because you bought Red mug"), True),
        (Place("0", "", "A", "Because you bought Blue mug"), False),
        (Place("0", "", "A", "Because you buy Everything"), False),
    ],
)
def test_a_reason_that_the_rows_do_not_bear_out_is_false(place: Place, holds: bool) -> None:
    assert (false([place], facts()) == []) is holds


@pytest.mark.parametrize("name", ["history", "reasons_recount", "ledger_recount", "lists_recount"])
def test_recounts_import_nothing_of_the_product(name: str) -> None:
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    rooms = {"models", "tasks", "infra", "serving", "flows"}
    assert not [module for module in modules if module.split(".")[0] in rooms]
