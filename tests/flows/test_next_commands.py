"""Commands in every state that a first week goes through: the situation once, then the next command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, text

from flows.commands import modelling, running, services
from infra.configuration.settings import load
from infra.database.schema.schema import datasets, ingest_batches, items, promotions, reviews
from infra.database.schema.trust_schema import trained_bundles
from infra.installation import Installation
from infra.overview.situation import step
from models.errors import TailorbirdError
from models.lists.rules.placement_config import PlacementError
from models.monitoring.guidance.next_step import NEEDS, refusal
from serving.queries.freshness import unconfigured, unconfigured_line
from tests.published import published, shelf

ORIGIN = {"dataset_version": "d1", "metrics": {}, "bundle": "b", "digest": "d", "actor": "a", "reason": "r"}
Build = Callable[[Engine], None]


def do(*statements: Any) -> Build:
    def build(engine: Engine) -> None:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(statement)

    return build


def ingested(batch: str = "b1") -> Any:
    counts = {"read": 9, "accepted": 9, "finished_at": text("clock_timestamp()")}
    line = {"dataset": "events", "source": "s", "location": "l", "status": "committed", "consent": "c"}
    return insert(ingest_batches).values(batch_id=batch, **line, **counts)


def reviewed(version: int, passed: bool, decision: str | None = None) -> Any:
    gate = [{"name": "size", "outcome": "passed" if passed else "refused", "detail": "too large"}]
    row = {"dataset_version": "d1", "model_version": version, "passed": passed, "gate": gate}
    return insert(reviews).values(**row, decision=decision)


BUILT = (ingested(), insert(datasets).values(version="d1", manifest={}, created_at=text("clock_timestamp()")))
DIGESTS = {"run_key": "k", "digest": "d", "evaluation_digest": "e", "dataset_version": "d1"}
TRAINED = (*BUILT, insert(trained_bundles).values(run_id="r", kind="als", **DIGESTS))
PROMOTED = (
    *TRAINED,
    reviewed(1, True, "approved"),
    insert(promotions).values(previous_promotion_id=0, model_version=1, kind="als", **ORIGIN),
    insert(items).values(item_id="i", attributes={}, available=True, batch_id="b1"),
)
STATES: dict[str, Build] = {
    "empty": do(),
    "ingested": do(ingested()),
    "data set": do(*BUILT),
    "trained": do(*TRAINED),
    "refused": do(*TRAINED, reviewed(1, False)),
    "waiting": do(*TRAINED, reviewed(1, True)),
    "champion": do(*PROMOTED),
}


@pytest.fixture(params=STATES)
def early(request: pytest.FixtureRequest, installation: Installation) -> Installation:
    """Return an installation in one of the states before there is a champion."""
    STATES[request.param](installation.engine)
    return installation


def test_every_flow_is_refused_before_it_starts_or_may_run(early: Installation) -> None:
    from infra.overview.situation import read

    now, next_one = (
        read(early.engine, early.settings),
        str(step(early.engine, early.settings)),
    )
    for command in NEEDS.keys() - {"monitor", "audit"}:
        if refusal(command, now) is None:
            running.refuse_early(command)
            continue
        with pytest.raises(TailorbirdError) as refused:
            running.refuse_early(command)
        assert str(refused.value) == next_one
    running.refuse_early("monitor")
    running.refuse_early("ledger")


def test_questions_about_lists_that_are_not_there_name_the_next_command_once(early: Installation) -> None:
    next_one = str(step(early.engine, early.settings))
    questions: list[Callable[[], None]] = [
        lambda: services.recommend("somebody"),
        lambda: services.explain("somebody", "i"),
        lambda: services.goes_with(["i"]),
        lambda: services.goes_with(["no such item"]),
    ]
    for question in questions:
        with pytest.raises(TailorbirdError) as refused:
            question()
        assert str(refused.value) == next_one
        assert next_one.count("Next: ") == 1


def test_the_status_and_the_end_of_a_command_name_the_next_one(
    early: Installation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.supervisor.probes.reachable", lambda _: {"postgres": True})
    monkeypatch.setattr("infra.supervisor.probes.running_clients", lambda _: {})
    expected = step(early.engine, early.settings)
    services.status()
    status = capsys.readouterr().out
    running.finish("compact", {"files": 1}, as_json=False)
    assert "Next: " not in capsys.readouterr().out
    running.finish("validation_of_nothing", {"folds": 1}, as_json=False)
    ended = capsys.readouterr().out
    for printed in (status, ended):
        assert printed.count(f"Next: {expected.command}") == 1
    running.finish("validation_of_nothing", {"folds": 1}, as_json=True)
    assert "Next: " not in capsys.readouterr().out


@pytest.mark.parametrize("question", [services.recommend, lambda user, place: services.explain(user, "i", place)])
def test_a_placement_that_there_is_not_is_an_error_with_the_names_there_are(
    installation: Installation, question: Callable[[str, str], None]
) -> None:
    STATES["champion"](installation.engine)
    with pytest.raises(PlacementError, match="There is no placement 'nosuch'; there are home, buy-again"):
        question("somebody", "nosuch")
    with pytest.raises(PlacementError, match=r"about items\. Next: `tailorbird goes-with ITEM`"):
        question("somebody", "similar-items")


def test_a_placement_to_score_that_there_is_not_is_refused_before_anything_is_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TAILORBIRD_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("TAILORBIRD_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")
    with pytest.raises(PlacementError, match="There is no placement 'hom'; there are home"):
        modelling.score(["home", "hom"])
    assert not (tmp_path / "var").exists()


def test_readers_state_that_a_placement_is_no_longer_configured_and_of_when_its_lists_are(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    STATES["champion"](installation.engine)
    with installation.engine.begin() as connection:
        connection.execute(text("INSERT INTO identity.users VALUES ('key', 'ann', 1), ('late', 'late', 1)"))
        person = "INSERT INTO users (user_key, attributes, consent, consent_source, batch_id) VALUES "
        connection.execute(text(f"{person} ('key', '{{}}', true, 'a', 'b'), ('late', '{{}}', true, 'a', 'b')"))
    published(installation.engine, {"key": [("i", 1.0, "why")]}, shelf(version=1, k=1))
    published(installation.engine, {"i": []}, shelf("other", "goes-well-with", 1, 1, "item"))
    with installation.engine.begin() as connection:
        connection.execute(text("UPDATE placements SET checked_at = '2026-11-10 05:32 +01:00'"))
    services.goes_with(["i"])
    assert "Nothing is known to go with it: too few baskets have it." in capsys.readouterr().out
    (tmp_path / "own.toml").write_text("[mail]\nk = 1\n")
    monkeypatch.setenv("TAILORBIRD_PLACEMENTS", str(tmp_path / "own.toml"))
    services.goes_with(["i"])
    printed = " ".join(capsys.readouterr().out.split())
    assert printed == (
        "These lists name nothing that goes with it. goes-well-with is no longer configured; its lists are of "
        "2026-11-10 04:32 UTC. For newer ones, configure it again, then run `tailorbird score goes-well-with`."
    )
    services.recommend("ann")
    shown = capsys.readouterr().out
    assert "Recommendations for ann" in shown
    assert "home is no longer configured; its lists are of 2026-11-10 04:32 UTC." in shown
    services.recommend("late")
    why = "No list is published for this user yet. home is no longer configured;"
    assert why in capsys.readouterr().out
    assert unconfigured_line(unconfigured(installation.engine, load())) == (
        "No longer configured, but still shown: goes-well-with (lists of 2026-11-10 04:32 UTC), "
        "home (lists of 2026-11-10 04:32 UTC)."
    )


def test_a_user_without_a_list_gets_the_reason(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    STATES["champion"](installation.engine)
    published(installation.engine, {"key": [("i", 1.0, "why")]}, shelf(version=1, k=1))
    with installation.engine.begin() as connection:
        connection.execute(text("INSERT INTO identity.users VALUES ('late', 'late', 1), ('gone', 'gone', 1)"))
        people = "INSERT INTO users (user_key, attributes, consent, consent_source, batch_id) VALUES "
        connection.execute(text(f"{people} ('late', '{{}}', true, 'a', 'b'), ('gone', '{{}}', false, 'a', 'b')"))
    services.recommend("late")
    assert "No list is published for this user yet. Next: `tailorbird score home`." in capsys.readouterr().out
    with installation.engine.begin() as connection:
        connection.execute(text("UPDATE placements SET moved_by = 'ann'"))
    services.recommend("late")
    assert "ann took the lists of home back to batch 1. This user has no list there" in capsys.readouterr().out
    services.recommend("gone")
    assert "consent is missing or was refused, or the user is suppressed" in capsys.readouterr().out
    with pytest.raises(TailorbirdError, match="Nobody with the id 'stranger'"):
        services.recommend("stranger")
