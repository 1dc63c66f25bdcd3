"""Earlier values of items and users: changes by their own files, and by Segment calls on days of June."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from infra.installation import Installation
from infra.keys.identity import pseudonym
from models.datasets.known_attributes import BEGINNING, as_known
from tasks.ingest.reference.ingest_reference import ingest_items
from tasks.lake.reference_data import read_reference_data
from tasks.sources import table_files as files
from tests.tasks.ingest.events.test_segment_updates import Call, call, ingest, viewed

MAPPING = """
consent = "given"
consent_note = "a test"
[items]
file = "items*"
item_id = "id"
title = "name"
category = ["kind"]
[users]
file = "users*"
user_id = "id"
attributes = ["plan"]
"""


def june(day: int, hour: int = 0) -> int:
    return int(datetime(2024, 6, day, hour, tzinfo=UTC).timestamp())


def item(installation: Installation, moment: int, item_id: str = "cup") -> dict[str, Any]:
    known = read_reference_data(installation)
    rows = as_known(known.items, "item_id", known.item_history, moment).to_pylist()
    return next(row for row in rows if row["item_id"] == item_id)


def traits(installation: Installation, moment: int, user: str = "ann") -> dict[str, Any]:
    known = read_reference_data(installation)
    rows = as_known(known.users, "user_key", known.user_history, moment).to_pylist()
    return next(row for row in rows if row["user_key"] == pseudonym(user, installation.key))


@pytest.fixture
def mapping(tmp_path: Path) -> str:
    path = tmp_path / "shop.toml"
    path.write_text(MAPPING)
    return str(path)


def table(path: Path, **values: list[Any]) -> str:
    pq.write_table(pa.table(values), path)
    return str(path)


def test_the_first_catalogue_counts_from_the_beginning_and_a_change_from_its_import(
    installation: Installation, mapping: str, tmp_path: Path
) -> None:
    for number, kind in enumerate(("food", "food", "toys")):
        file = table(tmp_path / f"items-{number}.parquet", id=["cup", "jug"], name=["Cup", "Jug"], kind=[kind, "food"])
        ingest_items.fn(mapping, file)
    history = read_reference_data(installation).item_history.to_pylist()
    assert [(row["item_id"], row["name"], row["value"]) for row in history] == [
        ("cup", "category", "food"),
        ("cup", "category", "toys"),
    ]
    assert history[0]["since"] == BEGINNING
    assert item(installation, june(1))["category"] == "food"
    assert item(installation, history[1]["since"] + 1)["category"] == "toys"


@pytest.mark.parametrize("files", [1, 2, 5])
def test_attributes_in_calls_count_from_their_time_on(installation: Installation, tmp_path: Path, files: int) -> None:
    calls: list[Call] = [
        viewed(1, name="Cup", category="food", price=2.0),
        viewed(3, name="Cup", category="food", price=3.0),
        viewed(5, name="Cup", category="toys", price=3.0),
        call(6, "identify", True, "ann", traits={"plan": "red"}),
        viewed(7, name="Cup", category="food", price=3.0),
        call(8, "identify", True, "ann", traits={"plan": "gold"}),
    ]
    size = -(-len(calls) // files)
    for start in range(0, len(calls), size):
        ingest(tmp_path, *calls[start : start + size])
    result = [item(installation, june(day, 12)) for day in (1, 2, 3, 4, 5, 6, 7)]
    assert [row["category"] for row in result] == ["food", "food", "food", "food", "toys", "toys", "food"]
    assert [row["price"] for row in result] == [2, 2, 3, 3, 3, 3, 3]
    assert [traits(installation, june(day, 12)).get("plan") for day in (5, 6, 7, 8)] == [None, "red", "red", "gold"]


def test_a_call_that_comes_late_counts_once_it_is_there_and_never_over_a_newer_one(
    installation: Installation, tmp_path: Path
) -> None:
    first, late, newer = viewed(1, brand="a"), viewed(2, brand="b"), viewed(3, brand="c")
    late["receivedAt"] = "2024-06-05T00:00:00Z"
    stale = viewed(2, True, "bob", brand="stale", product_id="pan") | {"receivedAt": "2024-06-05T00:00:00Z"}
    ingest(
        tmp_path,
        first,
        late,
        viewed(1, True, "bob", brand="x", product_id="pan"),
        viewed(4, True, "bob", brand="y", product_id="pan"),
        stale,
    )
    assert [item(installation, june(day, 12))["brand"] for day in (1, 4, 5)] == ["a", "a", "b"]
    assert [item(installation, june(day, 12), "pan")["brand"] for day in (1, 4, 6)] == ["x", "y", "y"]
    ingest(tmp_path, newer | {"receivedAt": "2024-06-06T00:00:00Z"})
    assert item(installation, june(7))["brand"] == "c"


def test_no_history_of_a_user_who_refuses_is_kept(installation: Installation, tmp_path: Path) -> None:
    message = [call(day, "identify", True, "ann", traits={"plan": plan}) for day, plan in ((1, "red"), (2, "gold"))]
    ingest(tmp_path, viewed(1), *message)
    assert len(read_reference_data(installation).user_history) == 2
    ingest(tmp_path, call(3, "page", False, "ann"))
    with installation.engine.connect() as connection:
        assert not connection.execute(text("SELECT * FROM user_history")).all()


@pytest.mark.parametrize("table_first", [True, False])
def test_a_first_table_counts_from_the_beginning_whether_it_comes_before_or_after_calls(
    installation: Installation, mapping: str, tmp_path: Path, table_first: bool
) -> None:
    file = table(tmp_path / "items.parquet", id=["cup"], name=["By the table"], kind=["food"])
    steps = [lambda: ingest(tmp_path, viewed(3, name="By a call")), lambda: ingest_items.fn(mapping, file)]
    for step in reversed(steps) if table_first else steps:
        step()
    now = int(datetime.now(UTC).timestamp()) + 60
    assert [item(installation, moment)["title"] for moment in (june(2), june(4), now)] == [
        "By the table",
        "By a call",
        "By the table",
    ]
    assert read_reference_data(installation).items["title"].to_pylist() == ["By the table"]


DATED = """
[items]
file = "lines*"
item_id = "code"
title = "text"
price = "each"
category = ["kind"]
updated_at = "Stand"
choose = { title = "latest", price = "latest" }
"""
Line = tuple[str, str | None, float | None, str, str | None]


def lines(folder: Path, *rows: Line, name: str = "lines") -> None:
    (folder / "lines.toml").write_text(DATED)
    names = ("code", "text", "each", "kind", "Stand")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    ingest_items.fn(str(folder / "lines.toml"), table(folder / f"{name}.parquet", **columns))


def listed(installation: Installation, moment: int, item_id: str = "cup") -> tuple[Any, ...]:
    result = item(installation, moment, item_id)
    return result["title"], result["price"], result["category"]


def now() -> int:
    return int(datetime.now(UTC).timestamp()) + 60


CUP: tuple[Line, ...] = (
    ("cup", "Cup", 2.0, "food", "2024-06-03"),
    ("cup", "Cup", 3.0, "food", "2024-06-05"),
    ("cup", "Cup", 2.0, "food", "2024-06-07"),
    ("cup", "Mug", 4.0, "toys", "2024-06-09"),
    ("jug", "Jug", 1.0, "food", "2024-06-04"),
)


@pytest.mark.parametrize("chunk", [2, 100])
@pytest.mark.parametrize("order", [1, -1])
def test_rows_with_times_count_since_them_and_the_first_from_the_beginning(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, order: int
) -> None:
    monkeypatch.setattr(files, "CHUNK_ROWS", chunk)
    lines(tmp_path, *CUP[::order])
    assert [listed(installation, june(day, 12)) for day in (1, 3, 5, 7, 9)] == [
        ("Cup", 2.0, "food"),
        ("Cup", 2.0, "food"),
        ("Cup", 3.0, "food"),
        ("Cup", 2.0, "food"),
        ("Mug", 4.0, "toys"),
    ]
    last = {1: "toys", -1: "food"}[order]
    assert listed(installation, now()) == ("Mug", 4.0, last), "the category is chosen by the last row"
    assert listed(installation, june(1), "jug") == listed(installation, now(), "jug") == ("Jug", 1.0, "food")
    current = read_reference_data(installation).items.select(["title", "price", "category"]).to_pylist()
    assert [tuple(row.values()) for row in current] == [("Mug", 4.0, last), ("Jug", 1.0, "food")]


def test_a_later_table_counts_since_the_times_it_states(installation: Installation, tmp_path: Path) -> None:
    lines(tmp_path, CUP[0], CUP[4])
    lines(tmp_path, CUP[0], ("cup", "Cup", 5.0, "food", "2024-06-06"), CUP[4], name="lines-2")
    assert [listed(installation, june(day, 12))[1] for day in (1, 5, 6)] == [2.0, 2.0, 5.0]
    lines(tmp_path, CUP[0], ("cup", "Cup", 6.0, "food", "2024-06-04"), name="lines-3")
    assert [listed(installation, june(day, 12))[1] for day in (3, 4, 6)] == [2.0, 6.0, 5.0]
    assert listed(installation, now())[1] == 6.0, "from its import on a table counts as a whole"
    assert read_reference_data(installation).items["price"].to_pylist() == [6.0, 1.0]


def test_rows_without_a_time_or_with_one_to_come_count_as_those_of_other_tables(
    installation: Installation, tmp_path: Path
) -> None:
    lines(tmp_path, CUP[0], ("jug", "Jug", 1.0, "food", None), ("pan", "Pan", 1.0, "food", "2024-06-04"))
    later: list[Line] = [
        ("cup", "Cup", 9.0, "food", "2999-01-01"),
        ("jug", "Jug", 7.0, "food", None),
        ("pan", None, None, "food", None),
    ]
    lines(tmp_path, CUP[0], *later, name="lines-2")
    yesterday = now() - 86_400
    assert [listed(installation, at)[1] for at in (june(4), yesterday, now())] == [2.0, 2.0, 9.0]
    assert [listed(installation, at, "jug")[1] for at in (june(1), yesterday, now())] == [1.0, 1.0, 7.0]
    assert listed(installation, yesterday, "pan")[1] == 1.0


def test_rows_that_break_a_rule_state_nothing(installation: Installation, tmp_path: Path) -> None:
    more: tuple[Line, ...] = tuple((f"i{n}", "Thing", 1.0, "food", "2024-06-01") for n in range(30))
    lines(tmp_path, CUP[0], ("cup", "Wrong", -1.0, "food", "2024-06-04"), *more)
    assert listed(installation, june(5)) == ("Cup", 2.0, "food")
