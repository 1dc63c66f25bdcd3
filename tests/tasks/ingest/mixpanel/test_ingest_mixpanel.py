"""Files, days and profiles of Mixpanel come in once, by the rules of every other source."""

import gzip
import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Table, select, text, update

from infra.database.schema.schema import LEDGER, aliases, identities, ingest_batches, quarantine, users
from infra.installation import Installation
from infra.keys.identity import pseudonym
from models.errors import TailorbirdError
from models.primitives.json_types import JsonObject
from tasks.ingest import ledger
from tasks.ingest.events import event_batch
from tasks.ingest.events.chunk_writer import Intake
from tasks.ingest.ledger_records import LedgerEntry
from tasks.ingest.list_files import list_files
from tasks.ingest.mixpanel import ingest_mixpanel as module
from tasks.ingest.mixpanel.ingest_mixpanel import ingest_mixpanel
from tasks.ingest.quarantine.replay_rows import replay_quarantine
from tasks.ingest.undo.settle import settle_idle
from tasks.sources import line_reader
from tests.mixpanel_server import PROJECT, SECRET, MixpanelServer, event
from tests.tasks.stopped_steps import KilledError, ends_at

GIVEN = {"consent": "given", "consent_note": "a test"}
PART = f"mixpanel://us/{PROJECT}-"
DAY = "2026-11-01"
STEPS = [
    (Intake, "record"),
    (Intake, "append"),
    (event_batch, "close"),
    (ledger, "close_batch"),
    (module, "record_reading"),
]
MOMENTS = [n if n in (3, 10) else pytest.param(n, marks=pytest.mark.faults) for n in range(14)]
"""Before and after each step: two chunks are recorded and appended, the batch is closed, the reading is recorded."""


def overrides(**stated: str) -> dict[str, str]:
    return GIVEN | {"project": str(PROJECT), "from": DAY, "to": "2026-11-03"} | stated


def due(**stated: str) -> list[str]:
    return [address.rpartition("/")[2] for _, address in list_files.fn("mixpanel", None, overrides(**stated))]


def run(**stated: str) -> list[LedgerEntry]:
    given = overrides(**stated)
    return [ingest_mixpanel.fn("mixpanel", address, given) for _, address in list_files.fn("mixpanel", None, given)]


def killed(monkeypatch: pytest.MonkeyPatch, moment: int, **given: str) -> None:
    """Read the days until the process ends at that moment."""
    with monkeypatch.context() as patch:
        ends_at(patch, moment, STEPS)
        with pytest.raises(KilledError):
            run(**given)


def ingest(path: Path, *lines: JsonObject, **stated: str) -> LedgerEntry:
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return ingest_mixpanel.fn("mixpanel", str(path), GIVEN | stated)


def counts(entry: LedgerEntry) -> dict[str, int]:
    found: Any = entry
    assert found["read"] == sum(found[name] for name in LEDGER if name != "read")
    return {name: found[name] for name in LEDGER if found[name]}


def lake(here: Installation) -> list[dict[str, Any]]:
    tables = [pq.read_table(file, partitioning=None) for file in here.lake.event_files()]
    return pa.concat_tables(tables).sort_by("event_id").to_pylist() if tables else []


def rows(here: Installation, table: Table) -> list[dict[str, Any]]:
    with here.engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]


def test_files_plain_and_gzip_come_in_once(installation: Installation, tmp_path: Path) -> None:
    lines = [event(n) for n in range(20)]
    assert counts(ingest(tmp_path / "a.jsonl", *lines)) == {"read": 20, "accepted": 20}
    assert counts(ingest(tmp_path / "b.jsonl.gz", *lines)) == {"read": 20, "duplicate": 20}
    assert len(lake(installation)) == 20


def test_an_event_in_seconds_and_again_in_milliseconds_is_one_event(installation: Installation, tmp_path: Path) -> None:
    seconds = event(3)
    shifted = event(3, time=seconds["properties"]["time"] * 1000 + 250)
    corrected = event(3, product_id="p9")
    assert counts(ingest(tmp_path / "a.jsonl", seconds, shifted)) == {"read": 2, "accepted": 1, "duplicate": 1}
    assert counts(ingest(tmp_path / "b.jsonl", corrected)) == {"read": 1, "duplicate": 1}
    assert [row["item_id"] for row in lake(installation)] == ["p3"]


@pytest.mark.parametrize("word", ["lmy47d", "$device:null"])
def test_placeholders_are_no_users(installation: Installation, tmp_path: Path, word: str) -> None:
    sound = [event(n) for n in range(40)]
    alias = {"event": "$identify", "properties": {"time": 1, "$identified_id": "ann", "$anon_id": word}}
    entry = ingest(tmp_path / "a.jsonl", *sound, event(40, distinct_id=word), alias)
    assert counts(entry) == {"read": 42, "accepted": 40, "quarantined": 1, "routed": 1}
    assert [row["rule_ids"] for row in rows(installation, quarantine)] == [["user_id_placeholder"]]
    assert rows(installation, aliases) == []


def test_without_consent_nothing_is_stored_and_stated_consent_counts(
    installation: Installation, tmp_path: Path
) -> None:
    lines = [event(1, consent=True), event(2, consent=False), event(3)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert counts(ingest_mixpanel.fn("mixpanel", str(path))) == {"read": 3, "accepted": 1, "suppressed": 2}
    assert [row["user_id"] for row in rows(installation, identities)] == ["user-1"]


def test_devices_join_their_users_and_profiles_add_allowed_traits(installation: Installation, tmp_path: Path) -> None:
    device = {"distinct_id": "$device:d1", "$device_id": "d1"}
    profile = {"$distinct_id": "ann", "$properties": {"plan": "gold", "$email": "ann@example.org"}}
    ingest(
        tmp_path / "a.jsonl", event(1, **device), event(2, distinct_id="ann", **{"$user_id": "ann", "$device_id": "d1"})
    )
    ingest(tmp_path / "b.jsonl", profile)
    key = installation.key
    assert [(row["anonymous_key"], row["user_key"]) for row in rows(installation, aliases)] == [
        (pseudonym("d1", key), pseudonym("ann", key))
    ]
    (ann,) = [row for row in rows(installation, users) if row["user_key"] == pseudonym("ann", key)]
    assert ann["attributes"] == {"plan": "gold"}


def test_days_come_in_one_by_one_and_the_latest_are_read_again(
    installation: Installation, mixpanel: MixpanelServer
) -> None:
    mixpanel.events = [*(event(n) for n in range(30)), *(event(n, "2026-11-02") for n in range(20))]
    first = run()
    assert [entry["read"] for entry in first[:2]] == [30, 20]
    assert mixpanel.days == [DAY, "2026-11-02"]
    with installation.engine.connect() as connection:
        stored = connection.execute(text("SELECT location FROM ingest_batches ORDER BY location")).scalars().all()
    assert stored[:2] == [f"{PART}{DAY}", f"{PART}2026-11-02"]
    mixpanel.events.append(event(99))  # it arrived late
    again = run(late_days="400")
    assert counts(again[0]) == {"read": 31, "accepted": 1, "duplicate": 30}
    assert again[1]["status"] == "unchanged"
    assert len(lake(installation)) == 51


def test_a_day_is_read_no_more_after_its_late_days(installation: Installation, mixpanel: MixpanelServer) -> None:
    mixpanel.events = [event(n) for n in range(3)]
    run()
    assert due(late_days="400", profiles="false") == [f"{PROJECT}-{DAY}", f"{PROJECT}-2026-11-02"]
    closed = datetime.fromisoformat(f"{DAY}T00:00:00+00:00") + timedelta(days=1 + 5)
    for moment, expected in ((closed - timedelta(seconds=1), True), (closed, False)):
        with installation.engine.begin() as connection:
            request = ingest_batches.c.request.op("||")({"read_at": moment.isoformat()})
            connection.execute(update(ingest_batches).values(request=request))
        assert (f"{PROJECT}-{DAY}" in due()) is expected


def test_a_day_without_events_is_complete_too(installation: Installation, mixpanel: MixpanelServer) -> None:
    first, again = (run(profiles="false", late_days="400") for _ in range(2))
    assert [entry["status"] for entry in first] == ["committed"] * 2
    assert [entry["status"] for entry in again] == ["unchanged"] * 2
    assert len(rows(installation, ingest_batches)) == 2
    assert mixpanel.days == [DAY, "2026-11-02"] * 2


@pytest.mark.usefixtures("installation")
def test_yesterday_is_the_last_day_and_today_can_be_asked_for() -> None:
    today = datetime.now(UTC).date()
    days = {"from": (today - timedelta(days=2)).isoformat(), "profiles": "false"}
    given = {name: word for name, word in overrides(**days).items() if name != "to"}
    listed = [address.rpartition("-")[2] for _, address in list_files.fn("mixpanel", None, given)]
    assert len(listed) == 2
    future = (today + timedelta(days=9)).isoformat()
    assert due(**days, to=future)[-1] == f"{PROJECT}-{today}"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"project": ""}, "Say which files to read, or which project"),
        ({"from": ""}, "State the first day to read: --from 2026-11-01"),
        ({"from": "2026-11-01T12:00:00"}, "Mixpanel delivers whole days: write --from as a day"),
        ({"region": "mars"}, "region: .*'us', 'eu' or 'in'"),
    ],
)
@pytest.mark.usefixtures("installation")
def test_what_is_missing_is_named(given: dict[str, str], message: str) -> None:
    stated = {name: word for name, word in overrides(**given).items() if word}
    with pytest.raises(TailorbirdError, match=message):
        list_files.fn("mixpanel", None, stated)


@pytest.mark.usefixtures("installation")
def test_without_a_service_account_the_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIXPANEL_SECRET", raising=False)
    with pytest.raises(TailorbirdError, match="Set MIXPANEL_USERNAME and MIXPANEL_SECRET"):
        run()
    with pytest.raises(TailorbirdError, match="is no part of a Mixpanel project"):
        ingest_mixpanel.fn("mixpanel", "mixpanel://eu/2026-11-01", GIVEN)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_day_that_was_killed_comes_in_once(
    installation: Installation, mixpanel: MixpanelServer, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    monkeypatch.setattr(line_reader, "CHUNK_BYTES", 3_000)
    mixpanel.events = [event(n) for n in range(30)]
    given = {"to": "2026-11-02", "profiles": "false"}
    killed(monkeypatch, moment, **given)
    run(**given, late_days="400")
    settle_idle()
    assert len(lake(installation)) == len({row["event_id"] for row in lake(installation)}) == 30
    (batch,) = rows(installation, ingest_batches)
    assert (batch["status"], batch["read"], batch["accepted"]) == ("committed", 30, 30)


def test_after_a_kill_other_content_of_the_day_replaces_the_batch(
    installation: Installation, mixpanel: MixpanelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_reader, "CHUNK_BYTES", 3_000)
    mixpanel.events = [event(n) for n in range(30)]
    given = {"to": "2026-11-02", "profiles": "false"}
    killed(monkeypatch, 6, **given)
    mixpanel.events = [event(n) for n in range(30, -1, -1)]
    run(**given)
    settle_idle()
    assert len(lake(installation)) == 31
    states = {batch["status"]: batch["detail"] for batch in rows(installation, ingest_batches)}
    assert set(states) == {"committed", "refused"}
    assert "Mixpanel then delivered other content" in states["refused"]


def test_an_interrupted_answer_leaves_nothing_and_the_other_days_stay(
    installation: Installation, mixpanel: MixpanelServer
) -> None:
    mixpanel.events = [*(event(n) for n in range(300)), *(event(n, "2026-11-02") for n in range(9))]
    mixpanel.faults = ["broken", "error line", "429", "terminated", ""]
    assert [entry["accepted"] for entry in run()[:2]] == [300, 9]
    assert not list((installation.settings.var / "fetched").iterdir())


def test_profiles_of_the_project_follow_its_days(installation: Installation, mixpanel: MixpanelServer) -> None:
    mixpanel.events = [event(n, "2026-11-02") for n in range(7)]
    seen = {"$last_seen": "2026-11-02T10:00:00"}
    mixpanel.profiles = [{"$distinct_id": f"user-{n}", "$properties": {"plan": f"p{n}"} | seen} for n in range(7)]
    mixpanel.page_size = 3
    entries = run()
    assert entries[-1]["routed"] == entries[-1]["read"] == 7
    plans = {row["user_key"]: row["attributes"].get("plan") for row in rows(installation, users)}
    assert plans == {pseudonym(f"user-{n}", installation.key): f"p{n}" for n in range(7)}
    assert run()[-1]["status"] == "unchanged"


def test_quarantined_events_are_replayed_by_the_same_mapping(
    installation: Installation, mixpanel: MixpanelServer
) -> None:
    mixpanel.events = [*(event(n) for n in range(40)), event(40, product_id="new", name=None)]
    (entry,) = run(to="2026-11-02", profiles="false", unknown_items="quarantine")
    assert counts(entry) == {"read": 41, "accepted": 40, "quarantined": 1}
    assert counts(replay_quarantine.fn(entry["batch_id"], True)) == {"read": 41, "accepted": 41}
    assert counts(run(to="2026-11-02", profiles="false", late_days="400")[0]) == {"read": 41, "duplicate": 41}
    assert len(lake(installation)) == 41


@pytest.mark.usefixtures("installation")
def test_no_message_names_a_user_or_a_secret(
    mixpanel: MixpanelServer, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    mixpanel.events = [event(n, distinct_id=f"ann-{n}@example.org") for n in range(200)]
    mixpanel.faults = ["broken", "error line", "429", "500"]
    with caplog.at_level(logging.DEBUG):
        run()
    output = caplog.text + "".join(capfd.readouterr())
    assert "trying again" in output
    assert "example.org" not in output
    assert SECRET not in output
