"""Tests that all statements and files in docs/recommendations.md work on a published database."""

import csv
import io
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, insert, text

from infra.configuration.placements import configured
from infra.configuration.settings import Settings, load
from infra.database.engine import engine
from infra.database.schema.schema import items, users
from infra.installation import Installation
from infra.keys.identity import remember
from infra.services.database_access.logins import address
from models.lists.rules.placement_config import KINDS, Placement, Rules, placements
from tasks.scoring import batch_state
from tests.database_roles import create_roles
from tests.published import Entries, published, shelf

PAGE = (Path(__file__).parents[2] / "docs" / "recommendations.md").read_text()
TEN: Entries = [("1082185", 3.0, "because"), ("995242", 2.0, "so"), ("7", 1.0, "so")]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def store(installation: Installation) -> Iterator[Engine]:
    """Publish lists of users 1 and 2 at home, by e-mail and of due items, and lists about two items.

    Item 7 is no merchandise, and item 8 is sold out.
    """
    goods = [("1082185", "Bananas", 0.8), ("995242", "Milk", 1.5), ("7", "Tea, green", None), ("8", "Rice", 2)]
    agreed = {"attributes": {}, "consent": True, "consent_source": "asked", "batch_id": "b"}
    with installation.engine.begin() as connection:
        for item, title, price in goods:
            row = {"item_id": item, "title": title, "price": price, "available": item != "7"}
            row["in_stock"] = {"8": False, "995242": True}.get(item)
            connection.execute(insert(items).values(row | {"attributes": {}, "batch_id": "b"}))
        remember(connection, pa.table({"user_id": ["1", "2"], "user_key": ["ann", "bob"]}))
        connection.execute(insert(users), [{"user_key": key, **agreed} for key in ("ann", "bob")])
    for name in ("home", "email"):
        published(installation.engine, {"ann": TEN, "bob": TEN[1:]}, shelf(f"of {name}", name))
    published(installation.engine, {"ann": TEN[:1], "bob": []}, shelf("due", "buy-again"))
    published(installation.engine, {"1082185": TEN[1:]}, shelf("pairs", "goes-well-with", about="item"))
    create_roles(installation)
    yield installation.engine
    for name in ("reader", "operator"):
        engine(address(installation.settings, name)).dispose()


@pytest.fixture
def answers(store: Engine) -> dict[str, list[Any]]:  # noqa: ARG001 -- it has to be there
    """Run the statements of the page in order; return the rows by statement."""
    rows: dict[str, list[Any]] = {}
    for statement in blocks("sql"):
        if statement.startswith("COPY"):
            continue
        with role(statement).begin() as connection:
            result = connection.exec_driver_sql(statement)
            rows[statement] = result.mappings().all() if result.returns_rows else [result.rowcount]
    return rows


def role(statement: str) -> Engine:
    """Return the database with the role that the page names, by default the reader."""
    return engine(address(load(), "operator" if statement.startswith("-- as the operator") else "reader"))


def about(answers: dict[str, list[Any]], *words: str) -> list[Any]:
    (matching,) = (rows for statement, rows in answers.items() if all(word in statement for word in words))
    return matching


def test_the_ten_best_of_a_user_come_with_titles_and_prices_and_can_be_limited_to_goods_in_stock(
    answers: dict[str, list[Any]],
) -> None:
    rows = about(answers, "rank <= 10")
    assert [(row["rank"], row["title"], row["price"], row["reason"]) for row in rows] == [
        (1, "Bananas", 0.8, "because"),
        (2, "Milk", 1.5, "so"),
        (3, "Tea, green", None, "so"),
    ]
    assert [row["title"] for row in about(answers, "items.available")] == ["Bananas", "Milk"]
    assert [row["title"] for row in about(answers, "in_stock IS NOT FALSE")] == ["Bananas", "Milk"]


def test_an_email_tool_gets_one_row_a_user(answers: dict[str, list[Any]]) -> None:
    rows = about(answers, "json_agg")
    assert [(row["user_id"], row["titles"]) for row in rows] == [
        ("1", ["Bananas", "Milk", "Tea, green"]),
        ("2", ["Milk", "Tea, green"]),
    ]
    assert rows[1]["products"][0] == {"id": "995242", "title": "Milk", "price": 1.5, "why": "so"}


def test_lists_of_items_reasons_of_short_lists_ledger_and_freshness_are_read(answers: dict[str, list[Any]]) -> None:
    assert [row["item_id"] for row in about(answers, "for_item_id")] == ["995242", "7"]
    assert [tuple(row.values()) for row in about(answers, "lists.shortfall_reason")] == [("nothing more", 2)]
    (batch,) = about(answers, "FROM recommendation_batches")
    assert (batch["status"], batch["lists"], batch["recommendations"]) == (batch_state.PUBLISHED, 2, 5)
    rows = about(answers, "checked_at")
    assert [row["placement"] for row in rows] == ["buy-again", "email", "goes-well-with", "home"]
    assert all(0 <= row["hours"] < 1 for row in rows)


def test_exclusions_are_written_once_shown_and_taken_back(answers: dict[str, list[Any]], store: Engine) -> None:
    assert about(answers, "INSERT INTO exclusions") == [1]
    (row,) = about(answers, "SELECT kind, value, since")
    assert (row["kind"], row["value"]) == ("category", "GROCERY|TOBACCO")
    assert about(answers, "DELETE FROM exclusions") == [1]
    with pytest.raises(Exception, match="ck_exclusions_kind"), store.begin() as connection:
        connection.execute(text("INSERT INTO exclusions (user_key, kind, value) VALUES ('ann', 'brnad', 'A')"))


LINES = [
    ["user_id", "rank", "item_id", "title", "price"],
    ["1", "1", "1082185", "Bananas", "0.8"],
    ["1", "2", "995242", "Milk", "1.5"],
    ["1", "3", "7", "Tea, green", ""],
    ["2", "1", "995242", "Milk", "1.5"],
    ["2", "2", "7", "Tea, green", ""],
]


@pytest.mark.usefixtures("store")
def test_lists_are_copied_as_csv() -> None:
    (statement,) = (block for block in blocks("sql") if block.startswith("COPY"))
    target = io.StringIO()
    with role(statement).connect() as connection:
        connection.connection.cursor().copy_expert(statement, target)
    assert list(csv.reader(target.getvalue().splitlines())) == LINES


@pytest.mark.usefixtures("store")
def test_lists_are_copied_as_csv_by_the_client(tmp_path: Path) -> None:
    (command,) = (block for block in blocks("sh") if "\\copy" in block)
    assert command.startswith("tailorbird ")
    program = str(Path(sys.executable).with_name("tailorbird"))
    subprocess.run(["sh", "-c", command.replace("tailorbird", program, 1)], cwd=tmp_path, check=True)  # noqa: S607
    assert list(csv.reader((tmp_path / "email.csv").read_text().splitlines())) == LINES


@pytest.mark.usefixtures("store")
def test_lists_are_written_as_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (program,) = blocks("python")
    exec(compile(program, "docs/recommendations.md", "exec"), {})  # noqa: S102 - our own page
    table = pq.read_table(tmp_path / "email.parquet")
    assert table["title"].to_pylist() == ["Bananas", "Milk", "Tea, green", "Milk", "Tea, green"]
    assert table["price"].to_pylist() == [0.8, 1.5, None, 1.5, None]
    assert table["rank"].to_pylist() == [1, 2, 3, 1, 2]


def test_the_file_on_the_page_can_be_used_and_has_every_key() -> None:
    (block,) = blocks("toml")
    file = tomllib.loads(block)
    assert list(placements(file)) == ["newsletter", "also-like-this"]
    assert {key for table in file.values() for key in table} == set(Placement.model_fields)
    assert set(file["newsletter"]["rules"]) == set(Rules.model_fields)


def test_every_key_and_every_placement_has_a_line() -> None:
    names = [*Placement.model_fields, *Rules.model_fields, *KINDS, *configured(Settings(placements=""))]
    assert [name for name in names if f"\n| `{name}` |" not in PAGE] == []
    states = (
        batch_state.LOADING,
        batch_state.CHECKED,
        batch_state.ATTACHED,
        batch_state.PUBLISHED,
        batch_state.RETIRED,
        batch_state.REFUSED,
    )
    assert [state for state in states if f"\n| `{state}` |" not in PAGE] == []
