"""Two decisions at once, on the real servers: one wins, the other gets an error, the alias follows. And kills.

REVIEW_ROUNDS sets how often; `make faults` does it a hundred times.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from models.errors import TailorbirdError
from models.primitives.json_types import JsonObject
from tasks.promotion.apply_decision import restore
from tasks.promotion.champion import CHAMPION, sync_aliases
from tasks.promotion.review_requests import Decision
from tasks.reconciler.reconcile import reconcile_once
from tasks.scoring.roll_back import _pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Desk, Shop

ROUNDS = int(os.environ.get("REVIEW_ROUNDS", "3"))


def at_once(*works: Callable[[], object]) -> list[str | None]:
    """Run the calls at once; return the error message of each, None for a success."""
    start = Barrier(len(works))

    def message_of(work: Callable[[], object]) -> str | None:
        start.wait()
        try:
            work()
        except TailorbirdError as refusal:
            return str(refusal)
        return None

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(message_of, works))


def request_again(desk: Desk, *versions: int) -> None:
    """Request decisions about versions again, as if none had been made."""
    desk.write(f"DELETE FROM reviews WHERE model_version IN ({', '.join(map(str, versions))})")
    for version in versions:
        desk.registry.untag_version(version, "review")  # the running reconciler would apply it
        desk.ask(version)


def settled(desk: Desk) -> JsonObject:
    """Return the champion; the alias must agree."""
    champion = desk.champion()
    assert desk.registry.aliases()[CHAMPION] == champion["model_version"]
    assert champion["alias_synced_at"] is not None
    return champion


def test_of_two_versions_approved_at_once_one_is_promoted_and_the_other_refused(desk: Desk) -> None:
    one, other = desk.version(), desk.version()
    won = set()
    for _ in range(ROUNDS):
        request_again(desk, one, other)
        before = desk.champion()
        messages = at_once(lambda: desk.decide(one), lambda: desk.decide(other))
        champion = settled(desk)
        assert sorted(map(bool, messages)) == [False, True], messages
        winner, loser = (one, other) if messages[0] is None else (other, one)
        assert (champion["model_version"], champion["previous_promotion_id"]) == (winner, before["promotion_id"])
        assert [desk.review(version)["decision"] for version in (winner, loser)] == ["approved", None]
        won.add(winner)
    assert desk.registry.version(winner).tags["review"] == "approved"


def test_a_promotion_and_a_rollback_at_once_never_leave_a_lie(desk: Desk) -> None:
    held, version = desk.version(), desk.version()
    for _ in range(ROUNDS):
        request_again(desk, held)
        desk.decide(held)
        request_again(desk, version)
        before = desk.champion()
        messages = at_once(lambda: desk.decide(version), lambda: go_back(desk))
        champion = settled(desk)
        approved, back = (message is None for message in messages)
        assert approved or back, messages
        assert (desk.review(version)["decision"] == "approved") == approved
        if approved and not back:
            assert (champion["model_version"], champion["previous_promotion_id"]) == (version, before["promotion_id"])
        elif approved:  # first promoted, then taken back
            assert (champion["model_version"], champion["restored_promotion_id"]) == (held, before["promotion_id"])
        else:
            assert champion["previous_promotion_id"] == before["promotion_id"]
            assert champion["model_version"] != version


def go_back(desk: Desk) -> None:
    """Go one step back, as `roll_back_model` does, without the lists."""
    champion, earlier = _pair(desk.installation)
    with desk.installation.engine.begin() as connection:
        restore(connection, champion, earlier, Decision(True, "bob", "a test", "rollback"))
    sync_aliases(desk.installation.engine, desk.registry)


def test_yes_and_no_at_once_are_one_decision(desk: Desk) -> None:
    for _ in range(ROUNDS):
        version = desk.ask()
        messages = at_once(lambda v=version: desk.decide(v), lambda v=version: desk.decide(v, approve=False))
        assert sorted(map(bool, messages)) == [False, True], messages
        decided = desk.review(version)["decision"]
        assert decided == ("approved" if messages[0] is None else "rejected")
        assert (settled(desk)["model_version"] == version) == (decided == "approved")


@pytest.mark.faults
@pytest.mark.parametrize("server", ["mlflow", "prefect"])
def test_a_server_that_is_killed_in_the_middle_leaves_the_old_champion_or_the_new(
    stocked: Shop, desk: Desk, server: str
) -> None:
    before, version = desk.champion()["model_version"], desk.ask()
    arguments = ("decide", str(version), "--approve", "--reason", "a test", "--reviewer", "ann")
    command = stocked.start(*arguments)
    stocked.kill(server, after=3.0)
    stocked.run("up")
    _, output = command.communicate(timeout=300)
    assert "Traceback" not in output
    decided, champion = desk.review(version)["decision"], desk.champion()["model_version"]
    assert (decided, champion) in {(None, before), ("approved", version)}
    if command.returncode == 0:
        assert decided == "approved"
    stocked.run(*arguments)
    reconcile_once()
    assert settled(desk)["model_version"] == version
    assert desk.registry.version(version).tags["review"] == "approved"


def test_two_people_can_set_the_same_tag_at_once(desk: Desk) -> None:
    version = desk.version()
    for number in range(ROUNDS):
        tag = {f"word-{number}": "value"}
        messages = at_once(lambda t=tag: desk.tag(version, **t), lambda t=tag: desk.tag(version, **t))
        assert messages == [None, None]
