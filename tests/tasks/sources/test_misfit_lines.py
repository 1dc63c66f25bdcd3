"""Lines that do not fit the header of a CSV file are quarantined, and the other rows are ingested."""

import gzip
import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from infra.database.schema.schema import LEDGER, ingest_batches, items, quarantine, users
from infra.installation import Installation
from models.errors import TailorbirdError
from tasks.ingest import ledger
from tasks.ingest.check.check_mapping import check_mapping
from tasks.ingest.events.chunk_readers import read_table
from tasks.ingest.events.chunk_writer import write
from tasks.ingest.events.classification import classify, open_context
from tasks.ingest.events.ingest_event_files import ingest_event_files
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.ledger import batch_of
from tasks.ingest.quarantine.dismiss_rows import dismiss
from tasks.ingest.quarantine.replay_rows import replay_quarantine
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.ingest.undo.undo_batches import undo_batches
from tasks.sources import table_files
from tasks.sources.mapping_files import table_mapping

MAPPING = """
consent = "given"
consent_note = "a test"
unknown_items = "accept"
[events]
file = "orders*"
user_id = "customer"
item_id = "sku"
occurred_at = "at"
constants = { event_type = "purchase" }
[items]
file = "items*"
item_id = "sku"
title = "name"
[users]
file = "users*"
user_id = "customer"
attributes = []
"""
STEPS = {"orders": ingest_events, "items": ingest_items, "users": ingest_users}
HEADS = {"orders": "customer,sku,at", "items": "sku,name", "users": "customer,city"}
Ingest = Callable[..., dict[str, Any]]


def order(n: int) -> str:
    return f"u{n},s{n},2024-03-01T10:{n % 60:02}:00Z"


ROWS = {
    "orders": [order(n) for n in range(20)],
    "items": [f"s{n},Tea {n}" for n in range(20)],
    "users": [f"u{n},Ulm" for n in range(20)],
}
CUT = "K4711,s9"
BAD = {
    "orders": [CUT, "ann@shop.example,s,Tea,2024-03-01"],
    "items": ["s77", "s78,Tea,green"],
    "users": ["K4711", "a,b,c"],
}


def lines_of(kind: str) -> list[str]:
    """A header on line 1, and lines that do not fit on lines 3 and 24."""
    good, (one, other) = ROWS[kind], BAD[kind]
    return [HEADS[kind], good[0], one, *good[1:], "", other]


@pytest.fixture
def ingest(installation: Installation, tmp_path: Path) -> Ingest:  # noqa: ARG001 - it has to be there
    toml = tmp_path / "shop.toml"
    toml.write_text(MAPPING)

    def run(kind: str, lines: list[str], encoding: str = "utf-8", ending: str = "csv") -> dict[str, Any]:
        content = ("\n".join(lines) + "\n").encode(encoding)
        path = tmp_path / f"{kind}.{ending}"
        path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
        entry: dict[str, Any] = STEPS[kind].fn(str(toml), str(path))
        assert entry["read"] == sum(entry[name] for name in LEDGER if name != "read")
        return entry

    return run


def waiting(installation: Installation) -> list[dict[str, Any]]:
    entry = quarantine.c
    with installation.engine.connect() as connection:
        rows = select(entry.row_number, entry.rule_ids, entry.payload, entry.outcome).order_by(entry.row_number)
        return [dict(row) for row in connection.execute(rows).mappings()]


def outcomes(installation: Installation) -> list[str | None]:
    return [row["outcome"] for row in waiting(installation)]


@pytest.mark.parametrize("kind", STEPS)
def test_lines_that_do_not_fit_the_header_wait_for_a_corrected_file_and_the_others_come_in(
    installation: Installation, ingest: Ingest, kind: str
) -> None:
    entry = ingest(kind, lines_of(kind))

    came = entry["accepted" if kind == "orders" else "routed"]
    assert (entry["read"], came, entry["quarantined"]) == (22, 20, 2)
    first, last = waiting(installation)
    assert (first["row_number"], first["rule_ids"], first["payload"]["line"]) == (1, ["line_unreadable"], 3)
    assert (last["row_number"], last["rule_ids"], last["payload"]["line"]) == (21, ["line_unreadable"], 24)
    assert [row["payload"]["values"] for row in (first, last)] == [line.count(",") + 1 for line in BAD[kind]]
    assert first["payload"]["columns"] == len(HEADS[kind].split(","))
    with installation.engine.connect() as connection:
        table = items if kind == "items" else users
        assert len(connection.execute(select(table)).all()) == 20, "nobody is known by a line that does not fit"
    right = {"orders": order(50), "items": "s77,Mate", "users": "K4711,Bonn"}[kind]
    ingest(kind, [right if line == BAD[kind][0] else line for line in lines_of(kind)])
    assert outcomes(installation) == ["resolved", None]


def test_no_value_of_such_a_line_is_kept(installation: Installation, ingest: Ingest) -> None:
    ingest("orders", lines_of("orders"))

    texts = [row["payload"]["text"] for row in waiting(installation)]
    assert texts == ["A9999,a9", "aaa@aaaa.aaaaaaa,a,Aaa,9999-99-99"]
    assert not [
        value
        for value in ("4711", "ann@", "shop")
        if value in json.dumps([r["payload"] for r in waiting(installation)])
    ]


def test_lines_of_one_shape_all_wait_and_the_same_line_waits_once(installation: Installation, ingest: Ingest) -> None:
    again = ingest("orders", [*lines_of("orders"), "K4712,s9", "K4713,s9", CUT])
    assert (again["quarantined"], again["duplicate"]) == (4, 1)
    other = ingest("orders", [HEADS["orders"], *(order(n) for n in range(30, 50)), "", CUT])
    assert (other["read"], other["accepted"], other["quarantined"], other["duplicate"]) == (21, 20, 0, 1)
    assert len(waiting(installation)) == 4


def test_a_line_waits_again_after_the_corrected_file_is_undone(installation: Installation, ingest: Ingest) -> None:
    first = ingest("orders", lines_of("orders"))
    corrected = ingest(
        "orders",
        [order(50) if line in BAD["orders"] else line for line in lines_of("orders")[:3]]
        + [order(51) if line in BAD["orders"] else line for line in lines_of("orders")[3:]],
    )
    assert outcomes(installation) == ["resolved", "resolved"]
    undo_batches.fn([corrected["batch_id"]], None, "ann", "a test")
    assert outcomes(installation) == [None, None]
    undo_batches.fn([first["batch_id"]], None, "ann", "a test")
    assert outcomes(installation) == []


def test_a_replay_leaves_the_lines_and_a_dismissal_ends_their_wait(installation: Installation, ingest: Ingest) -> None:
    entry = ingest("orders", lines_of("orders"))
    assert replay_quarantine.fn(entry["batch_id"])["quarantined"] == 2
    assert dismiss(installation.engine, entry["batch_id"], "ann", "cut off", rule="line_unreadable")["dismissed"] == 2
    assert outcomes(installation) == ["dismissed"] * 2


@pytest.mark.parametrize("kind", STEPS)
def test_above_the_limit_the_file_is_refused_with_its_lines(
    installation: Installation, ingest: Ingest, tmp_path: Path, kind: str
) -> None:
    lines = [*lines_of(kind), *BAD[kind], *BAD[kind]]
    with pytest.raises(TailorbirdError, match=r"line 3 has \d values?, line 24 has .*nothing was stored"):
        ingest(kind, lines)
    assert waiting(installation) == []

    part = "events" if kind == "orders" else kind
    (tmp_path / "shop.toml").write_text(f"{MAPPING}\n[limits.{part}]\nquarantined_share = 0.25\n")
    assert ingest(kind, lines)["quarantined"] == 2, "each of them once"


def test_a_group_of_files_comes_to_the_same_as_the_files_one_by_one(
    installation: Installation,
    ingest: Ingest,  # noqa: ARG001 - it writes the mapping
    tmp_path: Path,
) -> None:
    paths = []
    for place in range(3):
        lines = [HEADS["orders"], f"K{place}{place},s9", *(order(n) for n in range(10 * place, 10 * place + 10))]
        paths.append(tmp_path / f"orders{place}.csv")
        paths[-1].write_text("\n".join([*lines, CUT]) + "\n")
    together = ingest_event_files.fn(str(tmp_path / "shop.toml"), list(map(str, paths)))["lines"]
    grouped = [{name: line[name] for name in LEDGER} for line in together]
    rows = waiting(installation)
    assert len(installation.lake.event_files()) == 1, "one commit"
    with installation.engine.connect() as connection:
        statuses = connection.execute(select(ingest_batches.c.status)).scalars().all()
    assert statuses == ["committed"] * 3

    for line in reversed(together):
        undo_batches.fn([line["batch_id"]], None, "ann", "a test")
    single = [ingest_events.fn(str(tmp_path / "shop.toml"), str(path)) for path in paths]
    assert [{name: line[name] for name in LEDGER} for line in single] == grouped
    assert [line["quarantined"] for line in single] == [2, 1, 1]
    assert waiting(installation) == rows


@pytest.mark.parametrize("done", [1, 4])
def test_a_run_that_was_killed_between_chunks_is_finished_by_the_next(
    installation: Installation, ingest: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    monkeypatch.setattr(table_files, "CHUNK_ROWS", 5)
    path = tmp_path / "orders.csv"
    path.write_text("\n".join(lines_of("orders")) + "\n")
    mapping = table_mapping(str(tmp_path / "shop.toml"), None)
    batch = batch_of(mapping, "events", path, str(path))
    with installation.engine.begin() as connection:
        ledger.open_batch(connection, batch)
    context, run = open_context(installation, mapping, batch)
    for number, (chunk, _) in enumerate(islice(read_table(installation, mapping, path), done)):
        write(context, run, chunk, classify(context, run, chunk), number)

    entry = ingest("orders", lines_of("orders"))
    assert (entry["read"], entry["accepted"], entry["quarantined"]) == (22, 20, 2)
    assert [row["row_number"] for row in waiting(installation)] == [1, 21]


def test_a_check_shows_the_lines_and_refuses_what_an_ingest_refuses(tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text(MAPPING)
    for kind in STEPS:
        (tmp_path / f"{kind}.csv").write_text("\n".join(lines_of(kind)) + "\n")
    result = check_mapping(str(tmp_path / "shop.toml"), [str(tmp_path)])
    for table in result["tables"]:
        assert (table["refused"], table["rows"], table["counts"]["quarantined"]) == (None, 22, 2), table["part"]
        [rule] = table["broken"]
        assert (rule["rule"], rule["rows"]) == ("line_unreadable", 2)
        assert rule["examples"] == [{"line": 3}, {"line": 24}]

    (tmp_path / "orders.csv").write_text("\n".join([*lines_of("orders"), *BAD["orders"] * 2]) + "\n")
    [events] = [
        one for one in check_mapping(str(tmp_path / "shop.toml"), [str(tmp_path)])["tables"] if one["part"] == "events"
    ]
    assert "line 3 has 2 values, line 24 has 4 values" in events["refused"]
