"""Made-up events of lists, counted again in plain Python from the rows of the files."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import delete, select, update

from infra.database.schema.monitoring_schema import recommendation_weeks as table
from infra.installation import Installation, current
from tasks.ingest.events.ingest_events import ingest_events
from tasks.monitoring.recommendation_weeks import AGAIN_WEEKS, count_weeks

MONDAY: Final = datetime(2024, 9, 2, tzinfo=UTC)
DAY: Final = timedelta(days=1)
NAMES: Final = ("id", "person", "product", "at", "what", "list", "shelf", "paid", "currency", "order")
MAPPING: Final = """
consent = "given"
consent_note = "made up"
location = "."

[events]
file = "events*.parquet"
event_id = "id"
user_id = "person"
item_id = "product"
occurred_at = "at"
event_type = "what"
session_id = "order"
recommendation_id = "list"
placement = "shelf"
value = "paid"
currency = "currency"
optional = ["list", "shelf", "paid", "currency", "order"]
"""
Row = dict[str, Any]


class Shop:
    """An installation that takes files of events."""

    def __init__(self, here: Installation, folder: Path) -> None:
        self.here, self.folder = here, folder
        (folder / "shop.toml").write_text(MAPPING)

    def ingest(self, *rows: Row) -> None:
        number = len(list(self.folder.glob("events*")))
        whole = [dict.fromkeys(NAMES) | {"id": f"{number}-{place}"} | row for place, row in enumerate(rows)]
        kinds = {name: pa.string() for name in NAMES} | {"at": pa.timestamp("us"), "paid": pa.float64()}
        path = self.folder / f"events-{number}.parquet"
        pq.write_table(pa.Table.from_pylist(whole, pa.schema(list(kinds.items()))), path)
        ingest_events.fn(str(self.folder / "shop.toml"), str(path))

    def weeks(self) -> dict[tuple[date, str], Any]:
        """Count, and return the rows of the table."""
        count_weeks.fn()
        return self.stored()

    def stored(self) -> dict[tuple[date, str], Any]:
        with self.here.engine.connect() as connection:
            return {(row.week, row.placement): row for row in connection.execute(select(table))}


@pytest.fixture
def shop(installation: Installation, tmp_path: Path) -> Shop:
    return Shop(installation, tmp_path)


def row(what: str, at: datetime, product: str = "cup", person: str = "ann", **other: Any) -> Row:
    return {"what": what, "at": at.replace(tzinfo=None), "product": product, "person": person, **other}


def sold(at: datetime, paid: float = 10.0, **other: Any) -> Row:
    return row("purchase", at, **{"paid": paid, "currency": "EUR", **other})


def made_up(weeks: int) -> list[Row]:
    """Return events of forty people: shown lists with clicks, and acts with and without a click before."""
    random = np.random.default_rng(5)
    rows = []
    for number in range(60 * weeks):
        person, shelf = f"person-{random.integers(40)}", ("home", "email", "cellar")[random.integers(3)]
        at = MONDAY + timedelta(seconds=int(random.integers(weeks * 7 * 86_400)))
        for product in random.choice(9, 4, replace=False):
            about = {"product": f"product-{product}", "person": person}
            shown = {"list": f"list-{number}", "shelf": shelf}
            rows.append(row("impression", at, **about, **shown))
            if random.random() < 0.5:
                later = at + timedelta(seconds=int(random.integers(1, 130_000)))
                kind = ("click", "view")[random.integers(2)]
                rows.append(row(kind, later, **about, list=shown["list"], shelf=(shelf, None)[random.integers(2)]))
                rows.append(row("view", later + timedelta(seconds=1), **about))
            if random.random() < 0.6:
                later = at + timedelta(seconds=int(random.integers(1, 200_000)))
                paid, code = float(np.round(random.uniform(1, 50), 2)), ("EUR", "EUR", "CHF")[random.integers(3)]
                order = f"order-{len(rows)}"
                rows.append(row("add_to_cart", later, **about))
                rows.append(sold(later, paid, **about, currency=code, order=order))
                if random.random() < 0.2:
                    rows.append(row("refund", later + DAY, **about, order=order))
    return rows


def recounted(rows: list[Row]) -> dict[tuple[date, str], dict[str, float]]:
    """Count again: each row against all others."""
    refunded = {one["order"] for one in rows if one["what"] == "refund"}
    lists = {one["list"]: one["shelf"] for one in rows if one["what"] == "impression"}
    clicks = [one for one in rows if one["what"] in ("click", "view") and one.get("list")]
    found: dict[tuple[date, str], dict[str, float]] = {}

    def count(one: Row, shelf: str | None, **amounts: float) -> None:
        week = one["at"].date() - timedelta(days=one["at"].weekday())
        for place in ("", shelf) if shelf in ("home", "email") else ("",):
            own = found.setdefault((week, place), dict.fromkeys(("impressions", "clicks", "baskets", "purchases"), 0))
            for name, amount in amounts.items():
                own[name] = own.get(name, 0) + amount

    def same(one: Row, other: Row, *names: str) -> bool:
        return all(one[name] == other[name] for name in ("person", "product", *names))

    for one in rows:
        if one["what"] == "impression":
            hits = [1 for act in clicks if same(one, act, "list") and timedelta() <= act["at"] - one["at"] < DAY]
            count(one, one["shelf"], impressions=1, clicked=min(len(hits), 1))
        elif one in clicks:
            count(one, lists[one["list"]], clicks=1)
        elif one["what"] in ("add_to_cart", "purchase") and one.get("order") not in refunded:
            before = [act for act in clicks if same(one, act) and timedelta() <= one["at"] - act["at"]]
            last = max(before, key=lambda act: act["at"], default=None)
            paid = one["paid"] if one.get("currency") == "EUR" else 0.0
            count(one, None, revenue=paid if one["what"] == "purchase" else 0.0)
            if last is not None and one["at"] - last["at"] < DAY:
                bought = {"purchases": 1.0, "value": paid} if one["what"] == "purchase" else {"baskets": 1.0}
                count(one, lists[last["list"]], **bought)
    return found


def test_the_figures_of_each_week_and_placement_equal_a_recount_of_the_rows(shop: Shop) -> None:
    rows = made_up(weeks=3)
    shop.ingest(*rows)
    stored, expected = shop.weeks(), recounted(rows)
    assert stored.keys() == expected.keys()
    assert {place for _, place in stored} == {"", "home", "email"}
    for place, own in expected.items():
        one = stored[place]._asdict()
        for name in ("impressions", "clicks", "baskets", "purchases"):
            assert one[name] == own[name], (place, name)
        assert one["value"] == pytest.approx(own.get("value", 0.0)), place
        assert one["revenue"] == pytest.approx(expected[place[0], ""]["revenue"]), place
        assert one["currency"] == "EUR"
        if own["impressions"]:
            assert one["click_through"] == pytest.approx(own["clicked"] / own["impressions"])
    assert sum(own["purchases"] for own in expected.values()) > 100


def test_the_interval_of_the_click_through_is_that_of_resampled_users(shop: Shop) -> None:
    rows = made_up(weeks=1)
    shop.ingest(*rows)
    stored = shop.weeks()[MONDAY.date(), ""]
    week = [one for one in rows if one["what"] == "impression"]
    clicks = {(one["person"], one["product"], one["list"], one["at"]) for one in rows if one.get("list")} - {
        (one["person"], one["product"], one["list"], one["at"]) for one in week
    }
    people = sorted({one["person"] for one in week})
    shown, clicked = (np.zeros(len(people)) for _ in range(2))
    for one in week:
        shown[people.index(one["person"])] += 1
        known = (one["person"], one["product"], one["list"])
        clicked[people.index(one["person"])] += any(c[:3] == known and c[3] - one["at"] < DAY for c in clicks)
    draws = np.random.default_rng(1).integers(len(people), size=(4_000, len(people)))
    low, high = np.quantile(clicked[draws].sum(axis=1) / shown[draws].sum(axis=1), [0.025, 0.975])
    assert stored.users == len(people)
    assert (stored.low, stored.high) == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))


def test_a_purchase_belongs_to_the_latest_click_on_its_item_within_a_day(shop: Shop) -> None:
    shop.ingest(
        row("impression", MONDAY, list="one", shelf="home"),
        row("click", MONDAY, list="one", shelf="home"),
        row("click", MONDAY + DAY / 2, list="two", shelf="email"),
        sold(MONDAY + DAY),
        sold(MONDAY + DAY * 1.5, 20.0),
        sold(MONDAY + DAY, 5.0, product="jug"),
        sold(MONDAY + DAY, 5.0, person="bob"),
    )
    stored = shop.weeks()
    email, home, whole = (stored[MONDAY.date(), name] for name in ("email", "home", ""))
    assert (email.purchases, email.value, home.purchases, home.value) == (1, 10.0, 0, 0.0)
    assert (whole.purchases, whole.value, whole.revenue) == (1, 10.0, 40.0)
    assert (home.click_through, home.low, home.high) == (1.0, None, None), "one user gives no interval"


def test_a_click_of_a_sunday_counts_for_a_purchase_of_the_monday_after(shop: Shop) -> None:
    sunday = MONDAY + 6.5 * DAY
    shop.ingest(row("click", sunday, list="one", shelf="home"), sold(sunday + DAY * 0.9))
    stored = shop.weeks()
    assert [(key[0], one.clicks, one.purchases) for key, one in sorted(stored.items()) if key[1] == "home"] == [
        (MONDAY.date(), 1, 0),
        (MONDAY.date() + 7 * DAY, 0, 1),
    ]


def test_late_events_count_in_the_last_weeks_and_earlier_weeks_keep_their_figures(shop: Shop) -> None:
    old, recent = MONDAY - (AGAIN_WEEKS + 1) * 7 * DAY, MONDAY - AGAIN_WEEKS * 7 * DAY
    shop.ingest(*(sold(at) for at in (old, recent, MONDAY)))
    shop.weeks()
    with shop.here.engine.begin() as connection:
        connection.execute(update(table).values(revenue=1.0))
    shop.ingest(sold(old, 7.0, person="bob"), sold(recent, 7.0, person="bob"))
    assert {week: one.revenue for (week, _), one in shop.weeks().items()} == {
        old.date(): 1.0,
        recent.date(): 17.0,
        MONDAY.date(): 10.0,
    }


def test_weeks_whose_impressions_were_deleted_keep_their_figures(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.ingest(row("impression", MONDAY, list="one", shelf="home"))
    before = shop.weeks()
    monkeypatch.setenv("TAILORBIRD_RETENTION", '{"impressions": "90 days"}')
    current.cache_clear()
    with shop.here.engine.begin() as connection:
        connection.execute(delete(table).where(table.c.placement == "home"))
    assert shop.weeks().keys() == {(MONDAY.date(), "")} < before.keys()


def test_without_any_event_there_are_no_weeks(shop: Shop) -> None:
    assert shop.weeks() == {}
