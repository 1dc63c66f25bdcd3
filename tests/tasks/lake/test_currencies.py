"""Orders in two currencies: stated once, with lines to paste, and no alarm about prices."""

from pathlib import Path
from typing import Any

import pytest

from infra.installation import Installation
from serving.terminal import screen
from tasks.ingest.check.check_mapping import check_mapping
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.reference.ingest_reference import ingest_items
from tasks.lake.find_non_goods import find_currencies, find_suspects

MAPPING = """
name = "shop"
consent = "given"
consent_note = "by the terms of the shop"

[events]
file = "orders*.csv"
user_id = "user"
item_id = "item"
occurred_at = "at"
value = "Cena"
quantity = "pieces"
currency = "Měna"
constants = { event_type = "purchase" }

[items]
file = "items.csv"
item_id = "item"
title = "title"
"""
REPLACED = 'value = "Cena"\n', 'currency = "Měna"\n'


def shop(folder: Path, mapping: str = MAPPING) -> str:
    """Write two months of orders of 20 games, a quarter in EUR at a rate of 25, and their catalogue."""
    folder.mkdir(exist_ok=True)
    (folder / "shop.toml").write_text(mapping)
    goods = [f"{n},Game {n}" for n in range(20)]
    (folder / "items.csv").write_text("\n".join(["item,title", *goods]) + "\n")
    for month in (1, 2):
        rows = []
        for n in range(1200):
            price, currency = (100 + 10 * (n % 20), "€" if n % 8 else "eur") if n // 20 % 4 == 0 else (0, "CZK")
            at = f"2024-0{month}-{n % 28 + 1:02}T{n // 28 % 24:02}:{n // 700:02}:00Z"
            rows.append(f"user{n % 97},{n % 20},{at},{price or 25 * (100 + 10 * (n % 20))},1,{currency}")
        (folder / f"orders-{month}.csv").write_text("\n".join(["user,item,at,Cena,pieces,Měna", *rows]) + "\n")
    return str(folder / "shop.toml")


def converted(write: str) -> str:
    """Return the mapping with the lines of a suggestion in the place of its own."""
    value, currency = write.splitlines()
    return MAPPING.replace(REPLACED[0], f"{value}\n").replace(REPLACED[1], f"{currency}\n")


def guesses(actual: Any) -> list[Any]:
    every = [guess for table in actual["tables"] for guess in table["suspicions"]]
    return [guess for guess in every if guess["id"] == "several_currencies"]


def test_a_check_states_several_currencies_once_and_the_lines_convert_them(tmp_path: Path) -> None:
    [guess] = guesses(check_mapping(shop(tmp_path), [str(tmp_path)]))
    assert "Amounts are in several currencies: CZK (75.0%), EUR (25.0%). They are added as they are" in guess["says"]
    assert "The rates are guesses from the prices of the same items: correct them." in guess["says"]
    assert "in ('EUR', '€', 'EURO', 'EUROS'), 25, 1), 2)" in guess["write"]

    actual = check_mapping(shop(tmp_path / "converted", converted(guess["write"])), [str(tmp_path / "converted")])
    assert actual["accepted"]
    assert not any(table["suspicions"] for table in actual["tables"])
    events = next(table for table in actual["tables"] if table["part"] == "events")
    assert [(row["value"], row["currency"]) for row in events["examples"]] == [
        (2500, "CZK"),
        (2750, "CZK"),
        (3000, "CZK"),
    ]


def test_an_ingest_states_it_once_and_prices_in_two_currencies_are_not_odd(
    installation: Installation,  # noqa: ARG001
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    mapping = shop(tmp_path)
    ingest_items.fn(mapping, str(tmp_path / "items.csv"))
    files = [str(tmp_path / f"orders-{month}.csv") for month in (1, 2)]
    lines = [ingest_events.fn(mapping, file) | {"file": file} for file in files]
    assert sum(line["accepted"] for line in lines) == 2400
    screen.show("ledger", find_suspects.fn(mapping, find_currencies(mapping, lines)))
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("Amounts are in several currencies: CZK (75.0%), EUR (25.0%).") == 1
    assert "currency = \"'CZK'\"" in shown.replace("{ expr = ", "").replace(" }", "")
    assert "odd by prices" not in shown

    [guess] = guesses(check_mapping(mapping, [str(tmp_path)]))
    [*_, line] = find_currencies(shop(tmp_path, converted(guess["write"])), lines)
    assert line["currencies"]["write"] == "", "the mapping converts already; earlier batches do not"
    assert "Undo the batches that came in with another currency" in line["currencies"]["advice"]
