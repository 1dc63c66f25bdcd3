from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from infra.database.schema.ledger_schema import ingest_applications, ingest_repeats, ingest_statements
from infra.database.schema.schema import LEDGER, aliases, identities, ingest_batches, ingest_chunks, quarantine, users
from infra.installation import Installation
from infra.overview.situation import read
from tasks.ingest.events import ingest_event_files, ingest_events
from tasks.ingest.quarantine.dismiss_rows import dismiss
from tasks.ingest.quarantine.replay_rows import replay_quarantine
from tests.tasks.ingest.stored import counted
from tests.tasks.ingest.stored import lake as rows_of_lake

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
"""
Rows = Sequence[str]


def rows(day: int, many: int = 10, first: int = 0, value: float = 1.5) -> list[str]:
    return [f"{day}-{n},u{n},i{n % 3},2024-06-{day:02}T10:00:{n:02}Z,view,{value}" for n in range(first, first + many)]


BAD = "{0}-bad,u90,i1,2024-06-{0:02}T11:00:00Z,view,-3"
WRONG = [line.replace(",view,", ",peek,") for line in rows(9)]
"""Return a file that is refused, because its kind of event is unknown."""


class Shop:
    """An export of many small files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mapping = folder, folder / "shop.toml"
        self.mapping.write_text(MAPPING)

    def write(self, **files: Rows) -> list[str]:
        for name, lines in files.items():
            (self.folder / f"{name}.csv").write_text("\n".join(["id,user,item,at,what,value", *lines]) + "\n")
        return [str(self.folder / f"{name}.csv") for name in files]

    def ingest(self, **files: Rows) -> dict[str, Any]:
        result: dict[str, Any] = ingest_event_files.ingest_event_files.fn(str(self.mapping), self.write(**files))
        for line in result["lines"]:
            assert line["read"] == sum(line[name] for name in LEDGER if name != "read")
        return result


def stored(installation: Installation, table: Any, *names: str) -> list[tuple[Any, ...]]:
    with installation.engine.connect() as connection:
        return sorted(map(tuple, connection.execute(select(*(table.c[name] for name in names)))))


def lake(installation: Installation) -> list[tuple[Any, ...]]:
    names = ("event_id", "user_key", "batch_id", "late", "value")
    return sorted(tuple(row[name] for name in names) for row in rows_of_lake(installation))


@pytest.fixture
def shop(installation: Installation, tmp_path: Path) -> Shop:  # noqa: ARG001 - it has to be there
    folder = tmp_path / "export"
    folder.mkdir()
    return Shop(folder)


MIXED: dict[str, Rows] = {
    "a": [*rows(1), BAD.format(1)],
    "b": [*rows(2), *rows(1, 4)],
    "c": [*rows(3, 9), *rows(1, 1, value=9.0), BAD.format(1)],
    "d": [*rows(3, 20), *rows(3, 20)],
    "e": rows(1, 5, first=30),
}


def test_impressions_are_in_the_ledger_and_are_no_reason_to_retrain(installation: Installation, shop: Shop) -> None:
    def shown(day: int, count: int) -> list[str]:
        return [line.replace(",view,", ",impression,").replace("T10", "T09") for line in rows(day, count, first=30)]

    def interactions() -> tuple[int, int]:
        now = read(installation.engine, installation.settings)
        return now.events, now.new_events

    shop.ingest(a=[*rows(1, 10), *shown(1, 20)])
    with installation.engine.begin() as connection:
        connection.execute(text("INSERT INTO datasets (version, manifest, created_at) VALUES ('d1', '{}', now())"))
    assert interactions() == (10, 0)
    result = shop.ingest(b=shown(2, 25), c=[*rows(3, 25), *shown(3, 5), BAD.format(3), BAD.format(4)])
    assert [line["accepted"] for line in result["lines"]] == [25, 30]
    assert interactions() == (35, 25)
    waiting = "UPDATE quarantine SET payload = payload || '{\"value\": 3}'"
    with installation.engine.begin() as connection:
        connection.execute(text(f"{waiting} || jsonb_build_object('event_type', 'impression') WHERE row_number = 31"))
        connection.execute(text(f"{waiting} WHERE row_number <> 31"))
    assert replay_quarantine.fn(result["lines"][1]["batch_id"])["accepted"] == 32
    assert interactions() == (36, 26)


@pytest.mark.usefixtures("pages")
def test_small_files_share_one_commit_and_have_a_line_in_the_ledger_each(
    installation: Installation, shop: Shop
) -> None:
    result = shop.ingest(**MIXED)
    assert result["refused"] == {}
    assert [counted(line, "late") for line in result["lines"]] == [
        {"read": 11, "accepted": 10, "quarantined": 1},
        {"read": 14, "accepted": 10, "duplicate": 4},
        {"read": 11, "accepted": 9, "quarantined": 1, "duplicate": 1},
        {"read": 40, "accepted": 11, "duplicate": 29},
        {"read": 5, "accepted": 5, "late": 5},
    ]
    assert len(installation.lake.event_files()) == 1
    assert {rules[0] for (rules,) in stored(installation, quarantine, "rule_ids")} == {
        "value_not_positive",
        "id_conflict",
    }
    assert all(line["data_docs"] for line in result["lines"])


@pytest.mark.parametrize(
    ("most_rows", "shared_rows"), [(ingest_event_files.GROUP_ROWS, 1), (30, 1), (30, 1_000), (60, 1_000)]
)
def test_groups_leave_what_their_files_would_leave_one_by_one(
    installation: Installation, shop: Shop, monkeypatch: pytest.MonkeyPatch, most_rows: int, shared_rows: int
) -> None:
    """While a group of few rows is stored, the next one is read. Groups share reference data for so many rows."""
    monkeypatch.setattr(ingest_event_files, "GROUP_ROWS", most_rows)
    monkeypatch.setattr(ingest_events, "SHARED_ROWS", shared_rows)

    def remaining() -> list[Any]:
        tables = [
            (ingest_batches, ["batch_id", "status", *LEDGER, "late", "late_before"]),
            (ingest_chunks, ["batch_id", "chunk", *LEDGER]),
            (quarantine, ["batch_id", "row_number", "rule_ids"]),
            (users, ["user_key", "batch_id"]),
            (identities, ["user_id"]),
            (ingest_repeats, ["batch_id", "chunk"]),
            (ingest_applications, ["batch_id"]),
            (ingest_statements, ["chunk", "kind", "key"]),
        ]
        return [lake(installation), *(stored(installation, table, *names) for table, names in tables)]

    shop.ingest(**MIXED)
    together = remaining()
    with installation.engine.begin() as connection:
        names = "ingest_batches, ingest_chunks, quarantine, users, identity.users, items"
        connection.execute(text(f"TRUNCATE {names} CASCADE"))
    events = installation.lake.events()
    assert events is not None
    installation.lake.remove_batch(*(row[0] for row in together[1]))
    for file in shop.write(**MIXED):
        ingest_events.ingest_events.fn(str(shop.mapping), file)
    assert remaining() == together


def test_the_same_files_again_change_nothing(installation: Installation, shop: Shop) -> None:
    shop.ingest(a=rows(1), b=rows(2))
    before = lake(installation)
    again = shop.ingest(a=rows(1), b=rows(2), c=rows(3), d=rows(4), e=rows(4))
    expected = "unchanged unchanged committed committed unchanged"
    assert " ".join(line["status"] for line in again["lines"]) == expected
    assert len(lake(installation)) == len(before) + 20


@pytest.mark.parametrize("most_rows", [ingest_event_files.GROUP_ROWS, 20])
def test_a_refused_file_does_not_stop_the_others_and_leaves_nothing(
    installation: Installation, shop: Shop, monkeypatch: pytest.MonkeyPatch, most_rows: int
) -> None:
    monkeypatch.setattr(ingest_event_files, "GROUP_ROWS", most_rows)
    repeated = [line.replace(",peek,", ",view,") for line in WRONG]
    result = shop.ingest(a=rows(1), b=WRONG, c=repeated, d=["not a row"], e=rows(10), f=rows(11))
    assert [counted(line, "late") for line in result["lines"]] == [{"read": 10, "accepted": 10}] * 4
    assert [Path(name).stem for name in result["refused"]] == ["b", "d"]
    assert "event_type_unknown" in result["refused"][str(shop.folder / "b.csv")]
    assert stored(installation, quarantine, "batch_id") == []
    assert {status for (status,) in stored(installation, ingest_batches, "status")} == {"committed", "refused"}


def test_a_file_of_a_group_resolves_what_waited_and_nothing_of_the_files_after_it(
    installation: Installation, shop: Shop
) -> None:
    bad = "1-3,u3,i0,2024-06-01T10:00:03Z,view,-3"
    shop.ingest(a=[*rows(2), bad])
    shop.ingest(b=rows(1), c=[*rows(3), bad.replace("-3", "-4").replace("1-4,", "1-3,")])
    with installation.engine.connect() as connection:
        result = connection.execute(select(quarantine.c.batch_id, quarantine.c.outcome).order_by("batch_id")).all()
    assert sorted(str(row.outcome) for row in result) == ["None", "resolved"]


def test_a_group_knows_the_users_and_the_quarantined_rows_of_the_groups_before_it(
    installation: Installation, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them use the reference data from before the first one."""
    monkeypatch.setattr(ingest_event_files, "GROUP_ROWS", 60)
    shop.ingest(known=rows(9, 5, first=50))
    bad = "3-3,u3,i0,2024-06-03T10:00:03Z,view,-3"
    result = shop.ingest(a=[*rows(1, 25), bad], b=rows(2, 25), c=rows(3, 25), d=rows(4, 25), e=rows(5, 25))
    assert ["users is known" in str(line["detail"]) for line in result["lines"]] == [True, True, False, False, False]
    assert stored(installation, quarantine, "outcome") == [("resolved",)]


@pytest.mark.parametrize("corrected", [0, 1])
def test_a_file_of_a_group_corrects_one_of_its_name_that_comes_before_it(
    installation: Installation, shop: Shop, corrected: int
) -> None:
    versions = [[*rows(1), BAD.format(1)], [*rows(1), BAD.format(1).replace("bad", "good").replace("-3", "3")]]
    files = []
    for lines in versions if corrected else reversed(versions):
        shop.folder /= "later"
        shop.folder.mkdir()
        files += shop.write(orders=lines)
    ingest_event_files.ingest_event_files.fn(str(shop.mapping), files)
    assert stored(installation, quarantine, "outcome") == [("resolved" if corrected else None,)]


def test_a_dismissed_row_stays_dismissed_when_it_comes_again_in_a_group(installation: Installation, shop: Shop) -> None:
    [line] = shop.ingest(a=[*rows(1), BAD.format(1)])["lines"]
    dismiss(installation.engine, line["batch_id"], "ann", "a test order")
    shop.ingest(b=[*rows(2), BAD.format(1).replace("-3", "-4")], c=rows(3))
    assert stored(installation, quarantine, "outcome") == [("dismissed",)] * 2


STEPS = {
    "what Postgres keeps of the group": ("ingest_chunks", "CHECK (chunk < 0)"),
    "the closing of its last batch": ("ingest_batches", "CHECK (status <> 'committed' OR batch_id NOT LIKE :last)"),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_group_that_is_cut_short_comes_in_once_by_the_next_run(
    installation: Installation, shop: Shop, step: str
) -> None:
    table, check = STEPS[step]
    [single] = shop.ingest(e=MIXED["e"])["lines"]
    with installation.engine.begin() as connection:
        connection.execute(
            text(f"ALTER TABLE {table} ADD CONSTRAINT stumble {check.replace(':last', repr('%'))} NOT VALID")
        )
    for _ in range(2):
        with pytest.raises(DBAPIError, match="stumble"):
            shop.ingest(**MIXED)
    with installation.engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT stumble"))
    result = shop.ingest(**MIXED)
    assert result["lines"][-1]["batch_id"] == single["batch_id"]
    assert sum(line["accepted"] for line in result["lines"]) == len(lake(installation)) == 45
    assert len({row[0] for row in lake(installation)}) == 45


def test_a_file_that_another_group_left_half_done_comes_in_once(installation: Installation, shop: Shop) -> None:
    """The group was killed between the lake and PostgreSQL; then other files come first."""
    with installation.engine.begin() as connection:
        connection.execute(text("ALTER TABLE ingest_batches ADD CONSTRAINT stumble CHECK (status <> 'committed')"))
    with pytest.raises(DBAPIError, match="stumble"):
        shop.ingest(a=rows(1), b=rows(2))
    assert len(lake(installation)) == 20
    with installation.engine.begin() as connection:
        connection.execute(text("ALTER TABLE ingest_batches DROP CONSTRAINT stumble"))
    entry = ingest_events.ingest_events.fn(str(shop.mapping), shop.write(c=[*rows(1), *rows(3)])[0])
    assert counted(entry) == {"read": 20, "accepted": 20}
    result = shop.ingest(a=rows(1), b=rows(2))
    assert [line["accepted"] for line in result["lines"]] == [0, 10]
    assert len({row[0] for row in lake(installation)}) == len(lake(installation)) == 30


def test_an_answer_about_consent_counts_for_the_next_file(installation: Installation, shop: Shop) -> None:
    """By opt-in, an event without an answer counts if the user has agreed in a file before it."""
    text_ = MAPPING.replace('"given"', '"opt-in"') + 'consent = "value"\nconsent_words = ["1"]\n'
    shop.mapping.write_text(text_.replace('value = "value"\n', ""))
    agreed = ["a1,u1,i1,2024-06-01T10:00:00Z,view,1"]
    unanswered = [f"b{n},u{n},i1,2024-06-02T10:00:00Z,view," for n in (1, 2)]
    result = shop.ingest(a=agreed, b=unanswered)
    assert [counted(line, "late") for line in result["lines"]] == [
        {"read": 1, "accepted": 1},
        {"read": 2, "accepted": 1, "suppressed": 1},
    ]
    assert len(lake(installation)) == 2


def test_the_devices_of_users_in_a_group_are_theirs(installation: Installation, shop: Shop) -> None:
    shop.mapping.write_text(MAPPING.replace('value = "value"', 'device_id = "value"'))
    shop.ingest(**{name: [f"{name},{name},i1,2024-06-01T10:00:00Z,view,device of {name}"] for name in ("ann", "bob")})
    assert len(stored(installation, aliases, "user_key", "anonymous_key")) == 2
