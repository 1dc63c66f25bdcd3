from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from expectations.batches import ITEM_RULES
from models.columns import CURRENCY, ROW
from models.ingest.tabular import transform
from models.ingest.tabular.table_mapping import ItemsMapping
from models.ingest.tabular.unreadable_cells import KEYS
from tasks.ingest.reference.read_reference import COPIES, condense, read_reference, triage_reference
from tasks.sources import table_files

NO_USERS = pa.array([], pa.string())


def items(*rows: dict[str, Any]) -> pa.Table:
    sound = {"item_id": "i1", "title": "Ice", "category": "FOOD", "price": 1.0, "attributes": {"size": "1 l"}}
    sound |= {"available": True}
    table = pa.Table.from_pylist([sound | row for row in rows])
    for name in (CURRENCY, KEYS):
        table = table.append_column(name, pa.nulls(len(rows), pa.string()))
    return condense(table.append_column(ROW, pa.array(range(len(rows)), pa.int64())), ITEM_RULES)


def test_of_a_catalogue_the_last_row_of_an_item_is_routed_to_the_catalogue() -> None:
    rows = items(
        {"title": "Old"}, {"item_id": None}, {"title": "New"}, {"item_id": "i2"}, {"item_id": "i3", "price": -1.0}
    )
    done = triage_reference(rows, ITEM_RULES, NO_USERS, "item_id")
    assert done.accepted.select(["item_id", "title"]).to_pylist() == [
        {"item_id": "i1", "title": "New"},
        {"item_id": "i2", "title": "Ice"},
    ]
    assert done.counts == {"read": 5, "suppressed": 0, "routed": 2, "quarantined": 2, "duplicate": 1, "accepted": 0}
    assert done.quarantined[ROW].to_pylist() == [1, 4]


def test_equal_rows_are_kept_once_with_their_number_and_bad_rows_all() -> None:
    rows = items({}, {"price": -1.0}, {}, {"title": "New"}, {"price": -1.0}, {})
    assert rows.select([ROW, COPIES]).to_pylist() == [
        {ROW: 1, COPIES: 1},
        {ROW: 3, COPIES: 1},
        {ROW: 4, COPIES: 1},
        {ROW: 5, COPIES: 3},
    ]
    assert condense(rows, ITEM_RULES).equals(rows)


@pytest.mark.parametrize("choice", ["latest", "recent"])
@pytest.mark.parametrize("attributes", [[], ["colour"]])
def test_a_file_is_read_alike_in_chunks_of_any_size_and_keeps_what_is_different(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attributes: list[str], choice: str
) -> None:
    n = 3_000
    table = {
        "code": [f"i{row % 7}" for row in range(n)],
        "name": ["note" if row % 5 == 4 else f"Lamp {row % 7}" for row in range(n)],
        "price": [-1.0 if row % 1_000 == 3 else float(row % 3) for row in range(n)],
        "colour": ["red", None] * (n // 2),
        "at": [f"2024-01-01 00:{row // 60:02}:{row % 60:02}" for row in range(n)],
    }
    path = tmp_path / "lines.parquet"
    pq.write_table(pa.table(table), path)
    part = ItemsMapping.model_validate(
        {"file": "f", "item_id": "code", "title": "name", "price": "price", "attributes": attributes}
        | {"where": "code <> 'i6'", "choose": {"title": "most_frequent", "price": choice}, "updated_at": "at"}
    )

    def read(size: int) -> Any:
        monkeypatch.setattr(table_files, "CHUNK_ROWS", size)
        result = read_reference(path, part, lambda rows: transform.items(rows, part), ITEM_RULES)
        assert len(result.rows) < 90
        assert result.skipped == sum(code == "i6" for code in table["code"])
        return (
            result.rows.to_pylist(),
            result.profile,
            result.stated.to_pylist(),
            triage_reference(result.rows, ITEM_RULES, NO_USERS, "item_id", part.choices),
        )

    *whole, done = read(n)
    *chunked, repeated = read(250)
    assert chunked == whole
    assert repeated.accepted.to_pylist() == done.accepted.to_pylist()
    assert done.counts == repeated.counts
    assert sum(done.counts[name] for name in ("routed", "quarantined", "duplicate")) == done.counts["read"]
    assert done.quarantined[ROW].to_pylist() == [3, 1003, 2003], "the rows of the file"
    assert [row["title"] for row in done.accepted.to_pylist()] == [f"Lamp {n}" for n in (4, 5, 0, 1, 2, 3)]
