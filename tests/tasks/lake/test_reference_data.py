"""Whose each device is, and what a run that scores several placements reads once: the bundle and the known users."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from infra.database.schema.schema import aliases
from infra.installation import Installation
from tasks.lake.event_engine import shared_reads
from tasks.lake.reference_data import read_reference_data
from tasks.scoring.batch_work import one_bundle
from tasks.scoring.score_placement import score_placement
from tests.tasks.shelves import Place

_PLACES = ("home", "basket", "newsletter")
_RULES = """
[home]
policy = "repurchase"
[basket]
policy = "discover"
rules.lifetime_days = 4000
[newsletter]
k = 5
"""
Calls = list[tuple[str, str, int | None]]


@pytest.fixture
def bundle(stage: Any, place: Place) -> Path:
    """The champion's bundle, for several placements."""
    place(_RULES)
    champion: Path = stage.promote()
    return champion


def test_a_run_of_several_placements_opens_the_bundle_once(bundle: Path) -> None:
    with one_bundle():
        score_placement.fn(_PLACES[0])
        (bundle / "arrays.npz").unlink()
        assert all(score_placement.fn(name)["status"] == "published" for name in _PLACES[1:])


@pytest.mark.usefixtures("bundle")
def test_a_new_champion_is_opened_within_a_run(stage: Any) -> None:
    with one_bundle():
        before = score_placement.fn("home")["model_version"]
        stage.promote("most_popular", version=2)
        assert score_placement.fn("home")["model_version"] != before


@contextmanager
def reads_of_known_users(stage: Any) -> Iterator[list[str]]:
    """Each time that the users with consent were read within the block, the statement."""
    read: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_others: Any) -> None:
        if "jsonb_object_keys" in statement:
            read.append(statement)

    event.listen(stage.here.engine, "before_cursor_execute", note)
    try:
        yield read
    finally:
        event.remove(stage.here.engine, "before_cursor_execute", note)


@pytest.mark.usefixtures("bundle")
def test_a_run_reads_the_known_users_again_after_a_placement_made_lists_and_once_without(stage: Any) -> None:
    for expected in (len(_PLACES), 1):  # the second run finds nothing new
        with reads_of_known_users(stage) as read, shared_reads():
            batches = [score_placement.fn(name)["batch_id"] for name in _PLACES]
        assert len(read) == expected
    assert batches == [score_placement.fn(name)["batch_id"] for name in _PLACES]  # outside of a run the same


@pytest.mark.parametrize(
    ("calls", "known"),
    [
        ([("phone", "ann", 1)], {"phone": "ann"}),
        ([("phone", "ann", 2), ("phone", "bob", 1), ("phone", "cleo", None)], {"phone": "ann"}),
        ([("phone", "ann", 1), ("phone", "bob", 1)], {"phone": "bob"}),
        ([("b", "c", 3), ("a", "b", 1), ("c", "d", 2)], {"a": "d", "b": "d", "c": "d"}),
        ([("a", "b", 1), ("b", "c", 2), ("c", "b", 3)], {"a": "c", "b": "c"}),
        ([("a", "a", 1)], {}),
    ],
    ids=["one owner", "the last owner", "at the same time", "a chain", "a circle and who leads into it", "itself"],
)
def test_each_device_is_whose_it_is_in_the_end(installation: Installation, calls: Calls, known: dict[str, str]) -> None:
    with installation.engine.begin() as connection:
        for device, owner, day in calls:
            at = datetime(2024, 6, day, tzinfo=UTC) if day else None
            row = {"anonymous_key": device, "user_key": owner, "occurred_at": at, "batch_id": "b"}
            connection.execute(aliases.insert().values(row))
    assert {row["device"]: row["known"] for row in read_reference_data(installation).aliases.to_pylist()} == known


def test_a_chain_of_a_hundred_thousand_ids_is_followed_to_its_end(installation: Installation) -> None:
    chain = [f"{n:06}" for n in range(100_001)]
    rows = [{"anonymous_key": a, "user_key": b, "batch_id": "b"} for a, b in pairwise(chain)]
    with installation.engine.begin() as connection:
        connection.execute(aliases.insert(), rows)
    assert set(read_reference_data(installation).aliases["known"].to_pylist()) == {chain[-1]}
