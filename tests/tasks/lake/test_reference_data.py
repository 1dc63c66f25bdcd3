from datetime import UTC, datetime
from itertools import pairwise

import pytest

from infra.database.schema.schema import aliases
from infra.installation import Installation
from tasks.lake.reference_data import read_reference_data

Calls = list[tuple[str, str, int | None]]


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
