"""Unreadable cells put their row into quarantine, with the line and settings that would read them, without raw ids."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from infra.database.schema.schema import ingest_batches, items, quarantine, users
from infra.installation import Installation
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.quarantine.replay_rows import replay_quarantine
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.quality.suites import BatchRefusedError
from tests.tasks.ingest.stored import counted

STEPS = {"events": ingest_events, "items": ingest_items, "users": ingest_users}
HEAD = 'consent = "given"\nconsent_note = "a test"\nunknown_items = "accept"\n'
EVENTS = """[events]
file = "*"
user_id = "customer"
item_id = "sku"
occurred_at = "at"
quantity = "pieces"
value = "amount"
constants = { event_type = "purchase" }
"""
Ingest = Callable[..., dict[str, Any]]


@pytest.fixture
def ingest(installation: Installation, tmp_path: Path) -> Ingest:  # noqa: ARG001 - it has to be there
    def run(mapping: str, content: str | bytes | pa.Table, dataset: str = "events") -> dict[str, Any]:
        toml = tmp_path / "shop.toml"
        toml.write_text(HEAD + mapping)
        path = tmp_path / f"{dataset}.{'parquet' if isinstance(content, pa.Table) else 'csv'}"
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        entry: dict[str, Any] = STEPS[dataset].fn(str(toml), str(path))
        assert counted(entry)
        return entry

    return run


def waiting(installation: Installation) -> list[dict[str, Any]]:
    with installation.engine.connect() as connection:
        rows = select(quarantine.c.rule_ids, quarantine.c.payload).order_by(quarantine.c.row_number)
        return [{"rules": row.rule_ids, **row.payload} for row in connection.execute(rows)]


def remarks(installation: Installation) -> str:
    with installation.engine.connect() as connection:
        return str(connection.execute(select(ingest_batches.c.detail)).scalar_one())


def sound(count: int, first: int = 0) -> str:
    return "".join(f"u{n},s{n},2024-03-01T10:{n % 60:02}:00Z,1,9.99\n" for n in range(first, first + count))


def test_one_bad_cell_costs_one_row_and_is_found_by_its_line(installation: Installation, ingest: Ingest) -> None:
    rows = 'customer,sku,at,pieces,amount\n"a\nb",s,2024-03-01,1,2\n' + sound(20)
    entry = ingest(EVENTS, rows + "c,s,2024-03-01,2,12.O5\nd,s,31.02.2024,1,5\n" + sound(5, 30))

    assert (entry["read"], entry["accepted"], entry["quarantined"]) == (28, 26, 2)
    number, time = waiting(installation)
    assert (number["rules"], number["line"]) == (["value_unreadable"], 24)
    assert number["unreadable"] == [{"key": "value", "column": "amount", "value": "99.A9"}]
    assert (time["rules"], time["line"]) == (["occurred_at_unreadable"], 25)
    assert time["unreadable"][0]["value"] == "31.02.2024", "a date is shown as it is written"
    assert "1 of 28 values of 'amount' (value) cannot be read as a number (line 24)." in remarks(installation)


def test_a_person_in_a_wrong_column_is_not_kept_as_written(installation: Installation, ingest: Ingest) -> None:
    private = ["ann@shop.example", "Ann Smith", "4711000", "+49 170 1234567", "12.345.678", "u-1.50", "3.5"]
    rows = "".join(f"3.5,s{n},{cell},1,1\n" for n, cell in enumerate(private))
    ingest(EVENTS, "customer,sku,at,pieces,amount\n" + sound(60) + rows)

    stored = waiting(installation)
    assert len(stored) == len(private)
    assert not [cell for cell in private if f'"{cell}"' in json.dumps([row["unreadable"] for row in stored])]
    assert stored[0]["unreadable"][0]["value"] == "aaa@aaaa.aaaaaaa"


@pytest.mark.parametrize(
    ("change", "at", "amount", "suggested"),
    [
        ("", "24.12.2024 10:20", "1", 'time_format = "%d.%m.%Y %H:%M"` would read 30 of 30'),
        ("", "2024-12-24", "1.234,50", 'decimal = ","` and `thousands = "."` would read 30 of 30'),
        ("", "2024-12-24", "$1,234.50", 'thousands = ","` and `currency_signs = ["$"]` would read 30 of 30'),
        ('decimal = ","', "2024-12-24", "12.50", "the usual form would read 30 of 30"),
    ],
)
def test_too_many_unreadable_cells_refuse_the_file_and_the_message_states_what_would_read_them(
    installation: Installation, ingest: Ingest, change: str, at: str, amount: str, suggested: str
) -> None:
    rows = "".join(f'u{n},s,{at},1,"{amount}"\n' for n in range(30))
    with pytest.raises(BatchRefusedError, match="quarantined_share") as refused:
        ingest(EVENTS + change, "customer,sku,at,pieces,amount\n" + rows)

    assert suggested in str(refused.value)
    assert "(lines 2, 3, 4 and more)" in str(refused.value)
    assert waiting(installation) == []


def test_times_of_two_formats_come_with_a_list_of_both_that_reads_them_all(
    installation: Installation, ingest: Ingest
) -> None:
    usual = "".join(f"u{n},s,12/{n % 28 + 1:02}/2024 07:05 PM,1,2\n" for n in range(7_000))
    other = "".join(f"w{n},s,2024-12-{n + 1:02},1,2\n" for n in range(18))
    form = 'time_format = "%m/%d/%Y %I:%M %p"\n'
    entry = ingest(EVENTS + form, "customer,sku,at,pieces,amount\n" + other + usual)

    assert (entry["accepted"], entry["quarantined"]) == (7_000, 18)
    both = 'time_format = ["%m/%d/%Y %I:%M %p", "%Y-%m-%d"]'
    written = f"`{both}` would read 7,018 of 7,018"
    assert (
        f"18 of 7,018 values of 'at' (occurred_at) cannot be read as a time (lines 2, 3, 4 and more); {written}."
        in (remarks(installation))
    )
    assert {suggestion for row in waiting(installation) for suggestion in row["suggestions"]} == {written}

    entry = ingest(EVENTS + both, "customer,sku,at,pieces,amount\n" + other + usual)
    assert (entry["accepted"], entry["quarantined"]) == (18, 0), "the suggestion as it is pasted"


def test_rows_that_differ_in_an_unreadable_cell_alone_all_wait(installation: Installation, ingest: Ingest) -> None:
    rows = "".join(f"u,s,{day}.02.2024,1,1\n" for day in (30, 31))
    assert ingest(EVENTS, "customer,sku,at,pieces,amount\n" + sound(20) + rows)["quarantined"] == 2
    assert ingest(EVENTS + "# again\n", "customer,sku,at,pieces,amount\n" + rows + sound(21))["duplicate"] >= 2
    assert len(waiting(installation)) == 2


def test_a_replay_does_not_take_an_unreadable_cell_for_an_empty_one(ingest: Ingest) -> None:
    entry = ingest(EVENTS, "customer,sku,at,pieces,amount\n" + sound(20) + "c,s,2024-03-01,2,twelve\n")
    replayed = replay_quarantine.fn(entry["batch_id"])

    assert (replayed["accepted"], replayed["quarantined"]) == (20, 1)


def test_the_mapping_decides_about_empty_currencies_and_quantities(installation: Installation, ingest: Ingest) -> None:
    rows = "customer,sku,at,pieces,amount,money\n" + "".join(f"u{n},s,2024-03-01,1,2,EUR\n" for n in range(20))
    rows += "a,s,2024-03-01,,2,EUR\nb,s,2024-03-01,1,2,\n"
    strict = EVENTS + 'currency = "money"\nrequired = ["quantity", "currency"]\n'
    assert ingest(strict, rows)["quarantined"] == 2
    assert [row["rules"] for row in waiting(installation)] == [["quantity_missing"], ["currency_missing"]]

    filled = EVENTS + 'currency = "money"\nfill = { quantity = 1, currency = "USD" }\n'
    assert ingest(filled, rows)["accepted"] == 2, "the others are there already"


def test_items_and_users_wait_for_their_unreadable_cells_too(installation: Installation, ingest: Ingest) -> None:
    catalogue = '[items]\nfile = "*"\nitem_id = "sku"\ntitle = "name"\nprice = "price"\navailable = "stock"\n'
    goods = "".join(f"s{n},Tea,1.5,yes\n" for n in range(20))
    ingest(catalogue, f"sku,name,price,stock\n{goods}bad,Ice,cheap,yes\nodd,Ice,1,perhaps\n", "items")
    people = '[users]\nfile = "*"\nuser_id = "id"\nattributes = []\nconsent = "ok"\nconsent_at = "at"\n'
    known = "".join(f"u{n},yes,2024-03-01\n" for n in range(20))
    ingest(people, f"id,ok,at\n{known}yes,yes,soon\nno,no,soon\n", "users")

    rules = [row["rules"] for row in waiting(installation)]
    assert sorted(rules) == [["consent_at_unreadable"], ["price_unreadable"]]
    with installation.engine.connect() as connection:
        assert len(connection.execute(select(items.c.item_id)).all()) == 21
        assert connection.execute(select(users.c.consent).where(users.c.consent.is_(False))).all() == [(False,)]


def test_an_item_with_an_unreadable_stock_comes_in_without_one_and_its_cell_is_reported(
    installation: Installation, ingest: Ingest
) -> None:
    catalogue = '[items]\nfile = "*"\nitem_id = "sku"\ntitle = "name"\nprice = "price"\navailable = "stock"\n'
    goods = "".join(f"s{n},Tea,1.5,yes\n" for n in range(20))
    entry = ingest(catalogue, f"sku,name,price,stock\n{goods}odd,Ice,1,brak\nbad,Ice,cheap,brak\n", "items")

    assert (entry["routed"], entry["quarantined"]) == (21, 1)
    remark = "2 of 22 values of 'stock' (available) cannot be read as an answer (lines 22, 23); state what its words"
    assert f"{remark} mean in `available_words`." in remarks(installation)
    assert "brak" not in remarks(installation)
    assert [row["rules"] for row in waiting(installation)] == [["price_unreadable"]]
    with installation.engine.connect() as connection:
        assert connection.execute(select(items.c.in_stock).where(items.c.item_id == "odd")).scalar_one() is None


def test_how_a_file_was_decoded_is_recorded(installation: Installation, ingest: Ingest) -> None:
    rows = "customer,sku,at,pieces,amount\n" + "".join(f"u{n},Müsli,2024-03-01,1,2\n" for n in range(5))
    entry = ingest(EVENTS, rows.encode("cp1252"))

    assert entry["accepted"] == 5
    assert remarks(installation) == "Read as Windows-1252."
    with installation.engine.connect() as connection:
        assert connection.execute(select(items.c.item_id)).scalar() == "Müsli"
