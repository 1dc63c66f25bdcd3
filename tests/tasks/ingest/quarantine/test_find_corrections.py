"""A corrected file with accepted ids and other values: the proposed command ingests its rows."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from infra.installation import Installation
from serving.queries import ledger
from serving.terminal import screen
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.quarantine.find_corrections import find_corrections
from tasks.ingest.quarantine.replay_rows import replay_quarantine
from tasks.ingest.reference.ingest_items import ingest_items
from tasks.ingest.undo.undo_batches import undo_batches

MAPPING = """
consent = "given"
consent_note = "by the terms of the shop"

[events]
file = "*.csv"
event_id = "order"
user_id = "user"
item_id = "item"
event_type = "kind"
occurred_at = "at"
value = "price"

[items]
file = "items.csv"
item_id = "item"
title = "title"
"""


@pytest.fixture
def folder(installation: Installation, tmp_path: Path) -> Path:  # noqa: ARG001
    (tmp_path / "shop.toml").write_text(MAPPING)
    (tmp_path / "items.csv").write_text("item,title\ncup,Cup\n")
    ingest_items.fn(str(tmp_path / "shop.toml"), str(tmp_path / "items.csv"))
    return tmp_path


def bring(folder: Path, file: str, corrected: int, orders: range = range(400)) -> dict[str, Any]:
    rows = [f"o{n},user{n},cup,purchase,2024-06-{n % 28 + 1:02}T10:00:00Z,{3 if n < corrected else 2}" for n in orders]
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text("\n".join(["order,user,item,kind,at,price", *rows]) + "\n")
    line = ingest_events.fn(str(folder / "shop.toml"), str(folder / file)) | {"file": str(folder / file)}
    [actual] = find_corrections([line])
    return actual


def values(installation: Installation) -> list[float]:
    rows = [
        row for file in installation.lake.event_files() for row in pq.read_table(file, partitioning=None).to_pylist()
    ]
    return sorted(row["value"] for row in rows)


def test_a_corrected_file_names_the_commands_that_take_its_rows_in(
    installation: Installation, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    first = bring(folder, "may.csv", 0)
    assert "correction" not in first
    again = bring(folder, "corrected/may.csv", 40)
    assert (again["quarantined"], again["duplicate"]) == (40, 360)
    screen.show("ledger", [again])
    shown = capsys.readouterr().out
    undo, replay = (
        f"tailorbird ledger undo {first['batch_id']} --reason",
        f"tailorbird quarantine replay {again['batch_id']}",
    )
    assert "may.csv: 40 rows did not come in, because accepted rows with their ids" in shown
    assert shown.index(undo) < shown.index(replay)
    assert max(len(line) for line in shown.splitlines() if "tailorbird" not in line) <= 80

    undo_batches.fn([first["batch_id"]], None, "ann", "the file was corrected")
    replay_quarantine.fn(again["batch_id"])
    assert values(installation) == [2.0] * 360 + [3.0] * 40
    assert ledger.quarantined(installation.engine) == []
    assert ledger.correction(installation.engine, again["batch_id"]) is None


@pytest.mark.parametrize("file", ["other.csv", "next/may.csv"])
def test_an_undo_is_not_proposed_of_another_file_nor_of_another_week(
    folder: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bring(folder, "may.csv", 0)
    orders = range(400) if file == "other.csv" else range(380, 800)
    actual = bring(folder, file, 20 if file == "other.csv" else 390, orders)
    assert actual["correction"]["rows"] in (10, 20)
    assert actual["correction"]["earlier"] == ()
    screen.show("ledger", [actual])
    assert "ledger undo shop" not in capsys.readouterr().out
