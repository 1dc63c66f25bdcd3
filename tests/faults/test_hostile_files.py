"""Whatever a file holds: it is refused and nothing of it stays, or each of its rows is accounted for."""

import json
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import func, select

from expectations.batches import EVENT_RULES
from infra.database.schema.schema import LEDGER, ingest_batches, ingest_updates, quarantine
from infra.installation import Installation
from models.errors import TailorbirdError
from models.primitives.json_types import JsonObject
from tasks.ingest.events.ingest_events import ingest_events, ingest_segment
from tests.examples import FEW, spread

COLUMNS = ("id", "user", "item", "at", "what", "value", "session")
MAPPING = f"""
consent = "given"
consent_note = "a test"
unknown_items = "accept"
{{kind}}
[limits.events]
quarantined_share = 1.0
{"".join(f"{rule.id} = 1.0{chr(10)}" for rule in EVENT_RULES)}
"""
TABLE = """
[events]
file = "*"
event_id = "id"
user_id = "user"
item_id = "item"
occurred_at = "at"
event_type = "what"
value = "value"
session_id = "session"
optional = ["session"]
event_types = { look = "view", buy = "purchase" }
"""
NUMBERS = count(1)


def check(installation: Installation, ingest: Any, mapping: Path, file: Path) -> JsonObject | None:
    """The line in the ledger, held against the lake and the quarantine; None for a file that was refused."""
    try:
        entry: JsonObject | None = ingest.fn(str(mapping), str(file))
    except TailorbirdError:
        entry = None
    tables = [
        pq.read_table(path, columns=["event_id", "batch_id"], partitioning=None)
        for path in installation.lake.event_files()
    ]
    lake = pa.concat_tables(tables) if tables else pa.table({"event_id": [], "batch_id": []})
    assert len(lake) == len(lake["event_id"].unique())
    stored = Counter(lake["batch_id"].to_pylist())
    with installation.engine.connect() as connection:
        waiting = select(quarantine.c.batch_id, func.count()).group_by(quarantine.c.batch_id)
        waiting_rows = dict(connection.execute(waiting).tuples().all())
        batches = connection.execute(select(ingest_batches)).mappings().all()
        assert connection.execute(select(ingest_updates)).first() is None
    for batch in batches:
        assert batch["status"] in ("committed", "refused")
        assert batch["read"] == sum(batch[name] for name in LEDGER if name != "read")
        assert stored.get(batch["batch_id"], 0) == batch["accepted"]
        assert waiting_rows.get(batch["batch_id"], 0) == batch["quarantined"]
        assert batch["status"] == "committed" or batch["read"] == 0
    return entry


WORDS: list[bytes] = [
    *(b"", b" ", b"\0", b"\x1f", b"\r\n", b"\t", b'"', b"\\N", b"\\.", b"NULL", b"NaN", b"guest", b"undefined"),
    *(b"'; DROP TABLE users; --", b"{}", b"{1,2}", b"[" * 5000, b"{" * 1000, b"x" * 1_000_000),
    *(word.encode() for word in ("\u202e🦜", "e\u0301", "\ufeff", "\u2028")),
]
NO_WORDS = [b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"]
AMOUNT = st.sampled_from([b"0", b"-1", b"1e308", b"-0.0", b"1e-320", b"inf", b"nan", b""])
MOMENT = st.sampled_from(
    [
        *(b"2024-06-01T10:00:00Z", b"2024-06-01 12:00:00+02:00", b"1969-07-20T20:17:00Z", b"9999-12-31T23:59:59Z"),
        *(b"2999-01-01T00:00:00Z", b"2024-02-30T00:00:00Z", b"1717236000", b"infinity", b"0000-00-00", b"yesterday"),
    ]
)


@st.composite
def rows(draw: st.DrawFn) -> list[list[bytes]]:
    """Sound rows with a few odd ones among them, some of them twice, in any order."""
    sound = [
        [b"e%d" % n, b"u%d" % (n % 3), b"i%d" % (n % 4), b"2024-06-01T10:00:%02dZ" % n, b"look", b"1.5", b"s"]
        for n in range(8)
    ]
    cell = st.sampled_from(WORDS) | st.text(max_size=6).map(str.encode)
    if not draw(st.integers(0, 3)):
        cell = cell | st.sampled_from(NO_WORDS) | st.binary(max_size=6)
    kinds = {"at": MOMENT, "value": AMOUNT}
    strange = []
    for number in range(draw(st.integers(0, 4))):
        row = [b"o%d" % number, *sound[number][1:]]
        for place in draw(st.sets(st.integers(0, len(COLUMNS) - 1), min_size=1, max_size=3)):
            row[place] = draw(kinds.get(COLUMNS[place], cell))
        strange.append(row)
    everything = [*sound, *strange]
    everything += draw(st.lists(st.sampled_from(everything), max_size=3))
    return draw(st.permutations(everything))


def quoted(cell: bytes) -> bytes:
    return b'"' + cell.replace(b'"', b'""') + b'"'


def csv(lines: list[list[bytes]], quote: bool, end: bytes) -> bytes:
    head = ",".join(COLUMNS).encode()
    return head + end + b"".join(b",".join(map(quoted, row) if quote else row) + end for row in lines)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.toml"
    path.write_text(MAPPING.format(kind="") + TABLE)
    return path


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    path = tmp_path / "calls.toml"
    path.write_text(MAPPING.format(kind='kind = "segment"\ntraits = ["plan"]\n'))
    return path


@FEW
@given(rows(), st.booleans(), st.sampled_from([b"\n", b"\r\n"]))
@example([[b"e", b"u", b"i", b"2024-06-01T10:00:00Z", b"look", b"1", b"x" * 1_000_000]], True, b"\n")
@example([], False, b"\n")
def test_any_csv_file(
    installation: Installation, table: Path, tmp_path: Path, lines: list[list[bytes]], quote: bool, end: bytes
) -> None:
    file = tmp_path / f"{next(NUMBERS)}.csv"
    file.write_bytes(csv(lines, quote, end))
    entry = check(installation, ingest_events, table, file)
    if entry is not None and quote:
        assert entry["read"] == len(lines)
    if lines and all(row[0].startswith(b"e") for row in lines):
        assert entry is not None


def texts(values: list[bytes]) -> pa.Array:
    """A column of the declared type text, whatever it holds."""
    return pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())


def nested(depth: int, value: Any) -> Any:
    for _ in range(depth):
        value = [value]
    return value


KINDS = {
    "text": texts,
    "bytes": lambda values: pa.array(values, pa.binary()),
    "words": lambda values: pa.array(
        [v.decode(errors="replace") for v in values], pa.large_string()
    ).dictionary_encode(),
    "deeply nested": lambda values: pa.array([nested(40, v.decode(errors="replace")) for v in values]),
    "structures": lambda values: pa.array([{"a": v.decode(errors="replace")} for v in values]),
    "numbers": lambda values: pa.array([float(len(v)) if v else None for v in values]),
    "moments": lambda values: pa.array([len(v) * 10**9 for v in values], pa.timestamp("ms", "Asia/Tokyo")),
}


LAST, EARLIEST = 2**31 - 1, -(2**31)
EXTREMES = {
    "days": pa.array([LAST, EARLIEST, 2_932_896, 2_932_897, None], pa.int32()).view(pa.date32()),
    "milliseconds of days": pa.array([2**60, -(2**60), 0, 1, None]).view(pa.date64()),
    "seconds": pa.array([2**52, -(2**52), 253_402_300_799, 253_402_300_800, None]).view(pa.timestamp("s")),
    "milliseconds": pa.array([2**62, -(2**62), 0, 1, None]).view(pa.timestamp("ms", "Asia/Tokyo")),
    "microseconds": pa.array([2**63 - 1, -(2**63), 0, 1, None]).view(pa.timestamp("us")),
    "nanoseconds": pa.array([2**63 - 1, -(2**63), 0, 1, None]).view(pa.timestamp("ns")),
    "times of day": pa.array([2**36, 0, 1, 2, None]).view(pa.time64("us")),
    "durations": pa.array([2**63 - 1, -(2**63), 0, 1, None]).view(pa.duration("s")),
    "counts": pa.array([2**64 - 1, 0, 1, 2, None], pa.uint64()),
    "sums": pa.array([10**60, -(10**60), 0, 1, None], pa.decimal256(76, 2)),
    "halves": pa.array([6e4, -6e4, float("nan"), float("inf"), None], pa.float16()),
    "maps": pa.array([[("a", 1)], [], [("b", 2)], None, None], pa.map_(pa.string(), pa.int32())),
}


@pytest.mark.parametrize("kind", EXTREMES)
def test_the_extremes_of_every_type_of_parquet(
    installation: Installation, table: Path, tmp_path: Path, kind: str
) -> None:
    cells = [(f"e{n}", f"u{n}", f"i{n}", f"2024-06-01T10:00:0{n}Z", "look", float(n), "s") for n in range(5)]
    made = dict(zip(COLUMNS, map(pa.array, zip(*cells, strict=True)), strict=True))
    for column in spread(("id", "at", "value"), list(EXTREMES).index(kind), 3):
        file = tmp_path / f"{column}.parquet"
        pq.write_table(pa.table(made | {column: EXTREMES[kind]}), file)
        entry = check(installation, ingest_events, table, file)
        assert entry is None or entry["read"] == 5


USUAL = {"value": "numbers", "session": "text"}


@FEW
@given(rows(), st.dictionaries(st.sampled_from(COLUMNS), st.sampled_from(sorted(KINDS)), max_size=2))
def test_any_parquet_file(
    installation: Installation, table: Path, tmp_path: Path, lines: list[list[bytes]], kinds: dict[str, str]
) -> None:
    file = tmp_path / f"{next(NUMBERS)}.parquet"
    columns = zip(*lines, strict=True)
    made = {
        name: KINDS[kinds.get(name, USUAL.get(name, "words"))](list(cells))
        for name, cells in zip(COLUMNS, columns, strict=True)
    }
    pq.write_table(pa.table(made), file)
    entry = check(installation, ingest_events, table, file)
    if entry is not None:
        assert entry["read"] == len(lines)


def call(number: int) -> JsonObject:
    properties = {"product_id": f"p{number % 3}", "name": "Cup", "price": 2.5, "quantity": 1}
    message = {"type": "track", "event": "Product Viewed", "messageId": f"m{number}", "userId": f"u{number % 3}"}
    return message | {"timestamp": f"2024-06-01T10:00:{number:02}Z", "properties": properties}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PLACES = st.sampled_from(
    ["type", "event", "messageId", "userId", "timestamp", "properties", "context", "traits", "anonymousId"]
)
DEEP = b'{"a":' * 1000 + b"1" + b"}" * 1000
LINES: list[bytes] = [
    *(b"", b"null", b"[]", b"{}", b"\xff\xfe", b"\xef\xbb\xbf" + json.dumps(call(30)).encode(), b"\0", b"{" * 3000),
    *(DEEP, b"[" * 1000 + b"]" * 1000, json.dumps(call(31)).encode()[:-1] + b',"properties":' + DEEP + b"}"),
    b'{"type":"track","type":"identify","messageId":"twice","messageId":"once","userId":"u1","userId":"u2"}',
    b'{"type":"track","event":"Product Viewed","messageId":"\\ud800","userId":"\\udfff",'
    b'"properties":{"product_id":"\\ud83d"}}',
    b'{"type":"identify","userId":"u1","traits":{"plan":"\\u0000"},"anonymousId":"a\\u0000b"}',
    json.dumps(call(32) | {"properties": {"product_id": "p1", "name": "x" * 5_000_000}}).encode(),
    json.dumps(call(33) | {"userId": "u" * 5_000_000}).encode(),
    json.dumps(call(34) | {"properties": {"products": [{"product_id": n} for n in range(500)]}}).encode(),
]
LINE = (
    st.sampled_from(LINES)
    | st.binary(max_size=20).map(lambda line: line.replace(b"\n", b""))
    | st.tuples(st.integers(0, 40), st.dictionaries(PLACES, JSON, max_size=3)).map(
        lambda line: json.dumps(call(line[0]) | line[1]).encode()
    )
)


@FEW
@given(st.lists(LINE, max_size=10), st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.randoms(use_true_random=False))
@example([], b"\n", False, None)
@example(LINES, b"\n", True, None)
@example(LINES, b"\r\n", False, None)
def test_any_export_of_calls(
    installation: Installation, calls: Path, tmp_path: Path, odd: list[bytes], end: bytes, closed: bool, order: Any
) -> None:
    lines = [*(json.dumps(call(number)).encode() for number in range(8)), *odd]
    if order is not None:
        order.shuffle(lines)
    file = tmp_path / f"{next(NUMBERS)}.jsonl"
    file.write_bytes(end.join(lines) + (end if closed else b""))
    entry = check(installation, ingest_segment, calls, file)
    assert entry is not None
    assert entry["read"] >= file.read_bytes().count(b"\n")


def test_a_file_without_anything_is_refused(
    installation: Installation, calls: Path, table: Path, tmp_path: Path
) -> None:
    for ingest, mapping, name in ((ingest_segment, calls, "a.jsonl"), (ingest_events, table, "a.csv")):
        (tmp_path / name).write_bytes(b"")
        assert check(installation, ingest, mapping, tmp_path / name) is None
