"""The cost of readers' views, however many others have lists."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text

from infra.database.engine import engine
from infra.database.schema.schema import identities, users
from tests.published import published, shelf

USERS = 300
ONE = "placement = 'home' AND user_id = 'raw 7'"
ASKED = {
    "by id": f"SELECT * FROM recommendations_by_user_id WHERE {ONE}",
    "several by id": "SELECT * FROM recommendations_by_user_id WHERE placement = 'home' "
    "AND user_id = ANY ('{raw 7, raw 8, raw 9}')",
    "still sold": f"SELECT * FROM recommendations_by_user_id JOIN items USING (item_id) WHERE {ONE} AND available",
    "by key": "SELECT * FROM current_recommendations WHERE placement = 'home' AND user_key = 'u7'",
}


@pytest.fixture
def reader(database: str) -> Iterator[Connection]:
    agreed = {"attributes": {}, "consent": True, "consent_source": "asked", "batch_id": "b"}
    with engine(database).begin() as connection:
        connection.execute(insert(users), [{"user_key": f"u{n}", **agreed} for n in range(USERS)])
        known = [{"user_key": f"u{n}", "user_id": f"raw {n}", "key_version": 1} for n in range(USERS)]
        connection.execute(insert(identities), known)
    for run in range(3):
        for placement in ("home", "email"):
            lists = {f"u{n}": [("i1", 1.0, "a")] for n in range(USERS)}
            published(engine(database), lists, shelf(f"run {run}", placement, 1, 1))
    with engine(database).connect() as connection:
        connection.execute(text("ANALYZE"))
        yield connection


def lists_read(plan: dict[str, Any]) -> float:
    """Rows of `recommendations` that a plan has gone through."""
    here = plan["Actual Rows"] * plan["Actual Loops"] if plan.get("Alias", "").startswith("list_") else 0
    return float(here + plan.get("Rows Removed by Filter", 0) + sum(map(lists_read, plan.get("Plans", []))))


@pytest.mark.parametrize("way", ASKED)
def test_one_users_list_is_found_without_reading_those_of_others(reader: Connection, way: str) -> None:
    for kind in ("seqscan", "bitmapscan"):  # of so few rows all would be read, however the view is written
        reader.execute(text(f"SET LOCAL enable_{kind} = off"))
    (plan,) = reader.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {ASKED[way]}")).scalar_one()
    assert lists_read(plan["Plan"]) < USERS / 10
