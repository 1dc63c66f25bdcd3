"""A file without known users gets a remark, and users without an answer are counted apart from refusals."""

from pathlib import Path
from typing import Any

import pytest

from infra.installation import Installation
from serving.queries import ledger
from serving.terminal import screen
from tasks.ingest.events.ingest_event_files import ingest_event_files
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.reference.ingest_items import ingest_items
from tasks.ingest.reference.ingest_users import ingest_users

_MAPPING = """
consent = "opt-in"

[events]
file = "orders*.csv"
event_id = "order"
user_id = "user"
item_id = "item"
occurred_at = "at"
constants = { event_type = "purchase" }

[items]
file = "items.csv"
item_id = "item"
title = "title"

[users]
file = "customers.csv"
user_id = "user"
consent = "agreed"
attributes = ["town"]
"""


@pytest.fixture
def folder(installation: Installation, tmp_path: Path) -> Path:  # noqa: ARG001 - it has to be there
    """Create a shop with 40 customers, of which every fourth refuses."""
    (tmp_path / "shop.toml").write_text(_MAPPING)
    (tmp_path / "items.csv").write_text("item,title\n" + "".join(f"cup{n},Cup {n}\n" for n in range(30)))
    answers = "".join(f"ann{n},{'no' if n % 4 == 0 else 'yes'},Ulm\n" for n in range(40))
    (tmp_path / "customers.csv").write_text("user,agreed,town\n" + answers)
    ingest_items.fn(str(tmp_path / "shop.toml"), str(tmp_path / "items.csv"))
    ingest_users.fn(str(tmp_path / "shop.toml"), str(tmp_path / "customers.csv"))
    return tmp_path


def orders(folder: Path, name: str, users: list[str], item: str = "cup") -> str:
    rows = [f"{name}{n},{user},{item}{n % 30},2024-06-03T10:00:00Z" for n, user in enumerate(users)]
    (folder / f"orders-{name}.csv").write_text("\n".join(["order,user,item,at", *rows]) + "\n")
    return str(folder / f"orders-{name}.csv")


def ingest(folder: Path, name: str, users: list[str], item: str = "cup") -> dict[str, Any]:
    line: dict[str, Any] = ingest_events.fn(str(folder / "shop.toml"), orders(folder, name, users, item))
    return line


CUSTOMERS = [f"ann{n}" for n in range(40)]
STRANGERS = [f"bob{n}" for n in range(40)]


def test_a_file_of_another_shop_is_pointed_out_in_the_result_and_the_ledger(
    installation: Installation, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ingest(folder, "a", STRANGERS, "pan")
    assert (line["accepted"], line["suppressed"]) == (0, 40)
    requested = "None of its 40 users and none of its items is known: is it another shop's file?"
    assert requested in line["detail"]
    assert requested in ledger.ledger(installation.engine)[0]["detail"]
    screen.show("ingest", [line | {"file": "orders-a.csv"}])
    assert requested in " ".join(capsys.readouterr().out.split())


def test_customers_who_refused_are_distinguished_from_users_who_never_answered(folder: Path) -> None:
    assert ingest(folder, "a", CUSTOMERS)["detail"] is None
    line = ingest(folder, "b", [*CUSTOMERS, *STRANGERS[:5]])
    assert (line["accepted"], line["suppressed"]) == (30, 15)
    assert line["detail"] == "5 suppressed rows are of users whose answer about consent is not known."


def test_an_empty_answer_in_the_file_of_users_is_no_refusal(folder: Path) -> None:
    (folder / "more.csv").write_text("user,agreed,town\nbob0,,Ulm\nbob1,no,Ulm\nbob2,yes,Ulm\n")
    ingest_users.fn(str(folder / "shop.toml"), str(folder / "more.csv"))
    line = ingest(folder, "a", STRANGERS[:4])
    assert (line["accepted"], line["suppressed"]) == (1, 3)
    assert line["detail"] == "2 suppressed rows are of users whose answer about consent is not known."


def test_some_new_users_and_the_first_file_of_all_raise_no_question(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text(_MAPPING.replace('"opt-in"', '"given"\nconsent_note = "by the terms"'))
    (tmp_path / "items.csv").write_text("item,title\n" + "".join(f"cup{n},Cup {n}\n" for n in range(30)))
    ingest_items.fn(str(tmp_path / "shop.toml"), str(tmp_path / "items.csv"))
    assert ingest(tmp_path, "a", STRANGERS)["detail"] is None
    assert ingest(tmp_path, "b", [*CUSTOMERS, STRANGERS[0]])["detail"] is None
    assert ingest(tmp_path, "c", ["cleo"])["detail"] is None
    assert "None of its 40 users is known" in ingest(tmp_path, "d", [f"eve{n}" for n in range(40)])["detail"]
    assert len(ledger.ledger(installation.engine)) == 5


def test_files_of_a_group_are_pointed_out_one_by_one(folder: Path) -> None:
    files = [orders(folder, "a", CUSTOMERS), orders(folder, "b", STRANGERS), orders(folder, "c", STRANGERS)]
    lines = ingest_event_files.fn(str(folder / "shop.toml"), files)["lines"]
    assert [("is it another shop's file" in (line["detail"] or "")) for line in lines] == [False, True, True]
