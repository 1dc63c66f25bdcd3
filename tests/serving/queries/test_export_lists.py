"""Published lists become files: complete, of one batch, and without those who do not consent."""

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, insert, text

from infra.database.engine import engine
from infra.database.schema.schema import items, users
from infra.keys.identity import remember
from models.errors import TailorbirdError
from serving.queries import export_lists as module
from serving.queries.export_lists import export_lists
from tests.published import published, shelf

TITLE = 'A "cup", =1+1'


@pytest.fixture
def filled(database: str) -> Engine:
    """Lists of two users who agree, of one who does not, and of one item."""
    opened = engine(database)
    goods = [{"item_id": name, "title": TITLE, "attributes": {}, "available": True, "batch_id": "b"} for name in "ab"]
    agreed = {"attributes": {}, "consent_source": "asked", "batch_id": "b"}
    with opened.begin() as connection:
        connection.execute(insert(items), goods)
        remember(connection, pa.table({"user_id": ["ann", "bob", "eve"], "user_key": ["k1", "k2", "k3"]}))
        people = [{"user_key": key, "consent": key != "k3", **agreed} for key in ("k1", "k2", "k3")]
        connection.execute(insert(users), people)
    lists = {key: [("a", 2.0, "why"), ("b", 1.0, "why")] for key in ("k1", "k2", "k3")}
    published(opened, lists, shelf("run", "email", k=2))
    published(opened, {"a": [("b", 1.0, "why")]}, shelf("run", "similar", k=1, about="item"))
    return opened


@pytest.mark.parametrize("part", [1, 3, 50_000])
def test_lists_are_written_by_the_ids_of_users_in_order(
    filled: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(module, "_PART", part)
    written = export_lists(filled, "email", tmp_path / "email.csv")
    assert written == {"file": str(tmp_path / "email.csv"), "lists": 2, "rows": 4}
    with (tmp_path / "email.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["user_id"], row["rank"], row["item_id"], row["title"]) for row in rows] == [
        (user, rank, item, TITLE) for user in ("ann", "bob") for rank, item in (("1", "a"), ("2", "b"))
    ]
    export_lists(filled, "email", tmp_path / "email.parquet")
    table = pq.read_table(tmp_path / "email.parquet")
    assert table["user_id"].to_pylist() == ["ann", "ann", "bob", "bob"]
    assert table["score"].to_pylist() == [2.0, 1.0, 2.0, 1.0]
    assert {file.name for file in tmp_path.iterdir()} == {"email.csv", "email.parquet"}
    assert (tmp_path / "email.csv").stat().st_mode & 0o077 == 0


def test_lists_about_items_name_the_item_that_they_are_for(filled: Engine, tmp_path: Path) -> None:
    export_lists(filled, "similar", tmp_path / "similar.parquet")
    table = pq.read_table(tmp_path / "similar.parquet")
    assert table.select(["for_item_id", "rank", "item_id"]).to_pylist() == [
        {"for_item_id": "a", "rank": 1, "item_id": "b"}
    ]


def test_an_export_that_cannot_be_written_is_refused_in_a_sentence_and_leaves_no_file(
    filled: Engine, tmp_path: Path
) -> None:
    with pytest.raises(TailorbirdError, match=r"ends neither with \.csv nor with \.parquet"):
        export_lists(filled, "email", tmp_path / "email.txt")
    with pytest.raises(TailorbirdError, match="nowhere has no published lists"):
        export_lists(filled, "nowhere", tmp_path / "nowhere.csv")
    with filled.begin() as connection:
        connection.execute(text("DELETE FROM users"))
    assert export_lists(filled, "email", tmp_path / "none.csv")["rows"] == 0
    assert [file.name for file in tmp_path.iterdir()] == ["none.csv"]
