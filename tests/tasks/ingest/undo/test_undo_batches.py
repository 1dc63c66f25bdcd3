"""After an undo all tables are as without the batch, except for refusals, which stay."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as some
from sqlalchemy import text

from infra.database.schema.schema import LEDGER
from infra.installation import Installation
from infra.keys.identity import pseudonym
from infra.overview.situation import read
from models.errors import TailorbirdError
from serving.queries import ledger
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.ingest.undo.undo_batches import preview, undo_batches
from tests.examples import FEW
from tests.tasks.ingest.events.test_segment_updates import Call, call, ingest, viewed
from tests.tasks.ingest.rows.test_order_of_files import forget_all
from tests.tasks.ingest.stored import lake

_KNOWN = {
    "items": "SELECT * FROM items ORDER BY 1",
    "item_history": "SELECT * FROM item_history ORDER BY 1, 2, 3",
    "users": "SELECT * FROM users ORDER BY 1",
    "user_history": "SELECT * FROM user_history ORDER BY 1, 2, 3",
    "people": "SELECT user_key, user_id FROM identity.users ORDER BY 1",
    "aliases": "SELECT * FROM aliases ORDER BY 1, 2",
    "quarantine": """SELECT batch_id, row_number, rule_ids, payload FROM quarantine WHERE replayed_at IS NULL
        ORDER BY 1, 2""",
    "ledger": f"SELECT batch_id, {', '.join(LEDGER)} FROM ingest_batches WHERE status = 'committed' ORDER BY 1",
}
REASON = ("ann", "a test")
_PEOPLE, _DAYS = some.sampled_from(["ann", "bob", "cleo"]), some.integers(1, 5)
_BLOCK = some.fixed_dictionaries(
    {"product_id": some.sampled_from(["cup", "pan"])},
    optional={
        "name": some.sampled_from(["Old", "New"]),
        "price": some.sampled_from([3.0, 5.0]),
        "brand": some.sampled_from(["Clay", "Iron"]),
        "sku": some.sampled_from(["a", "b"]),
    },
)


def everything(installation: Installation) -> dict[str, Any]:
    events = lake(installation)
    for row in events:
        del row["late"]  # depends on the earlier events of that time
    with installation.engine.connect() as connection:
        actual = {name: [dict(row) for row in connection.execute(text(sql)).mappings()] for name, sql in _KNOWN.items()}
    return actual | {"lake": events}


def begin_again(installation: Installation) -> None:
    forget_all(installation)
    with installation.engine.begin() as connection:
        connection.execute(text("TRUNCATE item_history, user_history"))


def undo(*batches: str, source: str | None = None) -> dict[str, Any]:
    result: dict[str, Any] = undo_batches.fn(batches, source, *REASON)
    return result


def identified(day: int, user: str, **traits: str) -> Call:
    return call(day, "identify", True, user, traits=traits, anonymousId=f"phone of {user}")


_CALL = some.one_of(
    some.builds(lambda day, user, block: viewed(day, True, user, **block), _DAYS, _PEOPLE, _BLOCK),
    some.builds(lambda day, user, plan: identified(day, user, plan=plan), _DAYS, _PEOPLE, some.sampled_from("xyz")),
)
_FILE = some.lists(_CALL, min_size=1, max_size=6)


@FEW
@given(undone=_FILE, stored=_FILE, earlier=some.booleans())
def test_remaining_rows_are_those_that_the_other_file_alone_brings(
    installation: Installation, tmp_path: Path, undone: Sequence[Call], stored: Sequence[Call], earlier: bool
) -> None:
    """Events, items, users, devices, histories, quarantine and counts, whichever of the files came first."""
    sound = [viewed(6, True, f"user{n}", product_id="mug") for n in range(60)]  # conflicts are few of the rows
    files = {1: [*undone, *sound], 2: [*stored, *[row | {"messageId": f"k{row['messageId']}"} for row in sound]]}
    begin_again(installation)
    ingest(tmp_path, *files[2], number=2)
    single = everything(installation)
    begin_again(installation)
    lines = {number: ingest(tmp_path, *files[number], number=number) for number in ((1, 2) if earlier else (2, 1))}
    if lines[1]["batch_id"] == lines[2]["batch_id"]:
        return
    undo(lines[1]["batch_id"])
    remaining = everything(installation)
    conflicts = [row for row in remaining["quarantine"] if row["rule_ids"] == ["id_conflict"]]
    if not conflicts:  # such a row waits, because the undone batch had its id for another event: a replay takes it
        assert remaining == single


def test_an_undone_file_comes_in_again_with_the_same(installation: Installation, tmp_path: Path) -> None:
    first = ingest(tmp_path, viewed(1), identified(2, "ann", plan="gold"), viewed(3, True, "bob"), number=1)
    before = everything(installation)
    undo(first["batch_id"])
    remaining = everything(installation)
    assert not [row for name, rows in remaining.items() for row in rows]
    again = ingest(tmp_path, viewed(1), identified(2, "ann", plan="gold"), viewed(3, True, "bob"), number=1)
    assert again == first
    assert everything(installation) == before


def test_a_batch_that_comes_in_again_has_the_new_time_and_keeps_the_record_of_the_undo(
    installation: Installation, tmp_path: Path
) -> None:
    batch = ingest(tmp_path, viewed(1), number=1)["batch_id"]
    [before] = ledger.ledger(installation.engine)
    undo(batch)
    ingest(tmp_path, viewed(1), number=1)
    [line], whole = ledger.ledger(installation.engine), ledger.batch(installation.engine, batch)

    assert line["started_at"] > before["started_at"]
    [change] = line["changes"]
    assert (change["action"], change["actor"], change["reason"]) == ("undo", "ann", "a test")
    assert before["started_at"] < change["at"] < line["started_at"]
    assert (whole["started_at"], whole["changes"]) == (line["started_at"], [change])


def test_an_undo_after_which_all_events_stay_asks_for_no_new_data_set(
    installation: Installation, tmp_path: Path
) -> None:
    first = ingest(tmp_path, viewed(1), viewed(2), number=1)["batch_id"]
    ingest(tmp_path, viewed(1), viewed(2), viewed(3), number=2)
    with installation.engine.begin() as connection:
        connection.execute(text("INSERT INTO datasets (version, manifest, created_at) VALUES ('d1', '{}', now())"))
    before = preview([first])
    result = undo(first)

    assert [(line["events_removed"], line["events_kept"]) for line in result["batches"]] == [(0, 2)]
    assert result["datasets"] == before["datasets"] == []
    actual = read(installation.engine, installation.settings)
    assert (actual.new_events, actual.undone_in_dataset) == (0, ())


def test_an_undo_that_removes_an_event_names_the_data_sets_that_contain_it(
    installation: Installation, tmp_path: Path
) -> None:
    batch = ingest(tmp_path, viewed(1), number=1)["batch_id"]
    with installation.engine.begin() as connection:
        connection.execute(text("INSERT INTO datasets (version, manifest, created_at) VALUES ('d1', '{}', now())"))
    assert preview([batch])["datasets"] == ["d1"]
    assert undo(batch)["datasets"] == ["d1"]
    assert read(installation.engine, installation.settings).undone_in_dataset == (batch,)
    again = ingest(tmp_path, viewed(1), number=1)
    assert read(installation.engine, installation.settings).new_events == again["accepted"] == 1
    undo(batch)
    assert read(installation.engine, installation.settings).undone_in_dataset == (batch,)


def test_a_refusal_is_never_undone(installation: Installation, tmp_path: Path) -> None:
    ingest(tmp_path, viewed(1), identified(1, "ann", plan="gold"), number=1)
    refused = ingest(tmp_path, call(2, "page", False), viewed(3, True, "bob"), number=2)
    result = undo(refused["batch_id"])
    assert result["batches"][0]["refusals_kept"] == 1
    [ann] = everything(installation)["users"]
    assert (ann["user_key"], ann["consent"], ann["attributes"]) == (pseudonym("ann", installation.key), False, {})


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_a_refusal_that_the_undone_file_answered_counts_again(
    installation: Installation, tmp_path: Path, order: Sequence[int]
) -> None:
    files = {1: [viewed(3)], 2: [viewed(1), call(2, "page", False)]}
    batches = {number: ingest(tmp_path, *files[number], number=number)["batch_id"] for number in order}
    assert everything(installation)["users"][0]["consent"] is True
    undo(batches[1])
    assert everything(installation)["users"][0]["consent"] is False


def test_a_preview_states_what_would_go_and_changes_nothing(installation: Installation, tmp_path: Path) -> None:
    first = ingest(tmp_path, viewed(1), viewed(2, True, "bob", product_id="pan"), number=1)
    ingest(tmp_path, viewed(3, price=9.0), number=2)
    before = everything(installation)
    [line] = preview([first["batch_id"]])["batches"]
    assert everything(installation) == before
    assert (line["events_removed"], line["items_removed"], line["users_removed"]) == (2, 1, 1)


def test_a_source_is_undone_as_a_whole(installation: Installation, tmp_path: Path) -> None:
    for number in range(3):
        ingest(tmp_path, viewed(number + 1), viewed(1), number=number)
    assert len(undo(source="segment")["batches"]) == 3
    assert not [row for rows in everything(installation).values() for row in rows]


@pytest.mark.parametrize(
    ("batches", "source", "message"),
    [
        ([], None, "Name the batches"),
        (["nothing"], None, "There is no batch 'nothing'"),
        ([], "nobody", "The source 'nobody' has no batch"),
    ],
)
@pytest.mark.usefixtures("installation")
def test_an_impossible_undo_is_refused_with_a_reason(batches: list[str], source: str | None, message: str) -> None:
    with pytest.raises(TailorbirdError, match=message):
        undo(*batches, source=source)


def test_tables_of_items_and_users_give_back_what_earlier_tables_stated(
    installation: Installation, shop: Any, tmp_path: Path
) -> None:
    ingest_items.fn("complete_journey", shop.items_file)
    ingest_users.fn("complete_journey", shop.users_file)
    before = everything(installation)
    products = pq.read_table(shop.items_file)
    changed = products.set_column(products.column_names.index("brand"), "brand", [["Other"] * len(products)])
    path = tmp_path / "products.parquet"
    pq.write_table(changed, path)
    second = ingest_items.fn("complete_journey", str(path))
    assert everything(installation)["items"] != before["items"]
    undo(second["batch_id"])
    assert everything(installation) == before
    users = next(row["batch_id"] for row in before["ledger"] if "users" in row["batch_id"])
    undo(users)
    remaining = everything(installation)
    assert not remaining["users"]
    assert not remaining["people"]
    shutil.copy(path, tmp_path / "again.parquet")
    assert ingest_items.fn("complete_journey", str(path))["status"] == "committed"
    assert ingest_users.fn("complete_journey", shop.users_file)["status"] == "committed"
    stable = [{k: v for k, v in row.items() if k != "field_timestamps"} for row in everything(installation)["users"]]
    assert stable == [{k: v for k, v in row.items() if k != "field_timestamps"} for row in before["users"]]


def test_a_batch_of_a_version_without_statements_is_refused(installation: Installation, tmp_path: Path) -> None:
    first = ingest(tmp_path, viewed(1), number=1)
    with installation.engine.begin() as connection:
        connection.execute(text("UPDATE ingest_applications SET repeats = 0"))
    before = everything(installation)
    with pytest.raises(TailorbirdError, match=first["batch_id"]):
        undo(first["batch_id"])
    assert everything(installation) == before
    with installation.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit_log")).scalar_one() == 0
