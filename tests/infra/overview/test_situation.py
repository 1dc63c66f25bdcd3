"""The situation is read from the tables that commands write."""

from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert, text, update

from infra.database.schema.ledger_schema import audit_log
from infra.database.schema.schema import datasets, ingest_batches, promotions, quarantine, reviews, search_results
from infra.database.schema.trust_schema import trained_bundles
from infra.installation import Installation
from infra.overview.situation import read, step, why_not
from models.gate.results import BETTER
from models.monitoring.guidance.next_step import Stage
from models.monitoring.guidance.situation import EarlierChampion, Situation
from tasks.scoring import batch_state
from tests.published import published

ORIGIN = {"dataset_version": "d1", "metrics": {}, "bundle": "b", "digest": "d", "actor": "a", "reason": "r"}


def ingest(connection: Connection, batch: str, accepted: int, dataset: str = "events") -> None:
    counts = {"read": accepted, "accepted": accepted}
    line = {
        "batch_id": batch,
        "dataset": dataset,
        "source": "s",
        "location": "l",
        "status": "committed",
        "consent": "c",
    }
    connection.execute(insert(ingest_batches).values(**line, **counts, finished_at=text("clock_timestamp()")))


def undo(connection: Connection) -> None:
    entry = {"action": "undo", "subject": "b1", "actor": "ann", "reason": "twice", "at": text("clock_timestamp()")}
    connection.execute(insert(audit_log).values(**entry))
    connection.execute(text("UPDATE ingest_batches SET status = 'undone' WHERE batch_id = 'b1'"))


def build(connection: Connection, version: str) -> None:
    connection.execute(insert(datasets).values(version=version, manifest={}, created_at=text("clock_timestamp()")))


def train(connection: Connection, kinds: tuple[str, ...]) -> None:
    digests = {"run_key": "k", "digest": "d", "evaluation_digest": "e", "dataset_version": "d1"}
    for kind in kinds:
        connection.execute(insert(trained_bundles).values(run_id=kind, kind=kind, **digests))


def review(connection: Connection, version: int, passed: bool) -> None:
    gate = [{"name": "size", "outcome": "passed" if passed else "refused"}]
    row = {"dataset_version": "d1", "model_version": version, "passed": passed, "gate": gate}
    connection.execute(insert(reviews).values(row))


def test_the_first_way_from_nothing_to_lists_is_read_step_by_step(installation: Installation) -> None:

    def stage() -> Stage:
        return step(installation.engine, installation.settings).stage

    def change(*statements: Any) -> None:
        with installation.engine.begin() as connection:
            for statement in statements:
                if callable(statement):
                    statement(connection)
                else:
                    connection.execute(statement)

    assert read(installation.engine, installation.settings) == Situation()
    change(lambda c: ingest(c, "b0", 60, "items"))
    assert stage() is Stage.NO_EVENTS
    change(lambda c: ingest(c, "b1", 900))
    assert stage() is Stage.INGESTED
    deleted = update(ingest_batches).where(ingest_batches.c.batch_id == "b1")
    change(deleted.values(deleted=900))
    assert stage() is Stage.NO_EVENTS
    change(deleted.values(deleted=0))
    change(lambda c: build(c, "d1"))
    assert stage() is Stage.DATASET
    assert "tailorbird search" in step(installation.engine, installation.settings).also
    state = {"dataset_version": "d1", "model": "als", "study": "s", "config": {}, "ndcg_10": 0.1, "trials": 2}
    change(insert(search_results).values(state))
    assert (stage(), step(installation.engine, installation.settings).also) == (Stage.DATASET, "")
    change(lambda c: train(c, ("als", "two_stage")))
    assert "2 models are trained" in (why_not("score", installation.engine, installation.settings) or "")
    change(lambda c: review(c, 1, False))
    assert "refused version 1 (size)" in (why_not("score", installation.engine, installation.settings) or "")
    change(lambda c: ingest(c, "b2", 10))
    assert stage() is Stage.NEWER_EVENTS
    change(text("DELETE FROM ingest_batches WHERE batch_id = 'b2'"), lambda c: review(c, 2, True))
    assert stage() is Stage.WAITING
    closed = update(reviews).where(reviews.c.model_version == 2)
    change(closed.values(decision="rejected", reviewer="nobody", via="deadline"))
    assert stage() is Stage.EXPIRED
    change(closed.values(decision="approved", reviewer="ann", via="command"))
    change(insert(promotions).values(previous_promotion_id=0, model_version=2, kind="als", **ORIGIN))
    state = read(installation.engine, installation.settings)
    assert (step(installation.engine, installation.settings).stage, state.champion) == (Stage.NO_LISTS, 2)
    assert "home" in state.without_lists
    assert why_not("score", installation.engine, installation.settings) is None


def test_only_events_that_came_since_the_data_set_are_new(installation: Installation) -> None:
    with installation.engine.begin() as connection:
        ingest(connection, "b1", 900)
        for number in range(3):
            row = {"batch_id": "b1", "row_number": number, "chunk": 0, "rule_ids": [], "payload": {}}
            connection.execute(insert(quarantine).values(row))
        build(connection, "d1")
    assert read(installation.engine, installation.settings).new_events == 0
    with installation.engine.begin() as connection:
        ingest(connection, "b2", 0)
        ingest(connection, "b3", 40, "users")
        ingest(connection, "b4", 7)
        replayed = "UPDATE quarantine SET outcome = 'replayed', replayed_at = clock_timestamp() WHERE row_number < 2"
        connection.execute(text(replayed))
        connection.execute(text("UPDATE ingest_batches SET finished_at = clock_timestamp() WHERE batch_id = 'b1'"))
    now = read(installation.engine, installation.settings)
    assert (now.new_events, now.retrain_due) == (7 + 2, False)
    settings = installation.settings.model_copy(update={"retrain_after_share": 0.009})
    assert read(installation.engine, settings).retrain_due
    with installation.engine.begin() as connection:
        connection.execute(text("UPDATE datasets SET created_at = now() - interval '14 days 1 hour'"))
    assert 14 < read(installation.engine, installation.settings).dataset_days < 14.1


def test_lists_of_another_version_and_old_ones_are_out_of_date(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "own.toml").write_text("[home]\nk = 1\n")
    monkeypatch.setenv("TAILORBIRD_PLACEMENTS", str(tmp_path / "own.toml"))
    settings = installation.settings.model_copy(update={"placements": str(tmp_path / "own.toml")})
    made: Engine = installation.engine
    with made.begin() as connection:
        ingest(connection, "b1", 900)
        build(connection, "d1")
        connection.execute(insert(promotions).values(previous_promotion_id=0, model_version=2, kind="als", **ORIGIN))
        item = "INSERT INTO items (item_id, attributes, available, batch_id) VALUES ('i', '{}', true, 'b1')"
        connection.execute(text(item))
    published(made, {"key": [("i", 1.0, "why")]}, batch_state.BatchSpec("home", "run", 2, "d1", 1))
    assert step(made, settings).stage is Stage.DONE
    with made.begin() as connection:
        connection.execute(text("UPDATE placements SET moved_by = 'ann'"))
    assert "makes new lists for everybody there" in step(made, settings).also
    with made.begin() as connection:
        connection.execute(text("UPDATE placements SET moved_by = NULL, checked_at = now() - interval '49 hours'"))
    assert step(made, settings).command == "tailorbird score"
    with made.begin() as connection:
        connection.execute(text("UPDATE placements SET checked_at = now()"))
        connection.execute(insert(promotions).values(previous_promotion_id=1, model_version=3, kind="als", **ORIGIN))
    assert read(made, settings).stale == ("home",)
    with made.begin() as connection:
        connection.execute(text("UPDATE placements SET moved_by = 'ann: the lists were odd'"))
    assert read(made, settings).stale == ("home",)  # taken back before the promotion
    with made.begin() as connection:
        connection.execute(text("UPDATE placements SET published_at = now()"))
    assert read(made, settings).stale == ()


def test_a_version_is_left_by_a_rollback_until_it_or_a_newer_one_is_promoted(installation: Installation) -> None:

    def promote(follows: int, version: int, **more: Any) -> tuple[int | None, bool]:
        with installation.engine.begin() as connection:
            row = ORIGIN | {"previous_promotion_id": follows, "model_version": version, "kind": "als"} | more
            connection.execute(insert(promotions).values(row))
        now = read(installation.engine, installation.settings)
        return now.rolled_back_version, now.rolled_back_overridden

    assert promote(0, 1) == (None, False)
    assert promote(1, 2, overridden=True) == (None, False)
    assert promote(2, 1, restored_promotion_id=1) == (2, True)
    assert promote(3, 2, restored_promotion_id=2, overridden=True) == (None, False)
    assert promote(4, 1, restored_promotion_id=1) == (2, True)
    assert promote(5, 3) == (None, False)


def test_undone_batches_are_named_until_newer_data_sets_and_champions_replace_theirs(
    installation: Installation,
) -> None:
    made: Engine = installation.engine
    origin = ORIGIN | {"previous_promotion_id": 0, "model_version": 2, "kind": "als", "dataset_version": "d1"}

    def built(version: str) -> None:
        with made.begin() as connection:
            build(connection, version)

    with made.begin() as connection:
        ingest(connection, "b1", 900)
        ingest(connection, "b2", 900)
        connection.execute(insert(promotions).values(**origin))
        again = {"previous_promotion_id": 1, "model_version": 3}
        connection.execute(insert(promotions).values(**origin | again))
    built("d1")
    assert read(made, installation.settings).undone_in_dataset == ()
    with made.begin() as connection:
        undo(connection)
    state = step(made, installation.settings)
    assert state.situation == "Data set d1 and version 3, the champion, still contain batch b1, which is undone."
    assert state.command == "tailorbird features"
    built("d2")
    state_now = read(made, installation.settings)
    assert (state_now.undone_in_dataset, state_now.undone_in_champion) == ((), ("b1",))
    assert state_now.earlier is None, "the champion before contains them too"
    assert step(made, installation.settings).stage is Stage.DATASET


def test_the_champion_before_is_compared_on_the_same_test_weeks(installation: Installation) -> None:
    def champion(follows: int, version: int, dataset: str, ndcg: float, **others: Any) -> int:
        row = ORIGIN | {"dataset_version": dataset, "metrics": {"ndcg_at_10": ndcg}, "kind": "als"} | others
        entry = insert(promotions).values(previous_promotion_id=follows, model_version=version, **row)
        with installation.engine.begin() as connection:
            return int(connection.execute(entry.returning(promotions.c.promotion_id)).scalar_one())

    def earlier() -> EarlierChampion | None:
        return read(installation.engine, installation.settings).earlier

    first = champion(0, 1, "d1", 0.25)
    assert earlier() is None
    second = champion(first, 2, "d1", 0.3)
    assert earlier() == EarlierChampion(1, "als", 0.25, 0.3)
    third = champion(second, 3, "d2", 0.5, gate=[{"name": BETTER, "value": 0.125}])
    assert earlier() == EarlierChampion(2, "als", 0.375, 0.5)
    champion(third, 2, "d1", 0.3, restored_promotion_id=second)
    assert earlier() == EarlierChampion(1, "als", 0.25, 0.3)
