"""Files, days and profiles of Mixpanel come in once, by the rules of every other source."""

import gzip
import json
import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

from infra.database.schema.schema import aliases, identities, ingest_batches, quarantine, users
from infra.installation import Installation
from infra.keys import credentials
from infra.keys.identity import pseudonym
from models.errors import TailorbirdError
from models.primitives.json_types import JsonObject
from tasks.ingest import ledger
from tasks.ingest.events import chunk_writer, ingest_events
from tasks.ingest.ledger import LedgerEntry
from tasks.ingest.list_files import list_files
from tasks.ingest.mixpanel import client as client_module
from tasks.ingest.mixpanel import ingest_mixpanel as module
from tasks.ingest.mixpanel.client import MixpanelClient, MixpanelError, RateLimit, download_day, download_profiles
from tasks.ingest.mixpanel.ingest_mixpanel import ingest_mixpanel
from tasks.ingest.quarantine.replay_rows import replay_quarantine
from tasks.ingest.rows.settle import settle_idle
from tasks.sources import line_reader
from tests.mixpanel_server import PROJECT, SECRET, USERNAME, MixpanelServer, event
from tests.tasks.ingest.stored import counted, lake, rows
from tests.tasks.stopped_steps import KilledError, ends_at

GIVEN = {"consent": "given", "consent_note": "a test"}
PART = f"mixpanel://us/{PROJECT}-"
DAY = "2026-11-01"
STEPS = [
    (chunk_writer, "record"),
    (chunk_writer, "append"),
    (ingest_events, "close"),
    (ledger, "close_batches"),
    (module, "record_reading"),
]
MOMENTS = [n if n in (3, 10) else pytest.param(n, marks=pytest.mark.faults) for n in range(14)]
"""Before and after each step: two chunks are recorded and appended, the batch is closed, the reading is recorded."""
FIRST = date(2026, 11, 1)


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


def test_files_come_in_once_and_ids_and_answers_count(installation: Installation, tmp_path: Path) -> None:
    sound = [event(n) for n in range(40)]
    seconds = event(3)
    milliseconds = event(3, time=seconds["properties"]["time"] * 1000 + 250)
    device = {"distinct_id": "$device:d1", "$device_id": "d1"}
    known = {"distinct_id": "ann", "$user_id": "ann", "$device_id": "d1"}
    placeholders = [event(50 + n, distinct_id=word) for n, word in enumerate(("lmy47d", "$device:null"))]
    identify = {"time": 1, "$identified_id": "ann"}
    routed = [{"event": "$identify", "properties": identify | {"$anon_id": one}} for one in ("lmy47d", "$device:null")]
    refused = event(60, distinct_id="bob", consent=False)
    lines = [*sound, milliseconds, event(41, **device), event(42, **known), *placeholders, *routed, refused]
    first = {"read": 48, "accepted": 42, "quarantined": 2, "duplicate": 1, "suppressed": 1, "routed": 2}
    assert counted(ingest(tmp_path / "a.jsonl", *lines)) == first
    assert {tuple(row["rule_ids"]) for row in rows(installation, quarantine)} == {("user_id_placeholder",)}
    corrected = event(3, product_id="p9")
    profile = {"$distinct_id": "ann", "$properties": {"plan": "gold", "$email": "ann@example.org"}}
    again = counted(ingest(tmp_path / "b.jsonl.gz", *sound, corrected, profile))
    assert again == {"read": 42, "duplicate": 41, "routed": 1}
    stored = {row["event_id"]: row for row in lake(installation)}
    assert len(stored) == 42
    assert [row["item_id"] for row in stored.values() if row["item_id"] == "p9"] == []
    key = installation.key
    devices = {credentials.hashed(name, credentials.keys(key.decode()), credentials.DEVICE) for name in ("d1", "ann")}
    owners = {(row["anonymous_key"], row["user_key"]) for row in rows(installation, aliases)}
    assert owners == {(device, pseudonym("ann", key)) for device in devices}, "an id that was merged is of either kind"
    (ann,) = [row for row in rows(installation, users) if row["user_key"] == pseudonym("ann", key)]
    assert ann["attributes"] == {"plan": "gold"}
    assert "bob" not in [row["user_id"] for row in rows(installation, identities)]


def test_without_consent_nothing_is_stored_and_stated_consent_counts(
    installation: Installation, tmp_path: Path
) -> None:
    lines = [event(1, consent=True), event(2, consent=False), event(3)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert counted(ingest_mixpanel.fn("mixpanel", str(path))) == {"read": 3, "accepted": 1, "suppressed": 2}
    assert [row["user_id"] for row in rows(installation, identities)] == ["user-1"]


def test_days_come_in_one_by_one_and_are_read_again_until_their_late_days_have_gone(
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
    assert counted(again[0]) == {"read": 31, "accepted": 1, "duplicate": 30}
    assert again[1]["status"] == "unchanged"
    assert len(lake(installation)) == 51
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
def test_yesterday_is_the_last_day_and_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    today = datetime.now(UTC).date()
    days = {"from": (today - timedelta(days=2)).isoformat(), "profiles": "false"}
    given = {name: word for name, word in overrides(**days).items() if name != "to"}
    listed = [address.rpartition("-")[2] for _, address in list_files.fn("mixpanel", None, given)]
    assert len(listed) == 2
    future = (today + timedelta(days=9)).isoformat()
    assert due(**days, to=future)[-1] == f"{PROJECT}-{today}"
    for change, message in (
        ({"project": ""}, "Say which files to read, or which project"),
        ({"from": ""}, "State the first day to read: --from 2026-11-01"),
        ({"from": "2026-11-01T12:00:00"}, "Mixpanel delivers whole days: write --from as a day"),
        ({"region": "mars"}, "region: .*'us', 'eu' or 'in'"),
    ):
        stated = {name: word for name, word in overrides(**change).items() if word}
        with pytest.raises(TailorbirdError, match=message):
            list_files.fn("mixpanel", None, stated)
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


def test_broken_answers_leave_nothing_and_no_message_names_a_user_or_a_secret(
    installation: Installation, mixpanel: MixpanelServer, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    ann = [event(n, distinct_id=f"ann-{n}@example.org") for n in range(300)]
    mixpanel.events = [*ann, *(event(n, "2026-11-02") for n in range(9))]
    mixpanel.faults = ["broken", "error line", "429", "terminated", "500", ""]
    with caplog.at_level(logging.DEBUG):
        assert [entry["accepted"] for entry in run()[:2]] == [300, 9]
    assert not list((installation.settings.var / "fetched").iterdir())
    output = caplog.text + "".join(capfd.readouterr())
    assert "trying again" in output
    assert "example.org" not in output
    assert SECRET not in output


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
    assert counted(entry) == {"read": 41, "accepted": 40, "quarantined": 1}
    assert counted(replay_quarantine.fn(entry["batch_id"], True)) == {"read": 41, "accepted": 41}
    assert counted(run(to="2026-11-02", profiles="false", late_days="400")[0]) == {"read": 41, "duplicate": 41}
    assert len(lake(installation)) == 41


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(mixpanel: MixpanelServer, pauses: list[float]) -> MixpanelClient:
    mixpanel.events = [*(event(n) for n in range(200)), event(1, "2026-11-02")]
    return MixpanelClient("eu", f"{USERNAME}:{SECRET}", RateLimit(sleep=pauses.append, clock=lambda: sum(pauses)))


def lines(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


@pytest.mark.parametrize("fault", ["429", "500", "503", "broken", "error line", "terminated"])
def test_a_fault_that_passes_costs_nothing_but_time(
    client: MixpanelClient, mixpanel: MixpanelServer, pauses: list[float], tmp_path: Path, fault: str
) -> None:
    mixpanel.faults = [fault, fault]
    got = download_day(client, PROJECT, FIRST, tmp_path / "a.gz")
    assert [json.loads(line)["properties"]["$insert_id"] for line in lines(got.path)] == [
        f"2026-11-01-{n}" for n in range(200)
    ]
    assert len(mixpanel.requests) == 3
    assert pauses[:2] == ([0, 0] if fault == "429" else [5, 20])
    assert mixpanel.requests[0][1] == {
        "project_id": str(PROJECT),
        "from_date": "2026-11-01",
        "to_date": "2026-11-01",
        "time_in_ms": "true",
    }


def test_a_broken_plain_answer_is_noticed_too(client: MixpanelClient, mixpanel: MixpanelServer, tmp_path: Path) -> None:
    mixpanel.events, mixpanel.faults = [event(n) for n in range(5)], ["broken"]
    assert len(lines(download_day(client, PROJECT, FIRST, tmp_path / "a.gz").path)) == 5


def test_the_same_content_has_the_same_digest_and_no_content_is_empty(client: MixpanelClient, tmp_path: Path) -> None:
    first, again = (download_day(client, PROJECT, FIRST, tmp_path / name) for name in ("a.gz", "b.gz"))
    assert (first.digest, first.empty) == (again.digest, False)
    assert download_day(client, PROJECT, date(2026, 10, 1), tmp_path / "c.gz").empty


def test_a_fault_that_stays_ends_after_more_than_an_hour(
    client: MixpanelClient,
    mixpanel: MixpanelServer,
    pauses: list[float],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mixpanel.faults = ["503"] * 20
    with pytest.raises(MixpanelError, match=r"Mixpanel has a fault \(HTTP 503\), 9 times. Run the same command later"):
        download_day(client, PROJECT, FIRST, tmp_path / "a.gz")
    assert sum(pauses) > 3600
    assert "limit of queries" not in capsys.readouterr().err  # it was not the reason of any pause


@pytest.mark.parametrize(
    ("login", "project", "advice"),
    [
        ("someone:else", PROJECT, r"HTTP 401.*MIXPANEL_USERNAME and MIXPANEL_SECRET"),
        (f"{USERNAME}:{SECRET}", 1, r"HTTP 403.*a role in the project, and check the region"),
    ],
)
def test_a_refusal_is_not_repeated_and_states_the_correction(
    client: MixpanelClient, mixpanel: MixpanelServer, tmp_path: Path, login: str, project: int, advice: str
) -> None:
    with pytest.raises(MixpanelError, match=advice) as refused:
        download_day(MixpanelClient("eu", login, client.limit), project, FIRST, tmp_path / "a.gz")
    assert len(mixpanel.requests) == 1
    assert login.partition(":")[2] not in str(refused.value)
    assert SECRET not in repr(client)


def test_the_address_of_a_proxy_is_a_web_address(
    client: MixpanelClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MIXPANEL_ENDPOINT_URL", "file:///etc/passwd")
    with pytest.raises(TailorbirdError, match="MIXPANEL_ENDPOINT_URL cannot be read"):
        download_day(client, PROJECT, FIRST, tmp_path / "a.gz")


def test_profiles_come_page_by_page_with_nothing_but_what_is_kept(
    client: MixpanelClient, mixpanel: MixpanelServer, tmp_path: Path
) -> None:
    traits = {"plan": "gold", "$email": "a@example.org", "consent": True, "$last_seen": "2026-11-01T10:00:00"}
    mixpanel.profiles = [{"$distinct_id": n, "$properties": traits} for n in range(25)]
    mixpanel.page_size, mixpanel.faults = 10, ["", "429", "error line", "503"]
    got = download_profiles(client, PROJECT, ["plan", "$email"], ["consent"], tmp_path / "p.gz")
    profiles = [json.loads(line) for line in lines(got.path)]
    assert [one["$distinct_id"] for one in profiles] == list(range(25))
    assert set(profiles[0]["$properties"]) == {"plan", "consent", "$last_seen"}
    assert [given.get("page", "0") for _, given in mixpanel.requests] == ["0", "1", "1", "1", "1", "2"]


def test_three_requests_a_second_and_sixty_an_hour_are_sent(pauses: list[float]) -> None:
    limit, times = RateLimit(sleep=pauses.append, clock=lambda: 1000 + sum(pauses)), []
    for _ in range(130):
        limit.wait()
        times.append(1000 + sum(pauses))
    assert times[:4] == [1000, 1000, 1000, 1001]
    assert all(later - earlier >= 1 for earlier, later in zip(times, times[3:], strict=False))
    assert all(later - earlier >= 3600 for earlier, later in zip(times, times[60:], strict=False))
    assert times[60] == 4600
    assert times[-1] < 1000 + 2 * 3600 + 60


@pytest.fixture
def mixpanel(monkeypatch: pytest.MonkeyPatch) -> Iterator[MixpanelServer]:
    with MixpanelServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        pauses: list[float] = []
        monkeypatch.setattr(client_module, "_LIMIT", RateLimit(sleep=pauses.append, clock=lambda: sum(pauses)))
        yield server
