"""One list goes around: shown by the API, clicked, collected, ingested, labelled, learned from, and counted."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.installation import Installation
from tasks.datasets.build_dataset import build_dataset, split_by
from tasks.ingest.events.ingest_segment import ingest_segment
from tasks.monitoring.realised_accuracy import realised_accuracy
from tests.published import published, put_back, shelf
from tests.tasks.ingest.inbox.collecting import AGREED, Collecting, collecting

DAYS_AGO = 20
"""When the list is shown; the test moves the messages of now back to that day."""


@pytest.fixture
def shop(installation: Installation, tmp_path: Path) -> Iterator[Collecting]:
    with collecting(installation, tmp_path) as made:
        yield made


def history(path: Path, now: datetime) -> str:
    """Ten users who buy every week."""
    lines = []
    for day in range(1, 120, 3):
        for user in range(10):
            at = (now - timedelta(days=day, minutes=user)).isoformat()
            products = [{"product_id": f"old {(user + day) % 5}", "price": 2, "quantity": 1, "name": "Old"}]
            properties = {"order_id": f"o{day}-{user}", "products": products, "currency": "EUR"}
            call = {"type": "track", "event": "Order Completed", "messageId": f"h{day}-{user}", "userId": f"u{user}"}
            lines.append(json.dumps(call | {"timestamp": at, "properties": properties, "context": AGREED}))
    path.write_text("\n".join(lines))
    return str(path)


def wait_for(shop: Collecting, statement: str, count: int) -> None:
    end = time.monotonic() + 15
    while shop.api.rows(statement)[0][0] < count:
        assert time.monotonic() < end, statement
        time.sleep(0.05)


def test_a_click_on_a_shown_list_is_learned_from_and_counted(shop: Collecting, tmp_path: Path) -> None:
    installation, now = shop.api.here, datetime.now(UTC)
    ingest_segment.fn("segment", history(tmp_path / "history.jsonl", now))
    key = shop.api.key("ann")
    client = shop.python()
    client.identify("ann", {}, AGREED)  # her consent counts at once
    client.flush()
    published(installation.engine, {key: [("cup", 2.0, "why"), ("pan", 1.0, "why")]}, shelf(k=2))
    shown_at = now - timedelta(days=DAYS_AGO)
    put_back(installation.engine, (shown_at - timedelta(hours=1)).timestamp())

    answer: dict[str, Any] = {}
    with httpx.Client(base_url=shop.server.address, headers={"authorization": f"Bearer {shop.read_key}"}) as reader:
        end = time.monotonic() + 15
        while [item["item_id"] for item in answer.get("items", [])] != ["cup", "pan"]:
            assert time.monotonic() < end, answer
            answer = reader.get("/v1/users/ann/recommendations", params={"k": 2}).json()
    origin = {"recommendation_id": answer["recommendation_id"], "placement": "home", "position": 1}
    client.track("ann", "Product Clicked", {"product_id": "cup", **origin}, AGREED)
    bought = {"order_id": "loop", "currency": "EUR", "products": [{"product_id": "cup", "price": 3, "quantity": 1}]}
    client.track("ann", "Order Completed", bought, AGREED)
    client.flush()
    client.join()
    assert shop.errors == []
    wait_for(shop, "SELECT count(*) FROM event_inbox WHERE kind = 'impressions' AND user_key IS NOT NULL", 1)
    wait_for(shop, "SELECT count(*) FROM event_inbox WHERE kind = 'call'", 3)
    # The clock of the library stays, so that the correction by `sentAt` moves the calls back, too.
    shop.api.rows(f"UPDATE event_inbox SET received_at = received_at - interval '{DAYS_AGO} days'")
    shop.api.move()

    rows = [row for row in shop.api.lake() if row["user_key"] == key]
    mine = [row for row in rows if row["recommendation_id"] in (None, answer["recommendation_id"])]
    assert sorted(row["event_type"] for row in mine) == ["click", "impression", "impression", "purchase"]
    manifest = build_dataset.fn(split_by(validation_days=7, test_days=7))
    impressions = installation.lake.read_dataset(manifest["version"], "impressions").to_pylist()
    labels = {
        row["item_id"]: row["label"] for row in impressions if row["recommendation_id"] == answer["recommendation_id"]
    }
    assert labels == {"cup": 1, "pan": 0}
    start, stop = shown_at - timedelta(days=1), shown_at + timedelta(days=1)
    outcome = realised_accuracy(installation, start.timestamp(), stop.timestamp())
    assert outcome is not None
    (row,) = [row for row in outcome.to_pylist() if row["user_key"] == key]
    assert (row["targets"], row["hits"]) == (1, 1)
