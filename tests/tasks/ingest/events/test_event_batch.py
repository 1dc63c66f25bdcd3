import json
import random
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from infra.database.schema.schema import LEDGER, identities, ingest_chunks, items, quarantine, users
from infra.installation import Installation
from infra.keys.identity import pseudonym
from models.errors import TailorbirdError
from serving.queries import ledger as books
from tasks.ingest import ledger
from tasks.ingest.events.chunk_readers import shape_chunk
from tasks.ingest.events.chunk_writer import write
from tasks.ingest.events.classification import classify, open_context
from tasks.ingest.events.ingest_events import ingest_events, ingest_segment
from tasks.ingest.ledger import batch_of
from tasks.ingest.quarantine.replay_rows import replay_quarantine
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.ingest.rows.quarantine import remake_content
from tasks.quality.suites import BatchRefusedError
from tasks.sources import table_files
from tasks.sources.mapping_files import table_mapping
from tests.tasks.ingest.events.test_ingest_segment import viewed
from tests.tasks.ingest.events.test_ingest_segment import write as write_calls
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
LONG = "".join(random.Random(1).choices(string.ascii_letters, k=9000))  # noqa: S311
BAD = ["x1,u1,i1,2024-06-01T10:00:00Z,peek,1,,", "x2,u2,i1,2024-06-01T10:00:00Z,look,0,,"]


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


def waiting_rows(installation: Installation) -> int:
    with installation.engine.connect() as connection:
        own = quarantine.c.replayed_at.is_(None)
        return connection.execute(select(func.count()).select_from(quarantine).where(own)).scalar_one()


def contents(installation: Installation) -> list[Any]:
    with installation.engine.connect() as connection:
        return list(connection.execute(select(quarantine.c.content).order_by(quarantine.c.row_number)).scalars())


def test_the_same_bad_rows_in_another_file_are_duplicates(installation: Installation, desk: Desk) -> None:
    lines = [*sound(1, 40), *BAD]
    first = desk.ingest("a", lines)
    assert counted(first) == {"read": 42, "accepted": 40, "quarantined": 2}
    again = counted(desk.ingest("b", ["9,u9,i1,2024-06-01T09:00:00Z,look,1,,", *lines]))
    assert again == {"read": 43, "accepted": 1, "duplicate": 42}
    assert waiting_rows(installation) == 2
    assert counted(desk.ingest("c", lines, name="another"))["quarantined"] == 2  # of another source
    desk.mapping.write_text(MAPPING + 'peek = "view"\n')
    assert counted(replay_quarantine.fn(first["batch_id"])) == {"read": 42, "accepted": 41, "quarantined": 1}
    # A replayed row is a duplicate, too, by the mapping that reads it now or by the one before.
    for text_ in (MAPPING, MAPPING + 'peek = "view"\n'):
        desk.mapping.write_text(text_)
        assert counted(desk.ingest("d", [*sound(2, 20), *BAD]))["duplicate"] >= 2
    assert counted(replay_quarantine.fn(first["batch_id"]))["quarantined"] == 1


def test_equal_bad_rows_of_one_file_wait_once_and_over_chunks_too(
    installation: Installation, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_files, "CHUNK_ROWS", 25)
    entry = desk.ingest("a", [*BAD, *sound(1, 30), BAD[0], *sound(2, 30), *BAD])
    assert counted(entry) == {"read": 65, "accepted": 60, "quarantined": 2, "duplicate": 3}
    assert waiting_rows(installation) == 2
    with installation.engine.connect() as connection:
        chunks = connection.execute(select(ingest_chunks.c.profile).order_by(ingest_chunks.c.chunk)).scalars().all()
    assert len(chunks) > 1
    # The suite validates the file, not the rows that were in quarantine before.
    assert sum(chunk["rules"].get("event_type_unknown", 0) for chunk in chunks) == 3


def test_a_line_that_cannot_be_read_is_known_again_wherever_it_stands(
    installation: Installation, tmp_path: Path
) -> None:
    calls = [viewed(n, userId="bob") for n in range(60)]
    path = Path(write_calls(tmp_path / "a.jsonl", *calls[:50]))
    path.write_bytes(b"{broken\n" + path.read_bytes())
    assert ingest_segment.fn("segment", str(path), {"consent": "opt-out"})["quarantined"] == 1
    other = Path(write_calls(tmp_path / "b.jsonl", *calls))
    other.write_bytes(other.read_bytes() + b"{broken\n" + b"{broken too\n" + json.dumps([1]).encode() + b"\n")
    entry = ingest_segment.fn("segment", str(other), {"consent": "opt-out"})
    assert entry["read"] == sum(entry[name] for name in LEDGER if name != "read") == 63
    assert (entry["accepted"], entry["quarantined"], entry["duplicate"]) == (10, 2, 51)
    assert waiting_rows(installation) == 3


def test_bad_rows_of_catalogues_and_users_are_known_again(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(
        'consent = "opt-in"\n[items]\nfile = "i.csv"\nitem_id = "id"\ntitle = "id"\n'
        '[users]\nfile = "u.csv"\nuser_id = "id"\nattributes = []\n'
    )
    for rows, expected in ((20, (20, 1, 0)), (30, (30, 0, 1))):
        path = tmp_path / "rows.csv"
        path.write_text("\n".join(["id", *map(str, range(rows)), LONG]))
        for ingest in (ingest_items, ingest_users):
            entry = ingest.fn(str(tmp_path / "own.toml"), str(path))
            assert (entry["routed"], entry["quarantined"], entry["duplicate"]) == expected
    assert waiting_rows(installation) == 2
    with installation.engine.connect() as connection:
        rules = connection.execute(select(quarantine.c.rule_ids)).scalars().all()
    assert sorted(rules) == [["item_id_too_long"], ["user_id_too_long"]]


def test_hashes_that_are_computed_again_are_the_same(installation: Installation, desk: Desk) -> None:
    desk.ingest("a", [*sound(1, 40), *BAD])
    before = contents(installation)
    with installation.engine.begin() as connection:
        connection.execute(update(quarantine).values(content=None))
        remake_content(connection)
    assert contents(installation) == before
