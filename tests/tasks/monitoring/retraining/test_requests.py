"""Tests retrain requests on a real PostgreSQL: only one is open at a time."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Engine, text

from infra.installation import Installation
from models.errors import TailorbirdError
from tasks.monitoring.retraining import requests
from tasks.monitoring.retraining.requests import (
    SupersededError,
    claim,
    finish,
    get_request,
    give_up,
    note_step,
    open_request,
    renew_lease,
    request_retraining,
)
from tasks.review.outcomes import ReviewOutcome

ROUNDS = 10


@pytest.fixture
def engine(installation: Installation) -> Engine:
    return installation.engine


def new_request(engine: Engine, origin: Any = "drift") -> int:
    with engine.begin() as connection:
        made = request_retraining(connection, origin, "baskets have moved")
    assert made is not None
    return made.request_id


def state(engine: Engine, request_id: int) -> requests.Request:
    with engine.connect() as connection:
        return get_request(connection, request_id)


def silence(engine: Engine) -> None:
    """Let every lease expire."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE retrain_requests SET leased_until = now() - interval '1 second'"))


def at_once(first: Callable[[], Any], second: Callable[[], Any]) -> list[Any]:
    """Run both at the same moment."""
    barrier = Barrier(2)

    def run(work: Callable[[], Any]) -> Any:
        barrier.wait()
        return work()

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, [first, second]))


def test_while_a_request_is_open_no_other_is_made_and_afterwards_one_is(engine: Engine) -> None:
    first = new_request(engine)
    with engine.begin() as connection:
        assert request_retraining(connection, "person", "again") is None
        result = open_request(connection)
        assert result is not None
        assert (result.request_id, result.origin, result.status, result.steps) == (first, "drift", "requested", {})
    own = claim(engine, first, "run-1")
    assert own is not None
    with engine.begin() as connection:
        assert request_retraining(connection, "schedule", "again") is None
    assert finish(own, requests.DONE, ReviewOutcome.CHAMPION_KEPT)
    assert new_request(engine, "schedule") > first


def test_of_two_who_ask_at_once_one_gets_a_request(engine: Engine) -> None:
    def one() -> requests.Request | None:
        with engine.begin() as connection:
            return request_retraining(connection, "drift", "moved")

    for _ in range(ROUNDS):
        [made] = [result for result in at_once(one, one) if result is not None]
        own = claim(engine, made.request_id, None)
        assert own is not None
        finish(own, requests.DONE, ReviewOutcome.CHAMPION_KEPT)


def test_of_two_who_claim_at_once_one_works(engine: Engine) -> None:
    for number in range(ROUNDS):
        request_id = new_request(engine)
        if number % 2:  # one that fell silent is taken once too
            claim(engine, request_id, "lost")
            silence(engine)
        result = at_once(lambda: claim(engine, request_id, "a"), lambda: claim(engine, request_id, "b"))  # noqa: B023
        [own] = [held for held in result if held is not None]
        assert state(engine, request_id).flow_run == own.request.flow_run
        assert finish(own, requests.DONE, ReviewOutcome.CHAMPION_KEPT)


def test_a_claim_counts_up_the_fence_names_the_run_and_is_the_only_one(engine: Engine) -> None:
    own = claim(engine, new_request(engine), "run-1")
    assert own is not None
    assert (own.request.fence, own.request.status, own.request.flow_run) == (1, "running", "run-1")
    assert own.request.started_at is not None
    assert own.request.leased_until is not None
    assert timedelta(seconds=100) < own.request.leased_until - datetime.now(UTC) < timedelta(seconds=140)
    assert claim(engine, own.request.request_id, "run-2") is None
    for status in ("done", "failed"):
        finish(own, status, "over")
        assert claim(engine, own.request.request_id, None) is None


def test_a_run_that_was_silent_loses_the_request_and_writes_nothing_more(engine: Engine) -> None:
    request_id = new_request(engine)
    lost = claim(engine, request_id, "run-1")
    assert lost is not None
    lost.ensure_held()
    silence(engine)
    lost.ensure_held()  # late, but nobody else has begun
    taken = claim(engine, request_id, "run-2")
    assert taken is not None
    assert taken.request.fence == 2
    with pytest.raises(SupersededError, match=f"{request_id} was superseded: .* another one works on it"):
        lost.ensure_held()
    with pytest.raises(SupersededError):
        note_step(lost, "train", "http://lost")
    assert not finish(lost, requests.FAILED, "lost")
    note_step(taken, "features", "http://a")
    note_step(taken, "train", "http://b")
    assert finish(taken, requests.DONE, ReviewOutcome.WAITING)
    result = state(engine, request_id)
    assert (result.status, result.outcome, result.leased_until) == ("done", "waits", None)
    assert result.steps == {"features": "http://a", "train": "http://b"}


def test_the_lease_is_renewed_while_the_work_goes_on_and_no_longer(engine: Engine) -> None:
    request_id = new_request(engine)
    own = claim(engine, request_id, None, lease=0.6)
    assert own is not None
    with renew_lease(own):
        for _ in range(8):
            assert claim(engine, request_id, None) is None
            time.sleep(0.2)
    time.sleep(0.7)
    assert claim(engine, request_id, None) is not None


def test_the_renewal_of_who_lost_a_request_leaves_it_to_the_other(engine: Engine) -> None:
    request_id = new_request(engine)
    lost = claim(engine, request_id, None, lease=0.3)
    assert lost is not None
    silence(engine)
    taken = claim(engine, request_id, None, lease=100)
    assert taken is not None
    with renew_lease(lost):
        time.sleep(0.3)
    assert state(engine, request_id).leased_until == taken.request.leased_until


def test_a_request_that_nobody_works_on_is_found_when_it_has_waited(engine: Engine) -> None:
    request_id = new_request(engine)
    with engine.begin() as connection:
        assert requests.abandoned_request(connection, 20) is None
        connection.execute(text("UPDATE retrain_requests SET requested_at = now() - interval '21 seconds'"))
    with engine.connect() as connection:
        result = requests.abandoned_request(connection, 20)
    assert result is not None
    own = claim(engine, request_id, None)
    with engine.connect() as connection:
        assert requests.abandoned_request(connection, 20) is None
    silence(engine)
    with engine.begin() as connection:
        lost = requests.abandoned_request(connection, 20)
        assert lost is not None
        assert not give_up(connection, result, "no")  # it was claimed since
        assert give_up(connection, lost, "given up")
    assert own is not None
    assert not finish(own, requests.DONE, ReviewOutcome.CHAMPION_KEPT)
    assert state(engine, request_id).outcome == "given up"


def test_requests_are_counted_and_listed_with_their_outcome(engine: Engine) -> None:
    began = datetime.now(UTC) - timedelta(minutes=1)
    for outcome in (ReviewOutcome.CHAMPION_KEPT, ReviewOutcome.REFUSED, ReviewOutcome.PROMOTED):
        own = claim(engine, new_request(engine), None)
        assert own is not None
        finish(own, requests.DONE, outcome)
    own = claim(engine, new_request(engine, "person"), None)
    with engine.connect() as connection:
        assert requests.count_since(connection, began) == 3
        assert requests.count_since(connection, datetime.now(UTC) + timedelta(minutes=1)) == 0
        outcomes = [result.outcome for result in requests.finished(connection)]
        assert outcomes[:2] == ["promoted", "refused"]
        assert own is not None
        assert requests.open_request(connection) == own.request
        with pytest.raises(TailorbirdError, match="no retrain request 999"):
            get_request(connection, 999)
