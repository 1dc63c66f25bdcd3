"""Rows of real databases reach the lake once, in as many runs as it takes, wherever they end."""

import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import URL, make_url, text

from infra.installation import Installation
from infra.keys import credentials
from infra.lake.delta_lake import Lake
from infra.overview.situation import cut_short, unfinished
from models.errors import TailorbirdError
from models.ingest.tabular.sql_cursor import CursorError
from models.ingest.tabular.table_mapping import Mapping
from tasks.ingest import ledger
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.ledger import batch_of
from tasks.ingest.quarantine.replay_rows import replay_quarantine
from tasks.ingest.sql import ingest_stream
from tasks.ingest.sql.stream_run import sql_ingest
from tasks.ingest.undo.undo_batches import undo_batches
from tasks.quality.suites import BatchRefusedError
from tasks.sources.sql.source_database import SourceDatabaseError
from tests.tasks.ingest.sql.source import MAPPING, ORDERS, Source
from tests.tasks.ingest.stored import lake
from tests.tasks.stopped_steps import KilledError, ends_at

STEPS: tuple[tuple[Any, str], ...] = (
    (ingest_stream, "pull_rows"),
    (ingest_stream, "close_outdated"),
    (ledger, "record_chunks"),
    (Lake, "append_events"),
    (ledger, "close_batches"),
)
CONSENT = "context_consent_category_preferences_personalization"
COLUMNS = f"""id text, received_at timestamp, sent_at timestamp, original_timestamp timestamp, "timestamp" timestamp,
    uuid_ts timestamp, event text, event_text text, user_id text, anonymous_id text, {CONSENT} boolean"""
LINES = [
    {"product_id": "cup", "name": "Cup", "price": 2.5, "quantity": 2},
    {"product_id": "pan", "price": 9, "quantity": 1},
]
CALL = "'2026-03-01', '2026-03-01', '2026-03-01', timestamp '2026-03-01' + n * interval '1 minute', '2026-03-02'"


def test_each_run_continues_where_the_last_one_stopped_and_another_database_is_another_stream(
    duck_orders: Source, orders: Source
) -> None:
    duck_orders.add(1, 100)
    assert duck_orders.counts() == [(100, 100, 0)]
    assert duck_orders.position() == "2024-03-01T01:40:00+00:00"
    duck_orders.add(101, 130)
    # Ten minutes of the rows before are read again.
    assert duck_orders.counts() == [(41, 30, 11)]
    assert duck_orders.lake() == list(range(1, 131))
    orders.add(126, 135)
    assert orders.counts() == [(10, 5, 5)]


def test_batches_end_between_two_values_of_the_cursor(orders: Source) -> None:
    orders.add(1, 25, "timestamptz '2024-03-01 01:00:00+00'")
    orders.add(26, 60)
    assert orders.counts(most=20) == [(20, 20, 0), (40, 40, 0)]
    assert orders.lake() == list(range(1, 61))
    # Rows with the value that the last run reached are still found.
    orders.add(61, 63, "timestamptz '2024-03-01 01:00:00+00'")
    assert orders.counts(most=20, overlap="0s") == [(29, 3, 26)]


def test_a_cursor_of_numbers_re_reads_the_last_thousand(orders: Source, capsys: pytest.CaptureFixture[str]) -> None:
    orders.add(1, 1500)
    assert orders.counts(cursor="id") == [(1500, 1500, 0)]
    orders.add(1501, 1510)
    assert orders.counts(cursor="id") == [(1011, 10, 1001)]
    assert orders.counts(cursor="id", overlap="5", since="1400") == [(111, 0, 111)]
    assert orders.counts(cursor="id", overlap="110") == []  # the same rows
    with pytest.raises(CursorError, match="'many' is no number that a cursor can start from"):
        orders.ingest(cursor="id", since="many")
    orders.run("DELETE FROM orders WHERE id > 400")  # or it was rebuilt, and counts from 1 again
    assert orders.counts(cursor="id") == []
    assert "its highest id is 400, and rows from 510 on are read. If the table was rebuilt" in capsys.readouterr().err


def test_rows_without_a_value_of_the_cursor_are_read_and_reported(
    orders: Source, capsys: pytest.CaptureFixture[str]
) -> None:
    orders.add(1, 20)
    orders.add(21, 25, "NULL")
    assert orders.counts() == [(5, 5, 0), (20, 20, 0)]
    assert "5 rows of orders have no updated_at" in capsys.readouterr().err
    orders.run("UPDATE orders SET updated_at = '2024-03-01 05:00:00+00' WHERE updated_at IS NULL")
    assert orders.counts() == [(16, 0, 16)]
    assert orders.lake() == list(range(1, 26))
    assert orders.position() == "2024-03-01T05:00:00+00:00"


def test_late_rows_clocks_that_shift_and_times_beyond_pythons_years_hide_no_row(orders: Source) -> None:
    orders.add(1, 60, "now() - n * interval '1 second'")
    orders.add(61, 61, "timestamptz '2999-01-01'")
    orders.add(62, 65)
    for number, at in ((62, "12026-03-01"), (63, "0044-03-15 BC"), (64, "infinity"), (65, "-infinity")):
        orders.run(f"UPDATE orders SET ordered_at = '{at}', updated_at = '{at}' WHERE id = {number}")
    [line] = orders.ingest()
    assert (line["read"], line["accepted"], line["quarantined"]) == (65, 61, 4)
    assert str(orders.position()) < "2999"
    orders.add(71, 72, "now()")
    orders.add(73, 73, "now() - interval '9 minutes'")  # from a slow transaction, or a clock that was set back
    assert orders.counts() == [(66, 3, 63)]
    assert orders.lake() == [*range(1, 62), 71, 72, 73]


def test_the_hour_that_a_local_clock_shows_twice_is_read(orders: Source) -> None:
    berlin = MAPPING.replace("[events.sql]", 'zone = "Europe/Berlin"\n[events.sql]')
    orders.run("ALTER TABLE orders ALTER updated_at TYPE timestamp")
    orders.run(f"ALTER DATABASE {orders.url.database} SET timezone = 'Pacific/Auckland'")
    clock = "timestamp '2024-10-27 02:00' + n % 60 * interval '1 minute'"
    orders.add(1, 59, clock)
    orders.ingest(berlin)
    assert orders.position() == "2024-10-27T02:59:00"
    orders.add(60, 119, clock)
    orders.ingest(berlin)
    assert orders.lake() == list(range(1, 120))


def test_an_undone_batch_is_read_again(orders: Source) -> None:
    orders.add(1, 30)
    [first] = orders.ingest()
    undo_batches.fn([first["batch_id"]], None, "somebody", "a test")
    assert (orders.lake(), orders.position()) == ([], None)
    assert orders.counts() == [(30, 30, 0)]


def test_a_refused_batch_keeps_the_position_and_the_batches_before(orders: Source) -> None:
    orders.add(1, 20)
    orders.add(21, 60)
    orders.run("UPDATE orders SET quantity = -1 WHERE id > 20")
    lines: list[Any] = []
    with pytest.raises(BatchRefusedError):
        orders.ingest(most=20, lines=lines)
    assert [line["accepted"] for line in lines] == [20]
    assert orders.position() == "2024-03-01T00:20:00+00:00"
    orders.run("UPDATE orders SET quantity = 1 WHERE id > 20")
    orders.ingest()
    assert orders.lake() == list(range(1, 61))


def test_items_and_users_without_a_cursor_are_read_as_a_whole(orders: Source) -> None:
    orders.run(
        "CREATE SCHEMA shop",
        "CREATE TABLE shop.products AS SELECT 'p' || n AS id, 'Cup ' || n AS name FROM generate_series(0, 6) AS s(n)",
        "CREATE VIEW shop.people AS SELECT 'customer-' || n AS id, 'gold' AS plan FROM generate_series(0, 8) AS s(n)",
    )
    orders.add(1, 10)
    mapping = (
        MAPPING
        + """
        [items]
        item_id = "id"
        title = "name"
        sql.table = "shop.products"
        [users]
        user_id = "id"
        attributes = ["plan"]
        sql.table = "shop.people"
        """
    )
    lines = orders.ingest(mapping)
    assert [(line["dataset"], line["read"], line["status"]) for line in lines] == [
        ("items", 7, "committed"),
        ("users", 9, "committed"),
        ("events", 10, "committed"),
    ]
    assert [line["status"] for line in orders.ingest(mapping)[:2]] == ["unchanged", "unchanged"]


CHANGES = (
    (
        "ALTER TABLE orders RENAME customer TO customer_no",
        "ALTER TABLE orders RENAME customer_no TO customer",
        "no column 'customer', which the mapping reads. Is it 'customer_no'",
    ),
    (
        "ALTER TABLE orders RENAME TO old_orders",
        "ALTER TABLE old_orders RENAME TO orders",
        "has no table orders that this login may read",
    ),
    (
        "ALTER TABLE orders ALTER updated_at TYPE text",
        "ALTER TABLE orders ALTER updated_at TYPE timestamptz USING updated_at::timestamptz",
        "holds values of the type str",
    ),
    (
        "ALTER TABLE orders ALTER updated_at TYPE date",
        "ALTER TABLE orders ALTER updated_at TYPE timestamptz; "
        "UPDATE orders SET updated_at = timestamptz '2024-03-01' + id * interval '1 minute'",
        "held a time and now holds a date",
    ),
)
"""Changes, their reversals, and why the table is refused meanwhile."""


def test_a_table_that_changed_is_refused_and_no_row_is_lost(orders: Source) -> None:
    orders.add(1, 10)
    orders.ingest()
    orders.add(11, 20)
    for change, reversal, fault in CHANGES:
        orders.run(change)
        with pytest.raises((SourceDatabaseError, CursorError), match=fault):
            orders.ingest()
        orders.run(reversal)
    assert orders.position() == "2024-03-01T00:10:00+00:00"
    assert orders.counts() == [(20, 10, 10)]


def test_an_optional_column_may_go(orders: Source) -> None:
    orders.add(1, 10)
    orders.run("ALTER TABLE orders DROP quantity")
    assert orders.counts() == [(10, 10, 0)]


def test_new_columns_and_other_types_are_reported(orders: Source, capsys: pytest.CaptureFixture[str]) -> None:
    orders.add(1, 30)
    orders.ingest()
    orders.run(
        "ALTER TABLE orders ADD colour text",
        "ALTER TABLE orders DROP internal_note",
        "ALTER TABLE orders ALTER quantity TYPE text",
        "INSERT INTO orders VALUES (31, 'c', 'p', 'two', '2024-03-01+00', '2024-03-01 00:31:00+00', 'red')",
    )
    [line] = orders.ingest()
    printed = capsys.readouterr().err
    assert "orders has new columns, which the mapping does not read unless it names them: colour" in printed
    assert "orders has lost columns: internal_note" in printed
    assert "the column quantity held the kind 'number' and now holds 'text'" in printed
    assert (line["quarantined"], line["duplicate"]) == (1, 11)


def test_no_login_reaches_the_ledger_or_a_message_and_a_query_holds_any_sql(
    orders: Source, capsys: pytest.CaptureFixture[str]
) -> None:
    orders.add(1, 10)
    orders.run("CREATE ROLE reader LOGIN PASSWORD 's3cret@word'", "GRANT SELECT ON orders TO reader")
    orders.url = orders.url.set(username="reader", password="s3cret@word")
    [line] = orders.ingest()
    # The columns come in another order, too.
    query = """
        SELECT updated_at, ordered_at, quantity, product, customer, id, '10:30' AS t, id::text || '%' AS p
        FROM orders WHERE product LIKE 'p%' AND id % 2 = 1 -- colons, percent signs and a comment"""
    assert orders.counts(query=query) == [(5, 0, 5)]
    assert orders.ledger()[-1]["location"].endswith("/events")
    messages = [*map(str, [line, orders.ledger()]), capsys.readouterr().err]
    assert orders.url.database in messages[0]
    assert "s3cret" not in "".join(messages)
    assert "reader" not in "".join(messages)
    with pytest.raises(TailorbirdError, match="Prefect would store it") as caught:
        sql_ingest("shop.toml", orders.address, {})
    assert "s3cret" not in str(caught.value)


def test_a_killed_run_is_repeated_by_the_command_that_is_proposed_and_leaves_no_file_behind(orders: Source) -> None:
    orders.add(1, 10)
    with pytest.MonkeyPatch.context() as patch:
        ends_at(patch, 3, [(ledger, "open_batch"), (ledger, "record_chunks")])
        with pytest.raises(KilledError):
            orders.ingest(overlap="2h")
    with orders.here.engine.connect() as connection:
        [left] = cut_short(unfinished(connection))
    assert left.situation == "The ingest of 1 table of shop was cut short; nothing of it counts."
    assert left.command == (
        f"tailorbird ingest sql --mapping {orders.folder}/shop.toml --url env:TAILORBIRD_SECRET_TEST_URL --overlap 2h"
    )
    orders.ingest(overlap="2h")
    with orders.here.engine.connect() as connection:
        assert not unfinished(connection)
    assert not list((orders.here.settings.var / "sql").iterdir())


def test_quarantined_items_are_corrected_in_the_database(orders: Source) -> None:
    orders.run("CREATE TABLE products AS SELECT NULLIF('p' || n, 'p1') AS id FROM generate_series(1, 30) AS s(n)")
    mapping = 'name = "shop"\n[items]\nitem_id = "id"\ntitle = "id"\nsql.table = "products"\n'
    [line] = orders.ingest(mapping)
    assert line["quarantined"] == 1
    with pytest.raises(TailorbirdError, match="are in a database"):
        replay_quarantine.fn(line["batch_id"])


def test_the_place_of_the_rows_does_not_change_their_meaning(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    names = []
    for place in ('table = "orders"', 'table = "archive"\noverlap = "1h"'):
        tables = Mapping.parse(tomllib.loads(MAPPING.replace('table = "orders"', place)), "shop")
        names.append(batch_of(tables, "events", tmp_path / "a", "a").batch_id)
    assert names[0] == names[1]


def test_the_source_is_read_in_read_only_transactions(orders: Source) -> None:
    orders.run("CREATE FUNCTION spoil() RETURNS int LANGUAGE sql AS 'DELETE FROM orders RETURNING 1'")
    orders.add(1, 5)
    with pytest.raises(SourceDatabaseError, match="cannot execute DELETE in a read-only transaction"):
        orders.ingest(query="SELECT *, spoil() FROM orders")


def test_long_and_odd_numbers_are_a_cursor_or_refused(orders: Source) -> None:
    orders.run("ALTER TABLE orders ADD version numeric, ADD change double precision DEFAULT 'NaN'")
    insert = "INSERT INTO orders (id, customer, product, ordered_at, version) SELECT n, 'c', 'p', '2024-03-01', "
    insert += "36893488147419103232 + n + 0.5 FROM generate_series({}, {}) AS s(n)"
    orders.run(insert.format(1, 9))
    assert orders.counts(cursor="version", overlap="0", most=5) == [(5, 5, 0), (4, 4, 0)]
    orders.run(insert.format(10, 12))
    assert orders.counts(cursor="version", overlap="0") == [(4, 3, 1)]
    with pytest.raises(CursorError, match="holds nan, which is no number"):
        orders.ingest(cursor="change")


def test_nanoseconds_of_a_cursor_that_python_cuts_are_read_once(duck_orders: Source) -> None:
    duck_orders.run("ALTER TABLE orders ALTER updated_at TYPE TIMESTAMP_NS")
    duck_orders.add(1, 9, "make_timestamp_ns(1709251200000000000 + n * 100)")
    duck_orders.add(10, 11, "make_timestamp_ns(1709251200000000000 + n * 1000)")
    mapping = MAPPING.replace('cursor = "updated_at"', 'cursor = "updated_at"\noverlap = "0s"')
    assert duck_orders.counts(mapping, most=2) == [(9, 9, 0), (2, 2, 0)]
    assert duck_orders.lake() == list(range(1, 12))


def ingested(source: Source, moment: int) -> bool:
    """Ingest, up to that moment; False if the run ended before its end."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            ends_at(patch, moment, STEPS)
            source.ingest(most=20)
    except KilledError:
        return False
    return True


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.faults), 3])
def test_nothing_is_lost_or_doubled(orders: Source, step: int) -> None:
    """Runs end at each moment of their steps, in the suite at each third one."""
    orders.add(1, 30)
    moment, stops, last = 1, 0, 30
    while not ingested(orders, moment):
        moment += step
        stops += 1
        if stops % 3 == 0:  # rows come meanwhile, so that an interrupted batch is read again as another one
            last += 1
            orders.add(last, last)
    assert moment >= 8
    orders.ingest(most=20)
    assert orders.lake() == list(range(1, last + 1))
    entries = orders.ledger()
    assert {entry["status"] for entry in entries} <= {"committed", "undone"}
    committed = [entry for entry in entries if entry["status"] == "committed"]
    assert sum(entry["accepted"] for entry in committed) == last
    assert all(entry["read"] == entry["accepted"] + entry["duplicate"] for entry in committed)


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
    rows = lake(orders.here)
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


@pytest.fixture
def orders(installation: Installation, empty_database: str, tmp_path: Path) -> Iterator[Source]:
    """Return a PostgreSQL database with an empty table of orders."""
    source = Source(installation, tmp_path, make_url(empty_database).set(drivername="postgresql+psycopg2"))
    source.run(ORDERS)
    yield source
    os.environ.pop("TAILORBIRD_SECRET_TEST_URL", None)


@pytest.fixture
def duck_orders(installation: Installation, tmp_path: Path) -> Iterator[Source]:
    """Return a DuckDB file with an empty table of orders."""
    with duckdb.connect(tmp_path / "shop.duckdb") as connection:
        connection.execute(ORDERS)
    yield Source(installation, tmp_path, URL.create("duckdb", database=str(tmp_path / "shop.duckdb")))
    os.environ.pop("TAILORBIRD_SECRET_TEST_URL", None)
