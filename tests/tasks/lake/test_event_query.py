"""Which purchases count: what refunds take back, and what one request with the key of a page cannot add."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as some

from infra.installation import Installation
from models.columns import PURCHASE, REFUND, WHOLE_ORDER
from tasks.ingest.events.ingest_events import ingest_events
from tasks.lake import event_query
from tasks.lake.event_engine import event_engine
from tasks.lake.event_query import Refunds, Waiting, define_events, match_refunds, waiting_since
from tasks.lake.reference_data import ReferenceData, read_reference_data

START = datetime(2024, 6, 1, tzinfo=UTC)
SCHEMA = pa.schema(
    {
        **dict.fromkeys(
            ("event_id", "user_key", "item_id", "event_type", "session_id", "batch_id", "source", "authority"),
            pa.string(),
        ),
        "quantity": pa.float64(),
        **dict.fromkeys(("occurred_at", "received_at"), pa.timestamp("us", tz="UTC")),
    }
)
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
TEXTS = ("event_id", "user_key", "item_id", "event_type", "session_id", "source", "authority")
TIMES = pa.timestamp("us", tz="UTC")
PAGE_SCHEMA = pa.schema([*((name, pa.string()) for name in TEXTS), ("occurred_at", TIMES), ("received_at", TIMES)])


class Event(NamedTuple):
    kind: str
    at: int
    """Seconds after `START`."""
    quantity: float | None = None
    order: str | None = None
    item: str = "cup"
    user: str = "ann"
    late: int = 0
    authority: str | None = None

    @property
    def known(self) -> int:
        return self.at + self.late


def bought(at: int, *others: Any, **more: Any) -> Event:
    return Event(PURCHASE, at, *others, **more)


def refunded(at: int, *others: Any, **more: Any) -> Event:
    return Event(REFUND, at, *others, **more)


@contextmanager
def lake(folder: Path, events: dict[str, Event], refund_order: bool = False) -> Iterator[tuple[Any, str]]:
    """An engine that knows one batch of these events by their ids, and the file that they are in."""
    rows = [
        {
            "event_id": name,
            "user_key": event.user,
            "item_id": event.item,
            "event_type": event.kind,
            "session_id": event.order,
            "batch_id": "b",
            "authority": event.authority,
            "quantity": event.quantity,
            "occurred_at": START + timedelta(seconds=event.at),
            "received_at": START + timedelta(seconds=event.known),
        }
        for name, event in events.items()
    ]
    file = folder / "events.parquet"
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), file)
    batch = {"batch_id": ["b"], "started_at": pa.array([START + timedelta(days=9)], pa.timestamp("us", tz="UTC"))}
    batch |= {"refund_order": [refund_order]}
    with duckdb.connect() as connection:
        define_events(connection, [str(file)])
        connection.register("batches", pa.table(batch))
        connection.register("non_merchandise", pa.schema({"item_id": pa.string()}).empty_table())
        connection.register("aliases", pa.schema({"device": pa.string(), "known": pa.string()}).empty_table())
        yield connection, str(file)


def matched(
    folder: Path, events: dict[str, Event], refund_order: bool = False
) -> tuple[Refunds, dict[str, list[tuple[Any, ...]]]]:
    """Return how many refunds match a purchase, and the states of each purchase: since, until, remaining share."""
    states: dict[str, list[tuple[Any, ...]]] = {}
    with lake(folder, events, refund_order) as (connection, file):
        result = match_refunds(connection, [file])
        rows = connection.execute("SELECT event_id, since, until, share FROM purchase_states ORDER BY 1, 2").fetchall()
    start = int(START.timestamp())
    for name, since, until, share in rows:
        states.setdefault(name, []).append((since - start, None if until is None else until - start, share))
    return result, states


def remaining(folder: Path, *events: Event) -> list[float]:
    """Return the final share of each purchase, in order of the events."""
    listed = {f"{n:03}": event for n, event in enumerate(events)}
    _, states = matched(folder, listed)
    purchases = [name for name, event in listed.items() if event.kind == PURCHASE]
    return [states[name][-1][-1] if name in states else 1.0 for name in purchases]


DAY = bought(1, 1, "monday", user="bob"), bought(1, 1, "monday", user="cleo"), bought(1, 1, "sunday")
BY_EXAMPLE = {
    "the latest": ((bought(1, 1), bought(2, 1), refunded(3, 1)), [1, 0]),
    "of no other item, user or later purchase": (
        (bought(1, 1, item="pot"), bought(1, 1, user="bob"), bought(9, 1), refunded(5, 1)),
        [1, 1, 1],
    ),
    "an order that others share is none": ((*DAY, refunded(5, 1, "monday")), [1, 1, 0]),
    "an order that others share is the own one": ((*DAY, refunded(5, 1, "monday", user="bob")), [0, 1, 1]),
    "by any user": ((bought(1, 1, "a"), refunded(5, 1, "a", user="the till")), [0]),
}


@pytest.mark.parametrize(("events", "shares"), BY_EXAMPLE.values(), ids=BY_EXAMPLE)
def test_a_refund_takes_back_the_purchase(tmp_path: Path, events: tuple[Event, ...], shares: list[float]) -> None:
    assert remaining(tmp_path, *events) == shares


def test_a_page_takes_back_only_what_the_same_visitor_stated_by_a_page(tmp_path: Path) -> None:
    sold, evil = bought(1, 1, "a", user="ann"), {"user": "evil", "authority": "page"}
    claim = {"user": "ann", "authority": "claim"}
    for order in ("a", None, "lost"):
        for who in (evil, claim, {"user": "evil", "authority": "signed"}):
            assert remaining(tmp_path, sold, refunded(3, 9, order, **who)) == [1]
            assert remaining(tmp_path, sold, refunded(3, None, "a", WHOLE_ORDER, **who)) == [1]
    for who in (evil, claim):
        for order, left in (("own", [1, 0]), ("a", [1, 1])):  # a copy of the server's order does not count
            stated = bought(2, 1, order, **who)
            assert remaining(tmp_path, sold, stated, refunded(3, 9, order, **who)) == left
            assert remaining(tmp_path, sold, stated, refunded(3, None, order, WHOLE_ORDER, **who)) == left
    assert remaining(tmp_path, sold, bought(2, 1, "a", **evil), refunded(3, 1, "a", **claim)) == [1, 1]


def test_a_server_takes_back_the_order_of_a_page_that_no_server_states(tmp_path: Path) -> None:
    claim = {"user": "ann", "authority": "claim"}
    assert remaining(tmp_path, bought(1, 1, "a", **claim), refunded(3, 1, "a")) == [0]
    assert remaining(tmp_path, bought(1, 1, "a", **claim), refunded(3, None, "a", WHOLE_ORDER)) == [0]
    assert remaining(tmp_path, bought(1, 1, "a", **claim), bought(2, 1, "a"), refunded(3, 1, "a")) == [1, 0]
    signed = {"user": "ann", "authority": "signed"}
    assert remaining(tmp_path, bought(1, 1, "a"), refunded(3, 1, "a", **signed)) == [0]
    evil = {"user": "evil", "authority": "page"}
    assert remaining(tmp_path, bought(1, 1, "a"), bought(2, 1, "r-7", **evil), refunded(3, 1, "r-7")) == [0, 1]


def test_refunds_are_counted_by_whether_they_found_a_purchase(tmp_path: Path) -> None:
    events = [bought(1, 1, "a"), bought(1, 1, "a", "pot"), refunded(2, None, "a", WHOLE_ORDER), refunded(3, 1)]
    events += [refunded(4, None, "lost", WHOLE_ORDER), refunded(5, 1, user="bob")]
    assert matched(tmp_path, dict(zip("abcdef", events, strict=True)))[0] == Refunds(1, 3)
    assert matched(tmp_path, {"a": bought(1)}) == (Refunds(0, 0), {})


def test_refunded_purchases_are_found_as_of_now_or_of_a_moment(tmp_path: Path) -> None:
    events = {"kept": bought(1, 1), "back": bought(2, 1), "refund": refunded(10, 1), "part": bought(11, 2)}
    with lake(tmp_path, events) as (connection, file):
        match_refunds(connection, [file])
        source = f"SELECT event_id FROM read_parquet('{file}') AS event WHERE event_type = 'purchase' AND"
        start = int(START.timestamp())
        at_moment = f"{source} NOT ({event_query.refunded('$moment')}) ORDER BY 1"
        then = [connection.execute(at_moment, {"moment": start + at}).fetchall() for at in (10, 11)]
        now = connection.execute(f"{source} NOT ({event_query.refunded()}) ORDER BY 1").fetchall()
    assert now == then[1] == [("kept",), ("part",)]
    assert then[0] == [("back",), ("kept",), ("part",)]


MAPPING = """
consent = "given"
consent_note = "by the terms of the shop"

[events]
file = "sales*.csv"
user_id = "user"
item_id = "item"
session_id = "order"
occurred_at = "at"
event_type = "kind"
"""


@pytest.mark.parametrize(("key", "expected"), [("", Refunds(2, 0)), ('refund_order = "order"\n', Refunds(1, 1))])
def test_the_mapping_states_whether_refunds_name_the_orders_of_sales(
    installation: Installation, tmp_path: Path, key: str, expected: Refunds
) -> None:
    (tmp_path / "shop.toml").write_text(MAPPING + key)
    rows = ["u,cup,o1,2024-06-01,purchase", "u,pot,o2,2024-06-01,purchase", "u,pan,o3,2024-06-01,purchase"]
    rows += ["u,cup,o1,2024-06-02,refund", "u,pot,before,2024-06-02,refund"]
    (tmp_path / "sales.csv").write_text("\n".join(["user,item,order,at,kind", *rows]) + "\n")
    ingest_events.fn(str(tmp_path / "shop.toml"), str(tmp_path / "sales.csv"))
    reference = read_reference_data(installation)
    for known, refunds in ((reference, expected), (of_before(reference), Refunds(2, 0))):
        with event_engine(installation, known) as engine:
            assert engine is not None
            assert engine.match_refunds() == refunds


def of_before(reference: ReferenceData) -> ReferenceData:
    """The same as a data set of an earlier version stored it."""
    return replace(reference, batches=reference.batches.drop_columns(["refund_order"]))


def by_hand(events: dict[str, Event], refund_order: bool) -> dict[str, float]:
    """Return the remaining share of each purchase after one refund at a time."""
    amounts: dict[str, float] = {}
    purchases = {name: event for name, event in events.items() if event.kind == PURCHASE}
    refunds = {name: event for name, event in events.items() if event.kind == REFUND}

    def theirs(refund: Event) -> list[str]:
        same = [n for n, p in purchases.items() if p.user == refund.user and refund.item in (p.item, WHOLE_ORDER)]
        linked = [n for n in same if refund.order is not None and purchases[n].order == refund.order]
        alone = refund.item == WHOLE_ORDER or (refund_order and refund.order is not None)
        return linked or ([] if alone else ["*"])

    for pair in {(event.user, event.item) for event in purchases.values()}:
        group = [e for e in events.values() if (e.user, e.item) == pair]
        pieces = all(e.quantity is not None for e in group)
        counts = {n: (e.quantity or 1) if pieces else 1.0 for n, e in events.items() if (e.user, e.item) == pair}
        whole = {n: e for n, e in refunds.items() if e.item == WHOLE_ORDER and e.user == pair[0]}
        own = {n: e for n, e in refunds.items() if (e.user, e.item) == pair} | whole
        remains = {n: counts[n] for n, p in purchases.items() if (p.user, p.item) == pair}
        linked = {n for n in own if theirs(own[n]) != ["*"]}
        for name in sorted(linked, key=lambda n: (own[n].at, n)):
            claim = float("inf") if name in whole else counts[name]
            order = [n for n in remains if n in theirs(own[name])]
            for purchase in sorted(order, key=lambda n: (-purchases[n].at, n)):
                taken = min(claim, remains[purchase])
                remains[purchase], claim = remains[purchase] - taken, claim - taken
        for name in sorted(own.keys() - linked - whole.keys(), key=lambda n: (own[n].at, n)):
            claim = counts[name]
            before = [n for n in remains if purchases[n].at <= own[name].at]
            for purchase in sorted(before, key=lambda n: (purchases[n].at, n), reverse=True):
                taken = min(claim, remains[purchase])
                remains[purchase], claim = remains[purchase] - taken, claim - taken
        amounts |= {n: remains[n] / counts[n] for n in remains}
    return amounts


def event_lists(kind: str, quantities: tuple[float | None, ...], items: tuple[str, ...]) -> Any:
    orders, times = some.sampled_from((None, "a", "b")), some.integers(0, 12)
    return some.builds(
        Event,
        some.just(kind),
        times,
        some.sampled_from(quantities),
        orders,
        some.sampled_from(items),
        some.just("ann"),
        some.sampled_from((0, 0, 0, 4, 9)),
        some.none(),
    )


purchases_or_refunds = some.one_of(
    event_lists(PURCHASE, (None, 1.0, 2.0, 3.0), ("cup", "pot")),
    event_lists(REFUND, (None, 1.0, 2.0, 5.0), ("cup", "pot", WHOLE_ORDER)),
)


@given(rows=some.lists(purchases_or_refunds, min_size=2, max_size=9), refund_order=some.booleans())
def test_at_every_moment_a_purchase_counts_as_the_events_known_by_then_state(
    tmp_path: Path, rows: Any, refund_order: bool
) -> None:
    events = {f"{n:03}": event for n, event in enumerate(rows)}
    states = matched(tmp_path, events, refund_order)[1]
    for moment in sorted({event.known + 1 for event in events.values()}):
        known = {name: event for name, event in events.items() if event.known < moment}
        for name, share in by_hand(known, refund_order).items():
            then = [s for since, until, s in states.get(name, [(0, None, 1.0)]) if since < moment <= (until or moment)]
            assert then == [pytest.approx(share)], (name, moment)


def purchase(user: str, item: str = "cup", authority: str | None = "page", **stated: Any) -> dict[str, Any]:
    at = stated.get("received_at", NOW)
    usual = {"event_id": f"{user} {item} {at} {authority}", "user_key": user, "item_id": item, "event_type": "purchase"}
    order = {"session_id": f"order of {user}", "source": "web", "authority": authority}
    return usual | order | {"occurred_at": at, "received_at": at} | stated


def counted(folder: Path, rows: list[dict[str, Any]], *, claims: bool = True) -> tuple[set[str], list[Waiting]]:
    """Return the users whose purchases count, and what waits."""
    file = str(folder / "events.parquet")
    pq.write_table(pa.Table.from_pylist(rows, PAGE_SCHEMA), file)
    with duckdb.connect() as connection:
        define_events(connection, [file], claims=claims)
        with connection.cursor() as other:  # as builds of data sets read them
            events = other.sql("SELECT user_key FROM lake_events($files)", params={"files": [file]}).fetchall()
        return {user for (user,) in events}, waiting_since(connection, NOW - timedelta(days=1))


def regular(number: int, item: str = "cup") -> list[dict[str, Any]]:
    """Buyers by a file, spread over the weeks before."""
    days = (NOW - timedelta(days=1 + place % 27) for place in range(number))
    return [purchase(f"regular {place}", item, None, received_at=day) for place, day in enumerate(days)]


def fresh(number: int, **stated: Any) -> list[dict[str, Any]]:
    """Visitors of a page whom nobody has seen before, a second after another."""
    return [purchase(f"fresh {n}", received_at=NOW + timedelta(seconds=n), **stated) for n in range(number)]


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
    rows = [purchase(f"fresh {n}", received_at=late + timedelta(seconds=10 * n)) for n in range(24)]
    assert len(counted(tmp_path, rows)[0]) == 3
    slow = [purchase(f"fresh {n}", received_at=late + timedelta(minutes=21 * n)) for n in range(24)]
    assert len(counted(tmp_path, slow)[0]) == 24


def test_a_purchase_that_a_server_or_a_file_states_too_counts_there_alone(tmp_path: Path) -> None:
    rows = fresh(50)
    for authority in (None, "server", "signed"):
        orders = [{"session_id": row["session_id"], "event_id": row["session_id"]} for row in rows]
        stated = [purchase(f"buyer {n}", "cup", authority, **order) for n, order in enumerate(orders)]
        assert counted(tmp_path, rows + stated) == ({row["user_key"] for row in stated}, [])
    other = [row | {"item_id": "pan", "user_key": "till", "authority": None, "event_id": "o"} for row in rows]
    assert len(counted(tmp_path, rows + other)[0]) == 1 + 3
    claimed = [row | {"user_key": "evil", "authority": "claim", "event_id": "c"} for row in rows]
    assert len(counted(tmp_path, rows + claimed)[0]) <= 4
    one_order = [row | {"session_id": "o-1"} for row in rows]
    known = purchase("till", "cup", "server", session_id="o-1")
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
    seen = [purchase(f"known {n}", authority="claim", received_at=NOW - timedelta(days=60)) for n in range(100)]
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
    rows = [purchase("ann", authority="claim"), purchase("bob", authority="signed"), purchase("cid", authority=None)]
    assert counted(tmp_path, rows)[0] == {"ann", "bob", "cid"}
    assert counted(tmp_path, rows, claims=False)[0] == {"bob", "cid"}
    file = str(tmp_path / "earlier.parquet")
    pq.write_table(pa.Table.from_pylist(rows, PAGE_SCHEMA).drop_columns(["authority"]), file)
    for claims in (True, False):
        with duckdb.connect() as connection:
            define_events(connection, [file], claims=claims)
            events = connection.sql("SELECT count(*) FROM lake_events($files)", params={"files": [file]}).fetchall()
        assert events == [(3,)]
