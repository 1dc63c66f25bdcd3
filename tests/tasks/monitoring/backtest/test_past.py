"""The past is written as files that another installation takes in as the same data, and lists are measured by them."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.installation import Installation, current
from infra.keys.credentials import PSEUDONYM, variable
from models.errors import TailorbirdError
from models.monitoring.retraining_policies import publication_days
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.list_files import list_files
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.lake.reference_data import read_reference_data
from tasks.monitoring.backtest.list_outcomes import measure_lists
from tasks.monitoring.backtest.past_events import MAPPING, PURCHASES, write_past
from tests.installations import chosen

FIRST: Final = datetime(2024, 9, 2, tzinfo=UTC)
DAYS: Final = publication_days(date(2024, 9, 9), date(2024, 9, 30), 7)
STEPS: Final = {"items": ingest_items, "users": ingest_users, "events": ingest_events}
SHOP: Final = """
consent_note = "made up"
location = "."

[items]
file = "items.parquet"
item_id = "code"
title = "title"
category = ["group", "part"]
price = "price"

[users]
file = "users.parquet"
user_id = "person"
attributes = ["@user_id", "age"]
consent = "agreed"

[events]
file = "events.parquet"
event_id = "id"
user_id = "person"
item_id = "code"
occurred_at = "at"
event_type = "what"
session_id = "order"
value = "paid"
currency = "currency"
optional = ["order"]
"""


def ingest(mapping: Path, *folders: Path) -> None:
    for part, file in list_files.fn(str(mapping), [str(folder) for folder in folders]):
        STEPS[part].fn(str(mapping), file)


@pytest.fixture
def shop(installation: Installation, tmp_path: Path) -> Installation:
    """Return an installation with four weeks of a shop: purchases and refunds of 30 people; three of them refused."""
    folder = tmp_path / "shop"
    folder.mkdir()
    random, people = np.random.default_rng(5), [f"person-{number}" for number in range(30)]
    events: list[dict[str, Any]] = []
    for place in range(600):
        at = FIRST + timedelta(minutes=int(random.integers(0, 28 * 24 * 60)))
        row = {"person": people[random.integers(30)], "code": f"i{random.integers(20)}", "at": at, "currency": "EUR"}
        events.append(row | {"id": str(place), "what": "purchase", "order": f"o{place}", "paid": place % 7 + 1.0})
        if place % 10 == 0:
            events.append(events[-1] | {"id": f"r{place}", "what": "refund", "at": at + timedelta(days=3)})
    users = [
        {"person": name, "age": str(20 + place), "@user_id": "a trait", "agreed": place > 2}
        for place, name in enumerate(people)
    ]
    items = [
        {"code": f"i{n}", "title": f"Thing {n}", "group": "A", "part": f"P{n % 3}", "price": n + 0.5} for n in range(20)
    ]
    for name, rows in {"events": events, "users": users, "items": items}.items():
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    (folder / "shop.toml").write_text(SHOP)
    ingest(folder / "shop.toml", folder)
    return installation


def stored(installation: Installation) -> list[tuple[Any, ...]]:
    table = installation.lake.events()
    assert table is not None
    names = ("event_id", "user_key", "item_id", "event_type", "occurred_at", "session_id", "value", "currency")
    return sorted(tuple(row.values()) for row in table.to_pyarrow_table().select(names).to_pylist())


def test_another_installation_takes_the_periods_in_as_the_same_events_items_and_users(
    shop: Installation, tmp_path: Path, other_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = tmp_path / "past"
    write_past(shop, past, DAYS)
    expected, known = stored(shop), read_reference_data(shop, history=False)
    monkeypatch.setenv(variable(PSEUDONYM), shop.key.decode())

    with chosen(other_database, tmp_path / "other-var") as other:
        for period in range(len(DAYS)):
            ingest(past / MAPPING, past / f"{period:03}")
            limit = datetime(*DAYS[period].timetuple()[:3], tzinfo=UTC)
            assert stored(other) == [row for row in expected if row[4] < limit]
        again = read_reference_data(other, history=False)

    assert again.users.to_pylist() == known.users.to_pylist()
    assert again.items.to_pylist() == known.items.to_pylist()
    current.cache_clear()


def test_days_without_purchases_are_refused_before_anything_is_lived(shop: Installation, tmp_path: Path) -> None:
    with pytest.raises(TailorbirdError, match=r"no purchases from 2024-09-30 to 2024-10-07.*Choose other days"):
        write_past(shop, tmp_path / "past", publication_days(date(2024, 9, 9), date(2024, 10, 7), 7))
    with pytest.raises(TailorbirdError, match="no purchases before 2024-09-02"):
        write_past(shop, tmp_path / "past", publication_days(date(2024, 9, 2), date(2024, 9, 9), 7))


def test_lists_are_measured_as_a_count_in_plain_python_measures_them(shop: Installation, tmp_path: Path) -> None:
    write_past(shop, tmp_path / "past", DAYS)
    rows = pq.read_table(tmp_path / "past" / PURCHASES).to_pylist()
    random = np.random.default_rng(6)
    people = sorted({row["user_id"] for row in rows})
    lists: list[dict[str, list[str]]] = [
        {name: [f"i{item}" for item in random.permutation(20)[:12]] for name in people[1:]} for _ in DAYS[:-1]
    ]
    for period, shown in enumerate(lists):
        flat = [{"user_id": u, "item_id": i, "rank": r} for u, items in shown.items() for r, i in enumerate(items, 1)]
        pq.write_table(pa.Table.from_pylist(flat), tmp_path / f"{period}.parquet")

    files = [tmp_path / f"{period}.parquet" for period in range(len(lists))]
    known = measure_lists({"never": files}, tmp_path / "past" / PURCHASES, DAYS[:-1])

    assert list(known.names) == ["never", "popularity", "own frequency"]
    for period in range(len(lists)):
        bought: dict[str, Counter[str]] = defaultdict(Counter)
        for row in rows:
            if row["period"] == period + 1:
                bought[row["user_id"]][row["item_id"]] += row["value"]
        before = [row for row in rows if row["period"] <= period]
        buyers = defaultdict(set)
        since = datetime(*DAYS[period].timetuple()[:3], tzinfo=UTC).timestamp() - 28 * 86_400
        for row in before:
            if row["occurred_at"] >= since:
                buyers[row["item_id"]].add(row["user_id"])
        popular = sorted(buyers, key=lambda item: (-len(buyers[item]), item))[:10]
        assert known.bought[:, period].sum() == len(bought)
        assert known.value[:, period].sum() == pytest.approx(sum(items.total() for items in bought.values()))
        own_items = {user: own(before, user) for user in bought}
        for place, shown_to in enumerate((lists[period], dict.fromkeys(bought, popular), own_items)):
            shown = {user: shown_to.get(user, [])[:10] for user in bought}
            found = sum(ndcg(shown[user], list(items)) for user, items in bought.items())
            assert known.ndcg[:, place, period].sum() == pytest.approx(found)
            earned = sum(value for user, items in bought.items() for i, value in items.items() if i in shown[user])
            assert known.earned[:, place, period].sum() == pytest.approx(earned)


def own(rows: Sequence[dict[str, Any]], user: str) -> list[str]:
    times: Counter[str] = Counter()
    latest: dict[str, int] = {}
    for row in rows:
        if row["user_id"] == user:
            times[row["item_id"]] += 1
            latest[row["item_id"]] = max(latest.get(row["item_id"], 0), row["occurred_at"])
    return sorted(times, key=lambda item: (-times[item], -latest[item], item))[:10]


def ndcg(shown: Sequence[str], bought: Sequence[str]) -> float:
    gain = sum(1 / math.log2(rank + 1) for rank, item in enumerate(shown, 1) if item in bought)
    return gain / sum(1 / math.log2(rank + 1) for rank in range(1, min(len(bought), 10) + 1))
