"""The ledger and the quarantine are readable at 80 columns."""

from datetime import UTC, datetime
from typing import Any

import pytest

from serving.terminal import screen

BATCH: dict[str, Any] = {
    "batch_id": "complete_journey-events-55fef37fcd80-04df8fe6",
    "file": "transactions.parquet",
    "source": "complete_journey",
    "dataset": "events",
    "status": "committed",
    "started_at": datetime(2026, 3, 1, 8, 30, tzinfo=UTC),
    "read": 1_240_000,
    "accepted": 1_200_000,
    "quarantined": 30_000,
    "duplicate": 10_000,
    "suppressed": 0,
    "routed": 0,
    "late": 12,
    "detail": "Undone by ann: it was another shop's file. The same file can be ingested again, as often as you like.",
}


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.terminal.console._WIDTH", 80)


@pytest.mark.usefixtures("narrow")
def test_a_batch_is_shown_with_the_sum_of_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    screen.show("ledger_batches", [BATCH])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].rstrip() == "2026-03-01 08:30  complete_journey  events  committed  transactions.parquet"
    assert lines[1].strip() == BATCH["batch_id"]
    shown = " ".join(" ".join(lines[2:4]).split())
    assert shown == "1,240,000 read = 1,200,000 accepted + 30,000 quarantined + 10,000 duplicate; 12 late"


@pytest.mark.parametrize("width", [80, 110])
def test_long_names_of_files_leave_ledger_and_quarantine_readable(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.terminal.console._WIDTH", width)
    batch = BATCH | {"file": f"{'transactions_' * 6}2026-05.csv.gz"}
    removed = dict.fromkeys(("events_removed", "events_kept", "items_removed", "items_changed", "users_removed"), 1)
    removed |= dict.fromkeys(("users_changed", "quarantined_removed", "refusals_kept"), 0)
    screen.show("ledger_batches", [batch])
    screen.show("quarantine", [batch | {"rows": 2, "rules": {"item_id_missing": 2}}])
    screen.show("undo_preview", {"batches": [batch | removed], "datasets": [], "champion": None, "placements": []})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.strip() == BATCH["batch_id"] for line in lines) == 3, "an id is whole, so that it can be copied"


def test_a_row_of_a_csv_file_is_named_by_its_line_first(capsys: pytest.CaptureFixture[str]) -> None:
    screen.show("rows", [{"row_number": 3, "rule_ids": ["id_conflict"], "payload": {"event_id": "o2", "line": 4}}])
    shown = capsys.readouterr().out
    assert shown.startswith("Line 4 (row 3): id_conflict")
    shown = " ".join(shown.split())
    assert "If the new values are right, undo the batch of the earlier ones: tailorbird ledger undo BATCH." in shown
    assert shown.index("ledger undo BATCH") < shown.index("Only if one order has several lines of an item")


@pytest.mark.usefixtures("narrow")
def test_a_batch_shows_its_changes_and_rows_by_rule_when_read_and_now(capsys: pytest.CaptureFixture[str]) -> None:
    change = {"at": datetime(2026, 3, 2, 9, 5, tzinfo=UTC), "action": "undo", "actor": "ann", "reason": "a wrong file"}
    rules = {"rules": {"item_id_missing": 3, "value_not_positive": 1}}
    waiting = {"waiting": {"rows": 1, "rules": {"item_id_missing": 1}}}
    screen.show("ledger_entry", BATCH | rules | waiting | {"changes": [change], "cleaned": {"zone_assumed": 4}})
    shown = capsys.readouterr().out
    command = f"The next command is: tailorbird quarantine show {BATCH['batch_id']}"
    assert max(len(line) for line in shown.splitlines() if line != command) <= 80
    assert "Undone on 2026-03-02 09:05 by ann: a wrong file" in shown
    lines = [" ".join(line.replace("│", " ").split()) for line in shown.splitlines()]
    assert {"item_id_missing 3 1", "value_not_positive 1 0", "cleaned zone_assumed: 4"} <= set(lines)
    assert "1 row of this batch waits in quarantine now" in " ".join(shown.split())


def test_a_batch_that_was_undone_before_is_marked_in_the_ledger(capsys: pytest.CaptureFixture[str]) -> None:
    change = {"at": datetime(2026, 3, 2, 9, 5, tzinfo=UTC), "action": "undo", "actor": "ann", "reason": "a wrong file"}
    screen.show("ledger_batches", [BATCH | {"detail": None, "changes": [change]}])
    assert "Undone on 2026-03-02 09:05 by ann: a wrong file" in capsys.readouterr().out
    screen.show(
        "ledger_batches", [BATCH | {"status": "undone", "detail": "Undone by ann: a wrong file.", "changes": [change]}]
    )
    assert capsys.readouterr().out.count("Undone") == 1
