from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from infra.database.schema.schema import LEDGER, identities, ingest_chunks, items, quarantine, users
from infra.installation import Installation
from infra.keys.identity import pseudonym
from models.errors import TailorbirdError
from serving.queries import ledger as books
from tasks.ingest import ledger
from tasks.ingest.events.chunk_readers import shape_chunk
from tasks.ingest.events.chunk_writer import write
from tasks.ingest.events.classification import classify, open_context
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.ledger import batch_of
from tasks.ingest.quarantine.replay_rows import replay_quarantine
from tasks.quality.suites import BatchRefusedError
from tasks.sources import table_files
from tasks.sources.mapping_files import table_mapping
from tests.tasks.ingest.stored import counted, lake

MAPPING = """
consent = "given"
consent_note = "by contract"
[events]
file = "*.csv"
event_id = "id"
user_id = "user"
item_id = "item"
occurred_at = "at"
event_type = "what"
value = "value"
user_agent = "agent"
ip = "ip"
optional = ["value", "agent", "ip"]
[events.event_types]
look = "view"
"""
HEADER = "id,user,item,at,what,value,agent,ip"


class Desk:
    """A team's own export of events, file by file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mapping = folder, folder / "shop.toml"
        self.mapping.write_text(MAPPING)

    def file(self, name: str, lines: Sequence[str]) -> str:
        path = self.folder / f"{name}.csv"
        path.write_text("\n".join([HEADER, *lines]) + "\n")
        return str(path)

    def ingest(self, stem: str, lines: Sequence[str], **overrides: Any) -> dict[str, Any]:
        entry: dict[str, Any] = ingest_events.fn(str(self.mapping), self.file(stem, lines), overrides)
        assert entry["read"] == sum(entry[count] for count in LEDGER if count != "read")
        return entry


def sound(day: int, many: int = 10, what: str = "look") -> list[str]:
    return [f"{day}-{n},u{n},i{n % 3},2024-06-{day:02}T10:00:{n:02}Z,{what},1.5,," for n in range(many)]


@pytest.fixture
def desk(installation: Installation, tmp_path: Path) -> Desk:  # noqa: ARG001 - it has to be there
    folder = tmp_path / "export"
    folder.mkdir()
    return Desk(folder)


def test_without_a_catalogue_every_item_is_taken_and_known_from_then_on(installation: Installation, desk: Desk) -> None:
    assert counted(desk.ingest("a", sound(1)), "late") == {"read": 10, "accepted": 10}
    with installation.engine.connect() as connection:
        assert sorted(connection.execute(select(items.c.item_id)).scalars()) == ["i0", "i1", "i2"]


def test_only_events_of_the_window_are_taken_and_the_others_are_counted_as_routed(
    installation: Installation, desk: Desk
) -> None:
    lines = [*sound(1), *sound(2), *sound(3)]
    window = {"from": "2024-06-02", "to": "2024-06-03T00:00:00Z"}
    assert counted(desk.ingest("a", lines, **window), "late") == {"read": 30, "accepted": 10, "routed": 20}
    assert {row["occurred_at"].day for row in lake(installation)} == {2}
    assert counted(desk.ingest("a", lines), "late") == {"read": 30, "accepted": 20, "duplicate": 10, "late": 9}


def test_events_that_come_after_newer_ones_of_their_source_are_marked_as_late(
    installation: Installation, desk: Desk
) -> None:
    assert counted(desk.ingest("a", sound(10)), "late") == {"read": 10, "accepted": 10}
    # A day before the newest is usual for a daily export.
    assert counted(desk.ingest("b", [*sound(11), *sound(8)]), "late") == {"read": 20, "accepted": 20, "late": 10}
    assert {row["occurred_at"].day for row in lake(installation) if row["late"]} == {8}
    assert counted(desk.ingest("c", sound(3), name="another"), "late") == {"read": 10, "accepted": 10}


def cut_short(installation: Installation, desk: Desk, name: str, lines: Sequence[str]) -> str:
    """A run that was killed when its only chunk was in the lake."""
    mapping, path = table_mapping(str(desk.mapping), None), Path(desk.file(name, lines))
    batch = batch_of(mapping, "events", path, str(path))
    with installation.engine.begin() as connection:
        ledger.open_batch(connection, batch)
    context, run = open_context(installation, mapping, batch)
    [rows] = table_files.chunks(path, HEADER.split(","))
    chunk = shape_chunk(installation, mapping, rows)
    write(context, run, chunk, classify(context, run, chunk), 0)
    return batch.batch_id


def test_a_batch_that_another_run_left_half_done_keeps_nothing_out(installation: Installation, desk: Desk) -> None:
    """Or, if that batch were refused in the end, the events that both have would be lost."""
    remaining = cut_short(installation, desk, "a", sound(1))
    assert counted(desk.ingest("b", [*sound(1), *sound(2)]), "late") == {"read": 20, "accepted": 20}
    with installation.engine.connect() as connection:
        own = select(ingest_chunks).where(ingest_chunks.c.batch_id == remaining)
        assert connection.execute(own).first() is None
    assert counted(desk.ingest("a", sound(1)), "late") == {"read": 10, "duplicate": 10}
    assert len({row["event_id"] for row in lake(installation)}) == len(lake(installation)) == 20


def test_a_run_that_was_cut_short_goes_on_with_what_it_found_late(installation: Installation, desk: Desk) -> None:
    desk.ingest("a", sound(10))
    cut_short(installation, desk, "b", sound(1))
    assert counted(desk.ingest("b", sound(1)), "late") == {"read": 10, "accepted": 10, "late": 10}


def test_a_replay_reads_quarantined_rows_by_the_fixed_mapping(installation: Installation, desk: Desk) -> None:
    lines = [*sound(1, 40), *sound(2, 3, "peek")]
    entry = desk.ingest("a", lines)
    assert counted(entry) == {"read": 43, "accepted": 40, "quarantined": 3}
    assert replay_quarantine.fn(entry["batch_id"]) == entry
    desk.mapping.write_text(MAPPING + 'peek = "view"\n')
    replayed = replay_quarantine.fn(entry["batch_id"])
    assert counted(replayed) == {"read": 43, "accepted": 43}
    assert {row["event_type"] for row in lake(installation)} == {"view"}
    assert counted(desk.ingest("a", lines), "late") == {"read": 43, "duplicate": 43}


def test_robots_the_house_and_nobody_wait_in_quarantine_and_are_no_users(
    installation: Installation, desk: Desk
) -> None:
    top, events = MAPPING.split("[events]")
    house = '[traffic]\ninternal_addresses = ["10.0.0.0/8"]\ninternal_users = ["tester"]\n[events]'
    desk.mapping.write_text(top + house + events)
    agent = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
    odd = [
        f"r1,crawler,i1,2024-06-01T10:00:00Z,look,1,{agent},",
        "r2,clerk,i1,2024-06-01T10:00:00Z,look,1,,10.1.2.3",
        "r3,tester,i1,2024-06-01T10:00:00Z,look,1,,",
        "r4,GUEST,i1,2024-06-01T10:00:00Z,look,1,,",
        f"r5,{'x' * 300},i1,2024-06-01T10:00:00Z,look,1,,",
        "r6,u1,undefined,2024-06-01T10:00:00Z,look,1,,",
    ]
    entry = desk.ingest("a", [*sound(1, 60), *odd])
    assert counted(entry) == {"read": 66, "accepted": 60, "quarantined": 6}
    with installation.engine.connect() as connection:
        waiting = select(quarantine.c.rule_ids, quarantine.c.payload).order_by(quarantine.c.row_number)
        rows = connection.execute(waiting).all()
        people = set(connection.execute(select(identities.c.user_id)).scalars())
        known = connection.execute(select(users.c.user_key)).scalars().all()
    rules = ["robot", "internal_traffic", "internal_traffic", "user_id_placeholder", "user_id_too_long"]
    assert [row.rule_ids for row in rows] == [[rule] for rule in [*rules, "item_id_placeholder"]]
    assert (rows[0].payload["robot"], "internal" in rows[0].payload) == (True, False)
    assert not [row for row in rows if "10.1.2.3" in str(row.payload) or "Googlebot" in str(row.payload)]
    assert people == {f"u{n}" for n in range(60)}
    assert pseudonym("GUEST", installation.key) not in known
    assert replay_quarantine.fn(entry["batch_id"]) == entry


def test_limits_are_the_teams_own(desk: Desk) -> None:
    top, events = MAPPING.split("[events]")
    lines = [*sound(1, 60), *sound(2, 20, "peek")]
    with pytest.raises(BatchRefusedError, match=r"event_type_unknown \(20 of 80"):
        desk.ingest("a", lines)
    desk.mapping.write_text(
        f"{top}[limits.events]\nevent_type_unknown = 0.3\nquarantined_share = 0.3\n[events]{events}"
    )
    assert counted(desk.ingest("a", lines), "late") == {"read": 80, "accepted": 60, "quarantined": 20}
    desk.mapping.write_text(f'{top}[limits.events]\nrows = [1000, ""]\n[events]{events}')
    with pytest.raises(BatchRefusedError, match="rows"):
        desk.ingest("b", sound(3))


def test_corrections_and_the_origin_of_a_batch_are_recorded(installation: Installation, desk: Desk) -> None:
    lines = [line.replace("Z,look", ",look") for line in sound(1, 4)] + sound(2, 30) + sound(3, 1, "peek")
    entry = desk.ingest("a", lines, to="2024-07-01")
    values = books.batch(installation.engine, entry["batch_id"])
    assert (values["cleaned"], values["rules"]) == ({"zone_assumed": 4}, {"event_type_unknown": 1})
    assert values["request"] == {"mapping": str(desk.mapping), "overrides": {"to": "2024-07-01"}}
    assert (values["location"], values["broken_expectations"]) == (str(desk.folder / "a.csv"), [])
    with pytest.raises(TailorbirdError, match="There is no batch 'nix'"):
        books.batch(installation.engine, "nix")
