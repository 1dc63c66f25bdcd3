"""People are erased from a shop with a champion and lists: nothing of them is left, and everybody else is as before."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from infra import locks
from infra.database.schema.privacy_schema import ERASE, LIFT, RESTRICT
from infra.installation import Installation
from infra.keys.identity import pseudonym
from infra.locks import WorkRunsError
from infra.supervisor.startup import BACKTESTS
from models import columns
from models.errors import TailorbirdError
from serving.model.holder import ModelHolder
from serving.model.sources import BundleFolder, ChampionCopy, NewestPromotion
from serving.queries.user_recommendations import user_list
from tasks.datasets.build_dataset import build_dataset, split_by
from tasks.datasets.load_dataset import stored_manifest
from tasks.ingest.events.ingest_events import ingest_events
from tasks.privacy import erase_users as module
from tasks.privacy.erase_users import erase_restored, erase_users, write_tombstones
from tasks.privacy.requests import ask, requests, unknown_ids
from tests.tasks.privacy.stores import dump, find_user, holding, keys_of, missing_events, person
from tests.tasks.stopped_steps import KilledError, ends_at

VIEWS = """
consent = "given"
consent_note = "a test"
unknown_items = "accept"
[events]
file = "views.csv"
user_id = "user"
item_id = "item"
constants = { event_type = "view" }
occurred_at = "at"
time_format = "epoch_s"
consent = "agrees"
"""
KEEPS_OUT = "public.users"
STEPS: tuple[tuple[Any, str], ...] = tuple(
    (module, name) for name in ("erase_tables", "erase_events", "erase_datasets", "update_manifests", "_close", "tidy")
)


def erase(here: Installation, *ids: str) -> dict[str, int]:
    ask(here, ERASE, ids, "ann", "asked by mail")
    return erase_users(here)


def without(rows: dict[str, str], keys: list[str]) -> dict[str, set[str]]:
    """The rows of each table that name none of these people."""
    return {
        name: {row for row in content.split("\n") if not any(key in row for key in keys)}
        for name, content in rows.items()
    }


def events_of_others(here: Installation, keys: list[str]) -> list[Any]:
    rows = pq.ParquetDataset(here.lake.event_files()).read().to_pylist()
    return sorted((row for row in rows if row[columns.USER_KEY] not in keys), key=lambda row: row[columns.EVENT_ID])


def test_nothing_names_who_was_erased_and_everybody_else_is_as_before(published: Any) -> None:
    here, gone, stays = published.here, [person(published, at) for at in range(3)], person(published, 5)
    keys = [keys_of(here)[one] for one in gone]
    shown, others, rows = user_list(here.engine, stays), events_of_others(here, keys), without(dump(here), keys)
    places = {place.place for place in find_user(here, gone[0])}
    assert {"public.users", "public.segments", "identity.users"} <= places
    assert {*holding(here, {keys[0]})} - {"public.recommendations", "public.batch_users"} <= places  # their parts are
    removed = erase(here, *gone)
    assert removed["users"] == 3
    assert removed["events of the lake"] > 0
    assert removed["rows of data sets"] > 0
    assert holding(here, {*keys}) == [KEEPS_OUT]
    assert [
        place for place in find_user(here, gone[0]) if "/bundles/" not in place.place and "draft-" not in place.place
    ] == []
    assert user_list(here.engine, stays) == shown
    assert events_of_others(here, keys) == others
    after = without(dump(here), keys)
    changed = {name for name in rows if rows[name] != after[name]}
    assert changed <= {
        *("public.datasets", "public.audit_log", "identity.privacy_requests", "public.quarantine"),
        *("public.ingest_batches", "public.ingest_repeats", "public.quarantine_repeats", KEEPS_OUT),
    }
    line = requests(here.engine)[0]
    assert (line["state"], line["users"], line["removed"]["users"]) == ("done", 3, 3)


def test_backtests_that_have_not_ended_are_deleted_with_their_installations(small: Installation) -> None:
    backtest = small.settings.var / BACKTESTS / "2024-09-02-2024-09-30-0a1b2c3d"
    for folder in ("000", "weekly/secrets"):
        (backtest / folder).mkdir(parents=True)
    pq.write_table(pa.table({"@user_id": ["u1"]}), backtest / "000" / "users.parquet")
    erase(small, "u1")
    assert not backtest.exists()


@pytest.mark.parametrize("moment", range(len(STEPS) * 2))
def test_an_erasure_that_is_killed_goes_on_when_it_is_run_again(small: Installation, moment: int) -> None:
    key = pseudonym("u1", small.key)
    expected = events_of_others(small, [key])
    ask(small, ERASE, ["u1"], "ann", "asked by mail")
    with pytest.MonkeyPatch.context() as patch:
        ends_at(patch, moment, STEPS)
        with pytest.raises(KilledError):
            erase_users(small)
    erase_users(small)
    assert holding(small, {key}) == [KEEPS_OUT]
    assert events_of_others(small, [key]) == expected
    assert missing_events(small) == 0
    assert [line["state"] for line in requests(small.engine)] == ["done"]


def test_the_same_file_does_not_bring_back_who_was_erased(stage: Any) -> None:
    gone = person(stage, 0)
    erase(stage.here, gone)
    again = pa.array(["again"] * len(stage.shop.transactions))
    stage.shop.write(transactions=stage.shop.transactions.append_column("source", again))
    line = ingest_events.fn("complete_journey", stage.shop.events_file)
    theirs = stage.shop.transactions["household_id"].to_pylist().count(int(gone))
    assert (line["accepted"], line["suppressed"]) == (0, theirs)
    assert holding(stage.here, {pseudonym(gone, stage.here.key)}) == [KEEPS_OUT]
    built = build_dataset.fn()
    assert built["rows"]["users"] == len(keys_of(stage.here))
    assert built["lake"]["events"] == built["lake"]["ledger"]


def test_a_restriction_hides_lists_and_refuses_data_until_it_is_lifted(published: Any) -> None:
    here, one = published.here, person(published, 2)
    shown, key = user_list(here.engine, one), keys_of(here)[one]
    ask(here, RESTRICT, [one], "ann", "asked by mail")
    assert [row for row in user_list(here.engine, one) if row in shown] == []
    assert len(holding(here, {key})) > 1
    ask(here, LIFT, [one], "ann", "asked again")
    assert user_list(here.engine, one) == shown
    assert [(line["kind"], line["state"]) for line in requests(here.engine)] == [("lift", "done"), ("restrict", "done")]


def test_an_erasure_waits_for_other_work_and_hides_the_users_meanwhile(small: Installation) -> None:
    ask(small, ERASE, ["u1", "never seen"], "ann", "asked by mail")
    with (
        locks.locked(small.engine, purpose="train als"),
        pytest.raises(WorkRunsError, match=r"erased while.*train als"),
    ):
        erase_users(small)
    assert requests(small.engine)[0]["state"] == "open"
    with pytest.raises(TailorbirdError, match="Request 1 to erase waits"):
        ask(small, LIFT, ["u1"], "ann", "changed my mind")
    assert unknown_ids(small, ["u1", "never seen"]) == 1
    erase_users(small)
    assert erase_users(small) == {}
    ask(small, LIFT, ["u1"], "ann", "a customer again")
    assert find_user(small, "u1") == []


@pytest.mark.parametrize(
    ("ids", "reason", "message"), [([], "mail", "Name users"), ([" "], "mail", "Name users"), (["u1"], " ", "reason")]
)
def test_requests_that_name_nobody_or_no_reason_are_refused(
    small: Installation, ids: list[str], reason: str, message: str
) -> None:
    with pytest.raises(TailorbirdError, match=re.compile(message, re.IGNORECASE)):
        ask(small, ERASE, ids, "ann", reason)
    assert requests(small.engine) == []


def test_only_what_happens_after_an_erasure_is_accepted_again_and_only_with_a_later_consent(
    small: Installation, tmp_path: Path
) -> None:
    erase(small, "u1")
    (tmp_path / "views.toml").write_text(VIEWS)

    def ingested(name: str, *rows: str) -> tuple[int, int]:
        (tmp_path / name).write_text("\n".join(["user,item,at,agrees", *rows]))
        line = ingest_events.fn(str(tmp_path / "views.toml"), str(tmp_path / name))
        return line["accepted"], line["suppressed"]

    later = int(datetime.now(UTC).timestamp()) + 2
    assert ingested("old.csv", "u1,i1,1600000001,yes", f"u1,i1,{later},") == (0, 2)
    assert ingested("agreed.csv", f"u1,i1,{later},yes") == (1, 0)
    assert ingested("both.csv", "u1,i1,1600000002,yes", f"u1,i2,{later + 1},") == (1, 1)
    erase(small, "u1")
    assert holding(small, {pseudonym("u1", small.key)}) == [KEEPS_OUT]


def test_a_loaded_model_and_one_that_was_rolled_back_do_not_know_an_erased_user(published: Any) -> None:
    here, one, other = published.here, person(published, 2), person(published, 3)
    keys = keys_of(here)
    source = NewestPromotion(here.engine)
    holder = ModelHolder(source, ChampionCopy(here.settings.var / "copy"))
    before = holder.open()
    assert before is not None
    assert keys[one] in before.bundle.model.users
    erase(here, one)
    assert holder.refresh()
    without_database = ModelHolder(BundleFolder(Path("nowhere")), ChampionCopy(here.settings.var / "copy"))
    for loaded in (holder.current(), without_database.open()):
        assert loaded is not None
        users = loaded.bundle.model.users
        assert (keys[one] in users, keys[other] in users, len(users)) == (False, True, len(before.bundle.model.users))
        assert loaded.digest == before.digest
    build_dataset.fn(split_by(validation_days=20, test_days=20))
    published._replace(manifest=stored_manifest(here)).promote(version=2)
    assert source.newest().erased == frozenset()


def test_a_database_of_before_an_erasure_is_noticed_and_its_users_are_erased_again(small: Installation) -> None:
    tables = ("users", "identity.users", "identity.privacy_requests")
    with small.engine.begin() as connection:
        for table in tables:
            connection.execute(text(f"CREATE TABLE backup_{table.replace('.', '_')} AS TABLE {table}"))
    erase(small, "u1")
    write_tombstones(small.engine, small.settings)
    assert erase_restored(small) is None
    with small.engine.begin() as connection:
        for table in tables:
            connection.execute(text(f"DELETE FROM {table}"))
            copy = f"backup_{table.replace('.', '_')}"
            connection.execute(text(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {copy}"))
            connection.execute(text(f"DROP TABLE {copy}"))
    key = pseudonym("u1", small.key)
    assert "identity.users" in holding(small, {key})
    assert erase_restored(small) is not None
    erase_users(small)
    assert holding(small, {key}) == [KEEPS_OUT]
    assert erase_restored(small) is None
