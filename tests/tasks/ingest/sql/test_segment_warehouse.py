"""The tables that Segment writes into a warehouse come in by SQL and as unloaded files, and are the same events."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import text

from infra.keys import credentials
from tasks.ingest.events.ingest_events import ingest_events
from tests.tasks.ingest.sql.source import Source

CONSENT = "context_consent_category_preferences_personalization"
COLUMNS = f"""id text, received_at timestamp, sent_at timestamp, original_timestamp timestamp, "timestamp" timestamp,
    uuid_ts timestamp, event text, event_text text, user_id text, anonymous_id text, {CONSENT} boolean"""
LINES = [
    {"product_id": "cup", "name": "Cup", "price": 2.5, "quantity": 2},
    {"product_id": "pan", "price": 9, "quantity": 1},
]
CALL = "'2026-03-01', '2026-03-01', '2026-03-01', timestamp '2026-03-01' + n * interval '1 minute', '2026-03-02'"


def fill(source: Source) -> None:
    source.run(
        "CREATE SCHEMA my_site",
        f"CREATE TABLE my_site.product_viewed ({COLUMNS}, product_id text, name text, price float, currency text)",
        f"CREATE TABLE my_site.order_completed ({COLUMNS}, order_id text, currency text, products text)",
        "CREATE TABLE my_site.users (id text, email text, plan text, uuid_ts timestamp)",
        f"""INSERT INTO my_site.product_viewed SELECT 'v' || n, {CALL}, 'product_viewed', 'Product Viewed',
            CASE WHEN n > 3 THEN 'ann' END, 'phone', n < 9, 'cup', 'Cup', 2.5, 'EUR'
            FROM generate_series(1, 9) AS s(n)""",
        f"""INSERT INTO my_site.order_completed SELECT 'o' || n, {CALL}, 'order_completed', 'Order Completed', 'ann',
            'phone', true, 'order-' || n, 'EUR', '{json.dumps(LINES).replace(":", chr(92) + ":")}'
            FROM generate_series(1, 3) AS s(n)""",
        "INSERT INTO my_site.users VALUES ('ann', 'ann@shop.example', 'gold', '2026-03-02')",
    )


def accepted(lines: list[Any]) -> int:
    return sum(line["accepted"] for line in lines)


def test_the_tables_of_a_source_come_in_with_products_and_consent(orders: Source, tmp_path: Path) -> None:
    fill(orders)
    lines = orders.ingest("segment_warehouse", schema="my_site")
    events = {line["file"].rpartition("/")[2]: line for line in lines if line["dataset"] == "events"}
    assert {name: (line["read"], line["accepted"], line["suppressed"]) for name, line in events.items()} == {
        "my_site.product_viewed": (9, 8, 1),
        "my_site.order_completed": (6, 6, 0),
    }
    rows = pa.concat_tables(
        [pq.read_table(file, partitioning=None) for file in orders.here.lake.event_files()], promote_options="default"
    ).to_pylist()
    bought = [row for row in rows if row["event_type"] == "purchase"]
    assert {(row["item_id"], row["value"], row["session_id"]) for row in bought if row["session_id"] == "order-1"} == {
        ("cup", 5.0, "order-1"),
        ("pan", 9.0, "order-1"),
    }
    assert {row["value"] for row in rows if row["event_type"] == "view"} == {None}
    with orders.here.engine.connect() as connection:
        titles = dict(connection.execute(text("SELECT item_id, title FROM items")).all())  # type: ignore[arg-type]
        owners = connection.execute(text("SELECT anonymous_key, user_key FROM aliases")).all()
        raw = connection.execute(text("SELECT user_id FROM identity.users")).scalars().all()
    assert titles["cup"] == "Cup"
    keys = credentials.keys(orders.here.key.decode())
    phone, ann = credentials.hashed("phone", keys, credentials.DEVICE), credentials.hashed("ann", keys)
    assert ({row["user_key"] for row in rows}, owners, raw) == ({phone, ann}, [(phone, ann)], ["ann"])
    # Unloaded files hold the same events.
    engine = orders.engine()
    with engine.connect() as connection:
        viewed = connection.execute(text("SELECT * FROM my_site.product_viewed")).mappings().all()
    engine.dispose()
    file = tmp_path / "product_viewed_0000_part_00.parquet"
    pq.write_table(pa.Table.from_pylist([dict(row) for row in viewed]), file)
    line = ingest_events.fn("segment_warehouse", str(file))
    assert (line["read"], line["duplicate"], line["suppressed"]) == (9, 8, 1)
