"""The Complete Journey comes as Parquet: its golden rows are written as JSON, and put into the files here."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.ingest.tabular import transform
from tasks.ingest.batch_identity import table_mapping
from tasks.sources import table_files
from tasks.sources.mapping_files import shipped

GOLDEN = Path(__file__).parents[2] / "golden" / "mappings"
LINES = Path(__file__).parents[2] / "golden" / "segment"
SOURCES = {"events": "transactions", "items": "products", "users": "demographics"}
SHAPES = {"events": transform.events, "items": transform.items, "users": transform.users}


def source(name: str, folder: Path) -> Path:
    rows = json.loads((GOLDEN / "complete_journey" / f"{name}.json").read_text(encoding="utf-8"))
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    if "transaction_timestamp" in columns:
        moments = [at and datetime.fromisoformat(at) for at in columns["transaction_timestamp"]]
        columns["transaction_timestamp"] = pa.array(moments, pa.timestamp("ns"))
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return folder / f"{name}.parquet"


def plain(value: Any) -> Any:
    """A row as it is written in the golden file: times as text, nothing where there is null."""
    if isinstance(value, dict):
        return {name: plain(content) for name, content in value.items() if content is not None}
    return value.isoformat() if isinstance(value, datetime) else value


@pytest.mark.parametrize("dataset", SOURCES)
def test_the_golden_rows_of_the_complete_journey_come_out_exactly(dataset: str, tmp_path: Path) -> None:
    part = getattr(table_mapping("complete_journey", None), dataset)
    [chunk] = table_files.chunks(source(SOURCES[dataset], tmp_path), transform.needed(part))
    expected = json.loads((GOLDEN / "complete_journey" / f"{dataset}.json").read_text(encoding="utf-8"))
    assert [plain(row) for row in SHAPES[dataset](chunk.rows, part).rows.to_pylist()] == expected


def test_every_mapping_that_is_shipped_has_golden_rows_of_each_of_its_parts() -> None:
    for name in shipped():
        if (LINES / f"{name}.jsonl").exists():
            assert (LINES / f"{name}.json").exists(), name
            continue
        parts = [part for part in SHAPES if getattr(table_mapping(name, None), part) is not None]
        assert parts
        for part in parts:
            assert (GOLDEN / name / f"{part}.json").exists(), f"{name}: {part}"
