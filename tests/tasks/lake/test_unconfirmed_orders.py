"""One request with the key of a page makes no best seller."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.lake.event_query import Waiting, define_events, waiting_since

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
TEXTS = ("event_id", "user_key", "item_id", "event_type", "session_id", "source", "authority")
TIMES = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema([*((name, pa.string()) for name in TEXTS), ("occurred_at", TIMES), ("received_at", TIMES)])


def bought(user: str, item: str = "cup", authority: str | None = "page", **stated: Any) -> dict[str, Any]:
    at = stated.get("received_at", NOW)
    usual = {"event_id": f"{user} {item} {at} {authority}", "user_key": user, "item_id": item, "event_type": "purchase"}
    order = {"session_id": f"order of {user}", "source": "web", "authority": authority}
    return usual | order | {"occurred_at": at, "received_at": at} | stated


def counted(folder: Path, rows: list[dict[str, Any]], *, claims: bool = True) -> tuple[set[str], list[Waiting]]:
    """Return the users whose purchases count, and what waits."""
    file = str(folder / "events.parquet")
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), file)
    with duckdb.connect() as connection:
        define_events(connection, [file], claims=claims)
        with connection.cursor() as other:  # as builds of data sets read them
            events = other.sql("SELECT user_key FROM lake_events($files)", params={"files": [file]}).fetchall()
        return {user for (user,) in events}, waiting_since(connection, NOW - timedelta(days=1))


def regular(number: int, item: str = "cup") -> list[dict[str, Any]]:
    """Buyers by a file, spread over the weeks before."""
    days = (NOW - timedelta(days=1 + place % 27) for place in range(number))
    return [bought(f"regular {place}", item, None, received_at=day) for place, day in enumerate(days)]


def fresh(number: int, **stated: Any) -> list[dict[str, Any]]:
    """Visitors of a page whom nobody has seen before, a second after another."""
    return [bought(f"fresh {n}", received_at=NOW + timedelta(seconds=n), **stated) for n in range(number)]


@pytest.mark.parametrize(("buyers", "allowed"), [(0, 3), (40, 3), (100, 5), (400, 20)])
@pytest.mark.parametrize("authority", ["page", "claim"])
def test_fresh_visitors_of_a_page_add_a_twentieth_of_the_buyers_within_an_hour_and_three_at_least(
    tmp_path: Path, buyers: int, allowed: int, authority: str
) -> None:
    users, waiting = counted(tmp_path, [*regular(buyers), *fresh(1_500, authority=authority)])
    assert len(users) == buyers + allowed
    assert waiting == [Waiting("cup", "web", 1_500 - allowed)]


def test_an_hour_is_any_hour_and_not_one_of_the_clock(tmp_path: Path) -> None:
    late = NOW.replace(minute=58)
    rows = [bought(f"fresh {n}", received_at=late + timedelta(seconds=10 * n)) for n in range(24)]
    assert len(counted(tmp_path, rows)[0]) == 3
    slow = [bought(f"fresh {n}", received_at=late + timedelta(minutes=21 * n)) for n in range(24)]
    assert len(counted(tmp_path, slow)[0]) == 24


def test_a_purchase_that_a_server_or_a_file_states_too_counts_there_alone(tmp_path: Path) -> None:
    rows = fresh(50)
    for authority in (None, "server", "signed"):
        orders = [{"session_id": row["session_id"], "event_id": row["session_id"]} for row in rows]
        stated = [bought(f"buyer {n}", "cup", authority, **order) for n, order in enumerate(orders)]
        assert counted(tmp_path, rows + stated) == ({row["user_key"] for row in stated}, [])
    other = [row | {"item_id": "pan", "user_key": "till", "authority": None, "event_id": "o"} for row in rows]
    assert len(counted(tmp_path, rows + other)[0]) == 1 + 3
    claimed = [row | {"user_key": "evil", "authority": "claim", "event_id": "c"} for row in rows]
    assert len(counted(tmp_path, rows + claimed)[0]) <= 4
    one_order = [row | {"session_id": "o-1"} for row in rows]
    known = bought("till", "cup", "server", session_id="o-1")
    assert counted(tmp_path, [*one_order, known]) == ({"till"}, [])
    many = [row | {"session_id": "o-1", "event_id": f"copy of {row['event_id']}"} for row in fresh(200)]
    later = [row | {"received_at": NOW + timedelta(hours=3)} for row in rows]  # copies are no buyers of the item
    assert len(counted(tmp_path, [*many, *later, known])[0]) == 1 + 3


def test_one_visitor_with_many_orders_makes_no_best_seller(tmp_path: Path) -> None:
    rows = [row | {"user_key": "evil"} for row in fresh(400)]
    users, waiting = counted(tmp_path, rows)
    assert (users, waiting) == ({"evil"}, [Waiting("cup", "web", 397)])


def test_claims_of_users_known_for_weeks_make_no_best_seller(tmp_path: Path) -> None:
    seen = [row | {"event_type": "view", "received_at": NOW - timedelta(days=40)} for row in fresh(300)]
    claims = fresh(300, authority="claim")
    assert counted(tmp_path, [*regular(21), *seen, *claims])[1] == [Waiting("cup", "web", 297)]


def test_claims_of_known_users_that_counted_are_buyers_of_later_hours(tmp_path: Path) -> None:
    seen = [bought(f"known {n}", authority="claim", received_at=NOW - timedelta(days=60)) for n in range(100)]
    earlier = [row | {"received_at": NOW - timedelta(hours=2 * n + 2)} for n, row in enumerate(seen)]
    earlier = [row | {"occurred_at": row["received_at"], "event_id": f"{n}"} for n, row in enumerate(earlier)]
    users, waiting = counted(tmp_path, [*seen, *earlier, *fresh(20)])
    assert (len(users), waiting) == (105, [Waiting("cup", "web", 15)])


def test_visitors_known_for_weeks_and_purchases_of_servers_always_count(tmp_path: Path) -> None:
    seen = [row | {"event_type": "view", "received_at": NOW - timedelta(days=40)} for row in fresh(20)]
    assert len(counted(tmp_path, [*fresh(20), *seen])[0]) == 20
    assert len(counted(tmp_path, fresh(20, authority="server"))[0]) == 20
    assert len(counted(tmp_path, [row | {"item_id": row["user_key"]} for row in fresh(20)])[0]) == 20


def test_a_time_that_the_page_states_hides_nothing(tmp_path: Path) -> None:
    rows = [row | {"occurred_at": NOW - timedelta(hours=5 * n)} for n, row in enumerate(fresh(200))]
    assert len(counted(tmp_path, rows)[0]) == 3


def test_claims_can_be_left_out_and_lakes_of_earlier_versions_have_none(tmp_path: Path) -> None:
    rows = [bought("ann", authority="claim"), bought("bob", authority="signed"), bought("cid", authority=None)]
    assert counted(tmp_path, rows)[0] == {"ann", "bob", "cid"}
    assert counted(tmp_path, rows, claims=False)[0] == {"bob", "cid"}
    file = str(tmp_path / "earlier.parquet")
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA).drop_columns(["authority"]), file)
    for claims in (True, False):
        with duckdb.connect() as connection:
            define_events(connection, [file], claims=claims)
            events = connection.sql("SELECT count(*) FROM lake_events($files)", params={"files": [file]}).fetchall()
        assert events == [(3,)]
