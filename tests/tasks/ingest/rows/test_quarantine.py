"""A bad row is quarantined once, whichever file repeats it."""

import json
import random
import string
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from infra.database.schema.schema import LEDGER, ingest_chunks, quarantine
from infra.installation import Installation
from tasks.ingest.events.ingest_events import ingest_segment
from tasks.ingest.quarantine.replay_rows import replay_quarantine
from tasks.ingest.reference.ingest_items import ingest_items
from tasks.ingest.reference.ingest_users import ingest_users
from tasks.ingest.rows.quarantine import remake_content
from tasks.sources import table_files
from tests.tasks.ingest.events.test_event_batch import MAPPING, Desk, sound
from tests.tasks.ingest.events.test_ingest_segment import viewed, write
from tests.tasks.ingest.stored import counted

LONG = "".join(random.Random(1).choices(string.ascii_letters, k=9000))  # noqa: S311
BAD = ["x1,u1,i1,2024-06-01T10:00:00Z,peek,1,,", "x2,u2,i1,2024-06-01T10:00:00Z,look,0,,"]


@pytest.fixture
def desk(installation: Installation, tmp_path: Path) -> Desk:  # noqa: ARG001 - it has to be there
    folder = tmp_path / "export"
    folder.mkdir()
    return Desk(folder)


def waiting(installation: Installation) -> int:
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
    assert waiting(installation) == 2
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
    assert waiting(installation) == 2
    with installation.engine.connect() as connection:
        chunks = connection.execute(select(ingest_chunks.c.profile).order_by(ingest_chunks.c.chunk)).scalars().all()
    assert len(chunks) > 1
    # The suite validates the file, not the rows that were in quarantine before.
    assert sum(chunk["rules"].get("event_type_unknown", 0) for chunk in chunks) == 3


def test_a_line_that_cannot_be_read_is_known_again_wherever_it_stands(
    installation: Installation, tmp_path: Path
) -> None:
    calls = [viewed(n, userId="bob") for n in range(60)]
    path = Path(write(tmp_path / "a.jsonl", *calls[:50]))
    path.write_bytes(b"{broken\n" + path.read_bytes())
    assert ingest_segment.fn("segment", str(path), {"consent": "opt-out"})["quarantined"] == 1
    other = Path(write(tmp_path / "b.jsonl", *calls))
    other.write_bytes(other.read_bytes() + b"{broken\n" + b"{broken too\n" + json.dumps([1]).encode() + b"\n")
    entry = ingest_segment.fn("segment", str(other), {"consent": "opt-out"})
    assert entry["read"] == sum(entry[name] for name in LEDGER if name != "read") == 63
    assert (entry["accepted"], entry["quarantined"], entry["duplicate"]) == (10, 2, 51)
    assert waiting(installation) == 3


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
    assert waiting(installation) == 2
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
