import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import Engine, func, insert, text, update

from flows.commands import services
from infra import locks
from infra.configuration.settings import Settings
from infra.database.engine import engine
from infra.database.schema.offers import why_not_sold
from infra.database.schema.schema import ingest_batches, items, promotions, quarantine, reviews, suppressions, users
from infra.installation import Installation
from infra.keys.identity import remember
from infra.overview.situation import step
from models.lists.rules.placement_config import PlacementError
from serving.events.spool import FOLDER, Spool, SpoolFullError
from serving.queries import user_recommendations
from serving.queries.freshness import FRESH, NEVER, judged
from serving.queries.status import inbox_state, sizes, status
from serving.queries.user_recommendations import UnknownUserError, example_users, require_user_key, user_list
from serving.terminal.status import print_status
from tasks.scoring import batch_state
from tests.published import published
from tests.serving.events.inbox_database import click

ROWS = """
    INSERT INTO event_inbox (source, message_id, kind, key_version, payload, received_at, moved_at, outcome)
    VALUES ('api', 'm0', 'answers', 1, '{"recommendation_id": ["r1", "r2"]}', now(), NULL, NULL),
        ('api', 'm1', 'event', 1, '{}', now() - interval '1 minute', NULL, NULL),
        ('api', 'm2', 'event', 1, '{}', now(), NULL, NULL),
        ('api', 'm3', 'event', 1, '{}', now() - interval '1 hour', now(), 'moved'),
        ('api', 'm4', 'event', 1, '{}', now() - interval '1 hour', now(), 'refused')"""


@pytest.fixture
def filled(database: str) -> Engine:
    """Two batches in the ledger, a champion, a challenger, and one user with a list of two."""
    empty = engine(database)
    counts = {"read": 10, "accepted": 6, "quarantined": 2, "duplicate": 1, "routed": 1}
    line = {"dataset": "events", "source": "s", "location": "l", "status": "committed", "consent": "c", **counts}
    goods = [{"item_id": f"i{n}", "title": f"Item {n}", "attributes": {}, "available": True} for n in range(2)]
    origin = {"dataset_version": "v1", "bundle": "b", "digest": "d", "actor": "a", "reason": "r"}
    with empty.begin() as connection:
        connection.execute(insert(ingest_batches), [{"batch_id": b, **line} for b in ("b1", "b2")])
        connection.execute(insert(items), [{"batch_id": "b", **item} for item in goods])
        for version, kind in ((3, "most_popular"), (4, "own_frequency")):
            row = {
                "previous_promotion_id": version - 3,
                "model_version": version,
                "kind": kind,
                "metrics": {"ndcg_at_10": 0.4},
            }
            connection.execute(insert(promotions).values(row | origin))
        for version, passed, decision in ((4, True, "approved"), (5, True, None), (6, False, None)):
            row = {"dataset_version": "v1", "model_version": version, "passed": passed, "gate": []}
            connection.execute(insert(reviews).values(row | {"decision": decision}))
        remember(connection, pa.table({"user_id": ["raw", "listless"], "user_key": ["key", "other"]}))
        agreed = {"attributes": {}, "consent": True, "consent_source": "asked", "batch_id": "b"}
        connection.execute(insert(users), [{"user_key": key, **agreed} for key in ("key", "other")])
    home = batch_state.BatchSpec("home", "run", 4, "v1", 2)
    published(empty, {"key": [("i1", 2.5, "why"), ("i0", 1.5, "so")]}, home)
    return empty


def test_a_status_sums_the_ledger_and_names_champion_challenger_and_batch(filled: Engine) -> None:
    report = json.loads(json.dumps(status(filled)))
    assert (report["ledger"]["read"], report["ledger"]["accepted"], report["ledger"]["suppressed"]) == (20, 12, 0)
    assert report["champion"] == {"name": "own_frequency", "version": 4, "metrics": {"ndcg_at_10": 0.4}}
    assert report["challenger"]["version"] == 5
    batch = report["batch"]
    assert (batch["model_version"], batch["users"], batch["recommendations"]) == (4, 1, 2)
    assert batch["published_at"].endswith("+00:00")
    assert status(filled, "basket")["batch"] is None
    [home] = report["placements"]
    assert (home["lists"], home["users"]) == (1, 2)


def test_a_status_counts_items_that_only_pages_have_named_and_names_what_confirms_them(
    filled: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    with filled.begin() as connection:
        connection.execute(text("UPDATE items SET available_from = 'infinity' WHERE item_id = 'i0'"))
        hidden = connection.execute(text("SELECT * FROM items WHERE item_id = 'i0'")).mappings().one()
        assert (why_not_sold(hidden, datetime.now(UTC)) or "").startswith("Only pages have named the item.")
    report = status(filled)
    assert report["unconfirmed"] == 1
    print_status({**report, "services": {"postgres": True}})
    said = " ".join(capsys.readouterr().out.split())
    assert "items that only pages have named: 1, shown nowhere; a `tailorbird ingest` of a catalogue" in said


def test_a_status_counts_the_rows_that_wait_and_names_the_batches_that_were_cut_short(
    filled: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    line = {"dataset": "events", "source": "s", "location": "/data/may.csv", "consent": "c", "read": 9, "suppressed": 9}
    with filled.begin() as connection:
        for number, batch in enumerate(("killed", "under way")):
            connection.execute(insert(ingest_batches).values(batch_id=batch, status="pending", **line))
            row = {"batch_id": "b1", "row_number": number, "chunk": 0, "rule_ids": [], "payload": {}}
            connection.execute(insert(quarantine).values(row))
        connection.execute(insert(ingest_batches).values(batch_id="half", status="undoing", **line))
        connection.execute(update(quarantine).where(quarantine.c.row_number == 1).values(replayed_at=func.now()))
    with locks.locked(filled, "under way"):
        report = json.loads(json.dumps(status(filled)))
    assert (report["waiting"], report["ledger"]["suppressed"]) == (1, 0)
    active = {batch["batch_id"]: batch["active"] for batch in report["unfinished"]}
    assert active == {"killed": False, "under way": True, "half": False}

    print_status(report | {"services": {"postgres": True}, "placements": []})
    shown = " ".join(capsys.readouterr().out.split())
    assert "1 row waits in quarantine now: tailorbird quarantine list" in shown
    assert "cut short: the ingest of 1 file of s: may.csv" in shown
    assert "may.csv (under way) is coming in now and counts nowhere yet." in shown
    assert "Next: tailorbird ledger undo half" in shown


def test_files_of_one_source_that_were_cut_short_are_one_line_and_their_ingest_comes_next(
    filled: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    request = {"mapping": "/sklep.toml", "overrides": {}}
    line = {"dataset": "events", "source": "sklep", "consent": "c", "status": "pending", "request": request}
    rows = [{"batch_id": f"b-{n}", "location": f"/rok/zamowienia_{n:02}.csv"} for n in range(17)]
    with filled.begin() as connection:
        connection.execute(insert(ingest_batches), [line | row for row in rows])
    report = status(filled) | {"services": {"postgres": True}, "placements": []}
    print_status(report | {"next": asdict(step(filled, Settings()))})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    names = "zamowienia_00.csv, zamowienia_01.csv, zamowienia_02.csv and 14 more"
    assert f"cut short: the ingest of 17 files of sklep: {names}." in " ".join(" ".join(lines).split())
    assert "Next: tailorbird ingest /sklep.toml '/rok/zamowienia*.csv'" in lines


@pytest.mark.parametrize(
    "withdrawal",
    [
        update(users).where(users.c.user_key == "key").values(consent=False),
        insert(suppressions).values(user_key="key", reason="asked for it"),
    ],
)
def test_a_list_shows_everything_until_its_user_withdraws_consent(filled: Engine, withdrawal: Any) -> None:
    batch_id = status(filled)["batch"]["id"]
    first = {"rank": 1, "item_id": "i1", "title": "Item 1", "score": 2.5, "reason": "why"}
    second = {"rank": 2, "item_id": "i0", "title": "Item 0", "score": 1.5, "reason": "so"}
    origin = {"url": None, "image": None, "model_version": 4, "batch_id": batch_id}
    assert json.loads(json.dumps(user_list(filled, "raw"))) == [first | origin, second | origin]
    assert example_users(filled, 2) == ["raw"]
    assert example_users(filled, placement="basket") == []
    with filled.begin() as connection:
        connection.execute(withdrawal)
    assert user_list(filled, "raw") == example_users(filled) == []


@pytest.mark.parametrize("user", ["nobody", "key", "", "' OR true --"])
def test_an_unknown_id_has_no_list_and_is_reported(filled: Engine, user: str) -> None:
    with filled.connect() as connection, pytest.raises(UnknownUserError, match="without consent, no user is stored"):
        require_user_key(connection, user)
    assert user_list(filled, user) == []


def test_examples_are_looked_up_one_by_one_however_many_users_have_lists(filled: Engine) -> None:
    numbers = "FROM generate_series(1, 3000) AS n"
    with filled.begin() as connection:
        for statement in (
            f"INSERT INTO identity.users (user_key, user_id, key_version) SELECT 'k' || n, 'u' || n, 1 {numbers}",
            "INSERT INTO users (user_key, attributes, consent, consent_source, batch_id) "
            f"SELECT 'k' || n, '{{}}', n > 1, 'asked', 'b' {numbers}",
            "INSERT INTO recommendations (batch_id, subject, items, scores, reasons) SELECT batch_id, 'k' || n, items, "
            f"scores, reasons {numbers}, recommendations WHERE subject = 'key'",
            "ANALYZE",
        ):
            connection.execute(text(statement))
        values = {"placement": "home", "most": 8}
        plan = "\n".join(connection.execute(text(f"EXPLAIN {user_recommendations._EXAMPLES}"), values).scalars())
    assert example_users(filled, 3) == ["raw", "u10", "u100"]
    assert "uq_users_user_id" in plan
    assert "Sort" not in plan


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "placements.toml").write_text("[home]\nfresh_hours = 24\n[email]\nfresh_hours = 1.5\n[new]\n")
    return Settings(placements=str(tmp_path / "placements.toml"))


def shown(placement: str, hours: float) -> dict[str, Any]:
    return {"placement": placement, "batch_id": 1, "hours": hours}


@pytest.mark.parametrize(
    ("row", "state"),
    [
        (shown("home", 24), FRESH),
        (shown("email", 1.6), "stale: 2 hours old, 1.5 are allowed"),
        (shown("home", 1) | {"model_version": 2}, "made by version 2, but version 3 is the champion"),
        (
            shown("home", 1) | {"moved_by": "ann", "lists": 20, "users": 1400},
            "rolled back; at least 1,380 of 1,400 users have none",
        ),
        (shown("home", 1) | {"moved_by": "ann", "lists": 1400, "users": 1400}, FRESH),
        (shown("old", 1), "no longer configured; its last lists stay"),
    ],
)
def test_lists_are_fresh_if_they_are_configured_young_of_the_champion_and_not_rolled_back(
    settings: Settings, row: dict[str, Any], state: str
) -> None:
    first, *missing = judged([{"model_version": 3} | row], settings, champion_version=3)
    assert (first["placement"], first["state"]) == (row["placement"], state)
    others = [name for name in ("home", "email", "new") if name != row["placement"]]
    assert [(one["placement"], one["state"]) for one in missing] == [(name, NEVER) for name in others]


def test_the_rest_of_the_status_is_shown_all_the_same(
    settings: Settings, installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(settings.placements).write_text("[home]\nfresh_hours = 0\n")
    monkeypatch.setenv("TAILORBIRD_PLACEMENTS", settings.placements)
    monkeypatch.setattr("infra.supervisor.probes.reachable", lambda _: {"postgres": True})
    published(installation.engine, {"ann": [("i1", 1.0, "a")]})
    with pytest.raises(PlacementError, match=r"home\.fresh_hours"):
        services.status()
    assert "home: not known whether fresh, batch" in capsys.readouterr().out


def test_waiting_and_refused_rows_are_counted_and_requests_for_lists_are_none_of_them(database: str) -> None:
    asked = "VALUES ('bus', 'spring-1', 'score', 1, '{\"segment\": \"Regulars\"}', now() - interval '1 hour')"
    with engine(database).begin() as connection:
        connection.execute(
            text(f"INSERT INTO event_inbox (source, message_id, kind, key_version, payload, received_at) {asked}")
        )
        assert inbox_state(connection) == {"waiting": 0, "oldest_seconds": None, "refused": 0}
        connection.execute(text(ROWS))
        state = inbox_state(connection)
    assert (state["waiting"], state["refused"]) == (4, 1)
    assert state["oldest_seconds"] is not None
    assert 60 <= state["oldest_seconds"] < 120


def test_messages_on_disk_and_dropped_ones_are_counted(tmp_path: Path) -> None:
    assert Spool(tmp_path / FOLDER, 0).state() == {"messages": 0, "dropped": 0, "refused": 0}
    spool = Spool(tmp_path / FOLDER, 500)
    spool.append([click(1)])
    with pytest.raises(SpoolFullError):
        spool.append([click(2), click(3)])
    assert Spool(tmp_path / FOLDER, 0).state() == {"messages": 1, "dropped": 2, "refused": 0}


def test_sizes_of_tables_and_folders_are_counted_from_one_mebibyte_on_the_largest_first(
    installation: Installation, tmp_path: Path
) -> None:
    var = tmp_path / "another"
    for name, size in (("bundles/a/b", 3_000_000), ("bundles/c", 200_000), ("log/small", 1_000), ("file", 2_000_000)):
        (var / name).parent.mkdir(parents=True, exist_ok=True)
        (var / name).write_bytes(bytes(size))
    (var / "bundles" / "link").symlink_to(var / "file")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "data").write_bytes(bytes(4_000_000))
    (var / "postgres").symlink_to(tmp_path / "elsewhere")
    with installation.engine.begin() as connection:
        connection.execute(text("CREATE TABLE large (x text) PARTITION BY LIST (x)"))
        for name in ("one", "two"):
            connection.execute(text(f"CREATE TABLE {name} PARTITION OF large FOR VALUES IN ('{name}')"))
            connection.execute(text(f"INSERT INTO large SELECT '{name}' FROM generate_series(1, 40000)"))
        found = sizes(connection, var)
        expected = connection.execute(text("SELECT pg_total_relation_size('one') + pg_total_relation_size('two')"))
        assert found["table large"] == expected.scalar_one()
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert {name: size for name, size in found.items() if not name.startswith("table")} == {
        "var/bundles": 3_200_000 + (var / "bundles" / "link").lstat().st_size,
        "var": 2_000_000,
        "var/postgres": 4_000_000,
    }
