"""Every included mapping of tables reads its golden files exactly; those of Parquet files are kept as JSON."""

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from infra.database.schema.schema import items, quarantine
from infra.installation import Installation
from infra.keys.identity import pseudonym
from models.errors import TailorbirdError
from models.ingest.tabular import transform
from models.ingest.tabular.unreadable_cells import CELLS, KEYS
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.sources import table_files
from tasks.sources.file_matching import files_of
from tasks.sources.mapping_files import table_mapping
from tests.tasks.ingest.stored import counted, lake

GOLDEN = Path(__file__).parents[2] / "golden" / "mappings"
IN_CSV = ["personalize", "content", "wholesale"]
SOURCES = [
    ("complete_journey", "events", ["transactions"]),
    ("complete_journey", "items", ["products"]),
    ("complete_journey", "users", ["demographics"]),
    ("segment_warehouse", "events", ["product_viewed", "order_completed"]),
    ("segment_warehouse", "items", ["product_viewed", "order_completed"]),
    ("segment_warehouse", "users", ["people"]),
]
TIMES = {"transaction_timestamp": "ns", "timestamp": "us", "received_at": "us", "uuid_ts": "us"}
SHAPES = {"events": transform.events, "items": transform.items, "users": transform.users}


def source(mapping: str, name: str, folder: Path) -> Path:
    rows = json.loads((GOLDEN / mapping / f"{name}.json").read_text(encoding="utf-8"))
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    for column in TIMES.keys() & columns.keys():
        moments = [at and datetime.fromisoformat(at) for at in columns[column]]
        columns[column] = pa.array(moments, pa.timestamp(TIMES[column]))
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return folder / f"{name}.parquet"


def plain(value: Any) -> Any:
    """A row as it is written in the golden file: times as text, nothing where there is null."""
    if isinstance(value, dict):
        return {name: plain(content) for name, content in value.items() if content is not None}
    return value.isoformat() if isinstance(value, datetime) else value


@pytest.mark.parametrize(("mapping", "dataset", "files"), SOURCES)
def test_the_golden_rows_of_parquet_files_come_out_exactly(
    mapping: str, dataset: str, files: list[str], tmp_path: Path
) -> None:
    part, made = getattr(table_mapping(mapping, None), dataset), list[Any]()
    for file in files:
        [chunk] = table_files.chunks(source(mapping, file, tmp_path), part.read)
        made += [plain(row) for row in SHAPES[dataset](chunk.rows, part).rows.to_pylist()]
    assert made == json.loads((GOLDEN / mapping / f"{dataset}.json").read_text(encoding="utf-8"))


def canonical(name: str, dataset: str) -> pa.Table:
    part = getattr(table_mapping(name, None), dataset)
    [file] = files_of(table_mapping(name, None), [str(GOLDEN / name)])[dataset]
    [(rows, _, _)] = table_files.chunks(Path(file), part.read, csv=table_files.csv_of(part))
    shaped: pa.Table = SHAPES[dataset](rows.filter(transform.selected(rows, part)), part).rows
    return shaped.drop_columns([KEYS, CELLS])


@pytest.mark.parametrize("dataset", SHAPES)
@pytest.mark.parametrize("name", IN_CSV)
def test_the_golden_files_give_exactly_the_golden_rows(name: str, dataset: str) -> None:
    expected = json.loads((GOLDEN / name / f"{dataset}.json").read_text(encoding="utf-8"))
    assert [plain(row) for row in canonical(name, dataset).to_pylist()] == expected


def test_events_of_all_mappings_have_the_same_columns(shop: Any) -> None:
    mapping = table_mapping("complete_journey", None).events
    schemas = [canonical(name, "events").schema for name in IN_CSV]
    schemas.append(transform.events(shop.transactions, mapping).rows.drop_columns([KEYS, CELLS]).schema)
    consent = schemas[1].get_field_index("consent")
    assert schemas[1].remove(consent) == schemas[0] == schemas[2]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The golden files among so many sound rows that no batch is refused for its share of bad ones."""
    shutil.copytree(GOLDEN / "personalize", tmp_path / "personalize")
    with (tmp_path / "personalize" / "interactions.csv").open("a") as file:
        file.writelines(f"u{n},0008,{1717300000 + n},View,,,\n" for n in range(60))
    with (tmp_path / "personalize" / "items.csv").open("a") as file:
        file.writelines(f"i{n},5,Home,Lamps,Lamp {n},\n" for n in range(60))
    return tmp_path / "personalize"


def caught(installation: Installation) -> list[list[str]]:
    with installation.engine.connect() as connection:
        result = select(quarantine.c.rule_ids).order_by(quarantine.c.batch_id, quarantine.c.row_number)
        return [sorted(rules) for rules in connection.execute(result).scalars()]


def test_an_export_for_amazon_personalize_comes_in(installation: Installation, place: Path) -> None:
    mapping = "personalize"
    parts = files_of(table_mapping(mapping, None), [str(place)])
    declared = {"consent": "given", "consent_note": "by contract"}
    goods = ingest_items.fn(mapping, parts["items"][0], declared)
    assert counted(goods) == {"read": 63, "quarantined": 1, "routed": 62}
    assert counted(ingest_users.fn(mapping, parts["users"][0], declared)) == {"read": 2, "routed": 2}
    entry = ingest_events.fn(mapping, parts["events"][0], declared)
    assert counted(entry) == {"read": 68, "accepted": 63, "duplicate": 1, "quarantined": 4}
    rules = ["occurred_at_unreadable", "event_type_unknown", "user_key_missing", "item_not_in_catalogue"]
    assert caught(installation) == [[rule] for rule in (*rules, "price_negative")]
    again = ingest_events.fn(mapping, parts["events"][0], declared)
    assert again == entry | {"status": "unchanged"}
    rows = sorted(lake(installation), key=lambda row: (row["occurred_at"], row["event_id"]))
    assert [row["event_type"] for row in rows[:3]] == ["view", "purchase", "add_to_cart"]
    assert rows[1]["user_key"] == pseudonym("0042", installation.key)
    assert rows[1]["recommendation_id"] == "RID-1"
    assert len({row["event_id"] for row in rows}) == 63
    with installation.engine.connect() as connection:
        item = connection.execute(select(items).where(items.c.item_id == "0008")).one()
    assert (item.category, "category_imputed" in item.attributes) == (None, False)


def test_a_csv_file_that_breaks_off_in_the_middle_leaves_nothing_behind(
    installation: Installation, tmp_path: Path
) -> None:
    shutil.copytree(GOLDEN / "content", tmp_path / "content")
    path = tmp_path / "content" / "interactions-2024-06.csv"
    path.write_text(path.read_text() + 'e8,"ana')
    with pytest.raises(TailorbirdError, match=r"interactions-2024-06.csv cannot be read: line 10: "):
        ingest_events.fn("content", str(path))
    assert installation.lake.event_files() == []
