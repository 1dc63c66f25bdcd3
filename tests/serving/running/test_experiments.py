"""Variants of an experiment in answers of a real server with two workers, and in what it stores."""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import pytest

from infra.database.experiment_rows import add_experiment, begin_experiment, experiment_named, stop_experiment
from models.experiments.definition import own_placement, parse_experiment
from tasks.experiments.read_experiment import read_experiment
from tasks.ingest.inbox.messages import Due
from tasks.ingest.inbox.move_inbox import move_inbox
from tests.published import published, shelf
from tests.serving.running.shop import PATIENCE, USERS, RunningShop

NAME = "spring"
TEST, CONTROL = f"{NAME}/test", f"{NAME}/control"


def run(shop: RunningShop, name: str = NAME, **form: Any) -> None:
    """Start an experiment in which the test shows the fourth and the later items first."""
    content = {"placements": ["home"], "ends": (datetime.now(UTC) + timedelta(days=9)).date()} | form
    content["variants"] = {"control": {}, "test": {"model": "best_sellers"}}
    parsed = parse_experiment(name, content, {"home": {}})
    lists = {shop.user_key(user): [(item, 0.5, "New") for item in shop.items[3:9]] for user in USERS}
    with shop.engine.begin() as connection:
        started = add_experiment(connection, parsed, "ann", {})
    published(shop.engine, lists, shelf(name, own_placement("home", name, "test"), k=6))
    with shop.engine.begin() as connection:
        begin_experiment(connection, started.experiment_id)


def stop(shop: RunningShop, name: str = NAME) -> None:
    with shop.engine.begin() as connection:
        stop_experiment(connection, experiment_named(connection, name), "ann", "enough is seen")


@pytest.fixture
def client(shop: RunningShop) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shop.server.address, headers={"Authorization": f"Bearer {shop.key}"}) as opened:
        yield opened
    with shop.engine.begin() as connection:
        for statement in (
            "DELETE FROM experiments",
            "DELETE FROM placements WHERE strpos(placement, '~') > 0",
        ):
            connection.exec_driver_sql(statement)


def answer(client: httpx.Client, user: str | None, session: str | None = None, k: str = "3") -> dict[str, Any]:
    """Return an answer; on a busy machine the database may be late for the first, and best sellers fill in."""
    ends = time.monotonic() + PATIENCE
    while (found := asked(client, user, session, k))["degraded"]:
        assert time.monotonic() < ends, "answers stay degraded"
    return found


def asked(client: httpx.Client, user: str | None, session: str | None, k: str) -> dict[str, Any]:
    given = {"k": k} | ({} if session is None else {"session": session})
    path = "/v1/recommendations" if user is None else f"/v1/users/{user}/recommendations"
    with httpx.Client(base_url=client.base_url, headers=client.headers) as fresh:  # a connection, so any worker
        replied = fresh.get(path, params=given)
    assert replied.status_code == 200, replied.text
    found: dict[str, Any] = replied.json()
    return found


def until_seen(client: httpx.Client, users: list[str], *, running: bool) -> set[str]:
    """Wait until all workers know that the experiment runs, or that it ended; return the answers' ids."""
    ends = time.monotonic() + PATIENCE
    calm, answers = 0, set()
    while calm < 12:
        assert time.monotonic() < ends, "the servers did not notice"
        found = [answer(client, user) for user in users[:2]]
        answers |= {one["recommendation_id"] for one in found}
        calm = calm + 1 if all(("variant" in one) == running for one in found) else 0
    return answers


def until_stored(shop: RunningShop, answers: set[str], clicks: int) -> None:
    """Wait until PostgreSQL has all messages: each worker keeps its own on disk while a transaction takes long."""
    ends = time.monotonic() + PATIENCE
    stored = (
        "SELECT DISTINCT jsonb_array_elements_text(payload -> 'recommendation_id') FROM event_inbox "
        "WHERE kind = 'answers'"
    )
    clicked = "SELECT count(*) FROM event_inbox WHERE kind = 'event'"
    while answers - {row[0] for row in shop.rows(stored)} or shop.rows(clicked)[0][0] < clicks:
        assert time.monotonic() < ends, "an answer or a click was not stored"
        time.sleep(0.05)


def test_a_person_keeps_a_variant_in_all_workers_and_the_answer_names_it(
    shop: RunningShop, client: httpx.Client
) -> None:
    run(shop)
    until_seen(client, USERS, running=True)
    first = {user: answer(client, user) for user in USERS[:60]}
    variants = {user: found["variant"] for user, found in first.items()}
    counts = Counter(variants.values())
    assert counts.keys() == {TEST, CONTROL}
    assert min(counts.values()) > 10
    for user, found in first.items():
        assert found["placement"] == "home"
        start = 3 if variants[user] == TEST else 0
        assert [item["item_id"] for item in found["items"]] == shop.items[start : start + 3]
    for _ in range(3):
        assert {user: answer(client, user)["variant"] for user in USERS[:60]} == variants
    read = "SELECT unit_key, variant FROM experiment_units"
    stored = {row.unit_key: f"{NAME}/{row.variant}" for row in shop.rows(read)}
    assert {user: stored[shop.user_key(user)] for user in variants} == variants
    known = {row.user_key: row.item_id for row in shop.rows("SELECT * FROM current_recommendations WHERE rank = 1")}
    for user, found in first.items():
        assert known[shop.user_key(user)] == found["items"][0]["item_id"]


def test_a_person_keeps_the_variant_of_the_device_through_sign_in(shop: RunningShop, client: httpx.Client) -> None:
    run(shop)
    until_seen(client, USERS[70:], running=True)
    for number, user in enumerate(USERS[75:95]):
        session = f"device-{number}"
        before = answer(client, None, session)["variant"]
        assert answer(client, user, session)["variant"] == before
        assert answer(client, user)["variant"] == before
        assert answer(client, user, "another device")["variant"] == before


def test_a_stopped_variant_is_gone_from_the_next_answers(shop: RunningShop, client: httpx.Client) -> None:
    run(shop)
    until_seen(client, USERS, running=True)
    stop(shop)
    until_seen(client, USERS, running=False)
    for user in USERS[:30]:
        found = answer(client, user)
        assert "variant" not in found
        assert [item["item_id"] for item in found["items"]] == shop.items[:3]


def test_visitors_without_consent_or_without_an_id_are_in_no_experiment(
    shop: RunningShop, client: httpx.Client
) -> None:
    run(shop)
    until_seen(client, USERS, running=True)
    refused = client.get(f"/v1/users/{USERS[1]}/recommendations", params={"consent": "false"}).json()
    unknown = answer(client, "a user that nobody knows")
    nobody = answer(client, None)
    assert not any("variant" in found for found in (refused, unknown, nobody))


@pytest.mark.parametrize(
    ("name", "rates", "claim"),
    [
        ("won", {"test": 0.6, "control": 0.1}, "test changed clicks per impression by +"),
        ("even", {"test": 0.3, "control": 0.3}, "No change of clicks per impression is shown"),
    ],
)
def test_clicks_on_answers_name_the_planted_winner_and_none_without_one(
    shop: RunningShop, client: httpx.Client, name: str, rates: dict[str, float], claim: str
) -> None:
    run(shop, name)
    until_stored(shop, until_seen(client, USERS, running=True), 0)
    shop.execute("DELETE FROM event_inbox")
    random = np.random.default_rng(7)
    answers, clicks = set(), 0
    for user in USERS:
        shown = answer(client, user, k="6")
        answers.add(shown["recommendation_id"])
        for item in shown["items"]:
            if random.random() < rates[shown["variant"].partition("/")[2]]:
                event = {
                    "kind": "click",
                    "user": user,
                    "item_id": item["item_id"],
                    "recommendation_id": shown["recommendation_id"],
                }
                assert client.post("/v1/feedback", json=event).status_code == 202
                clicks += 1
    until_stored(shop, answers, clicks)
    move_inbox(shop.installation, "events", Due(), wait=True)
    shop.execute("UPDATE experiments SET started_at = now() - interval '8 days'")
    readout = read_experiment.fn(name)
    assert sum(readout["people"].values()) == len(USERS)
    assert [check["detail"] for check in readout["checks"] if not check["passed"]] == []
    assert readout["claims"]["test"].startswith(claim)
