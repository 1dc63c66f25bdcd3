"""Against a real server that speaks S3."""

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import select

from infra.database.schema.schema import LEDGER, ingest_batches
from infra.installation import Installation
from models.errors import TailorbirdError
from tasks.ingest.events.ingest_events import ingest_segment
from tasks.sources import object_store, table_files
from tasks.sources.locations import LINES, TABLES, fetched, find
from tasks.sources.object_store import StoreError, StoreUnreachableError
from tasks.sources.temp_folders import scratch

Put = Callable[..., str]
GOLDEN = Path(__file__).parents[2] / "golden" / "segment" / "segment.jsonl"
HOLDS = """
import sys, time
from pathlib import Path
from tasks.sources.temp_folders import scratch
with scratch(Path(sys.argv[1])) as room:
    (room / "file").write_text("half")
    print(room, flush=True)
    time.sleep(60)
"""


def test_an_export_is_found_below_a_prefix_without_markers(s3: Put) -> None:
    keys = ["export/2024/a.jsonl", "export/2024/b.jsonl.gz", "export/c d#1%20é.json"]
    stored = [s3(key) for key in keys]
    for key in ("export/_SUCCESS", "export/empty/", "export/.x/y.jsonl", "exports/z.jsonl", "export/notes.txt"):
        s3(key)
    assert find(["s3://shop/export/"], LINES) == find(["s3://shop/export"], LINES) == stored
    assert find(["s3://shop/export/2024/a.jsonl"], LINES) == stored[:1]
    assert len(find(["s3://shop"], LINES)) == 4


def test_keys_are_found_by_a_pattern(s3: Put) -> None:
    stored = [s3(f"log/day={day}/{hour}.gz") for day in (1, 2) for hour in (10, 11)]
    s3("log/day=1/10.txt")
    assert find(["s3://shop/log/day=*/10.*z"], LINES) == [stored[0], stored[2]]
    assert find(["s3://shop/**/11.gz"], LINES) == [stored[1], stored[3]]
    assert find(["s3://shop/log/day=[2-9]"], LINES) == stored[2:]
    odd = s3("log/what?.csv")
    assert find([odd], TABLES) == [odd]


def test_an_object_is_fetched_as_it_is_and_goes_when_it_was_used(s3: Put, tmp_path: Path) -> None:
    packed = gzip.compress(b"line\n" * 1000)
    for key in ("a.jsonl.gz", f"{'é' * 300}.jsonl.gz"):
        with fetched(s3(key, packed), tmp_path) as path:
            assert path.read_bytes() == packed
            assert path.name.endswith(".jsonl.gz")
        assert not list((tmp_path / "fetched").iterdir())


def test_a_large_object_comes_a_block_at_a_time_and_states_how_far_it_is(
    s3: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(object_store, "_BLOCK_BYTES", 1000)
    monkeypatch.setattr(object_store, "_SHOWN_FROM_BYTES", 10_000)
    content = bytes(range(256)) * 100
    with fetched(s3("large.csv", content), tmp_path) as path:
        assert path.read_bytes() == content
    assert "fetching large.csv" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://nowhere/export/", r"There is no bucket for s3://nowhere/export/"),
        ("s3://shop/notes/", r"There is no file in s3://shop/notes/ or below it that ends with .jsonl"),
        ("s3:///export", "names no bucket"),
        ("http://example.org/a.csv", r"Files at http:// cannot be read.*s3://, gs://, abfs://, abfss://"),
    ],
)
def test_missing_objects_are_reported(s3: Put, address: str, message: str) -> None:
    s3("notes/a.txt")
    with pytest.raises(TailorbirdError, match=message):
        find([address], LINES)


@pytest.mark.parametrize(
    "address",
    [
        "s3://somebody:hunter2@shop/export/",
        "abfs://data:hunter2@account.dfs.core.windows.net/export",
        "s3://shop?secret_key=hunter2",
    ],
)
def test_an_address_with_a_password_is_refused_and_not_repeated(s3: Put, address: str) -> None:
    s3("export/a.jsonl")
    with pytest.raises(TailorbirdError) as refusal:
        find([address], LINES)
    assert "hunter2" not in str(refusal.value)


def test_an_object_that_is_gone_is_reported(s3: Put, tmp_path: Path) -> None:
    s3("a.jsonl")
    with (
        pytest.raises(StoreError, match=r"s3://shop/b.jsonl: There is no such object"),
        fetched("s3://shop/b.jsonl", tmp_path),
    ):
        pass
    assert not list((tmp_path / "fetched").iterdir())


@pytest.fixture
def guarded(s3: Put, s3_server: str) -> Iterator[Put]:
    """The server asks from now on who it is."""
    s3("export/a.jsonl")
    for calls_without_it in (b"0", b"inf"):
        connection = HTTPConnection(s3_server.removeprefix("http://"))
        connection.request("POST", "/moto-api/reset-auth", calls_without_it)
        assert connection.getresponse().status == 200
        connection.close()
        if calls_without_it == b"0":
            yield s3


def test_wrong_credentials_are_reported_and_not_repeated(guarded: Put, tmp_path: Path) -> None:
    assert guarded
    for attempt in (
        lambda: find(["s3://shop/export/"], LINES),
        lambda: find(["s3://shop/export/*"], LINES),
        lambda: fetched("s3://shop/export/a.jsonl", tmp_path).__enter__(),
    ):
        with pytest.raises(StoreError, match=r"s3://shop/export.*Access is denied. Check the credentials") as refusal:
            attempt()
        assert "s3cret-word" not in str(refusal.value)
        assert refusal.value.__cause__ is None


def test_a_store_that_cannot_be_reached_is_reported(s3: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    assert s3
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreUnreachableError, match=r"export/: the store cannot be reached"):
        find(["s3://shop/export/"], LINES)


class _Failing(BaseHTTPRequestHandler):
    """Has an object of 3,000 bytes, and gives no more than the first thousand of them."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(200, 3000)

    def do_GET(self) -> None:
        if self.headers["Range"] != "bytes=0-999":
            self.close_connection = True
            return
        self._answer(206, 1000)
        self.wfile.write(bytes(1000))

    def _answer(self, code: int, size: int) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(size))
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def test_a_store_that_stops_in_the_middle_leaves_nothing_behind(
    s3: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert s3
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Failing)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(object_store, "_BLOCK_BYTES", 1000)
    with pytest.raises(StoreUnreachableError, match="stopped answering"), fetched("s3://shop/a.csv", tmp_path):
        pass
    server.shutdown()
    assert not list((tmp_path / "fetched").iterdir())


def test_a_fault_of_a_copy_is_reported_of_the_object(s3: Put, tmp_path: Path) -> None:
    address = s3("a.parquet", b"no parquet at all")
    with pytest.raises(TailorbirdError) as refusal, fetched(address, tmp_path) as path:
        table_files.column_kinds(path)
    assert address in str(refusal.value)
    assert str(tmp_path) not in str(refusal.value)


def counts(entry: dict[str, Any]) -> dict[str, int]:
    assert entry["read"] == sum(entry[name] for name in LEDGER if name != "read")
    return {name: entry[name] for name in LEDGER}


def test_an_export_in_a_bucket_comes_in_as_from_a_folder(
    installation: Installation, s3: Callable[..., str], tmp_path: Path
) -> None:
    call = {"type": "track", "event": "Product Viewed", "userId": "bob", "timestamp": "2024-06-01T10:00:00Z"}
    more = [call | {"messageId": f"more-{n}", "properties": {"product_id": "cup"}} for n in range(100)]
    lines = GOLDEN.read_bytes() + b"".join(json.dumps(call).encode() + b"\n" for call in more)
    address = s3("export/2024/golden.jsonl", lines)
    entry = ingest_segment.fn("segment", address, {"consent": "opt-out"})
    assert entry["status"] == "committed"
    assert counts(entry)["accepted"] > 100
    with installation.engine.connect() as connection:
        assert connection.execute(select(ingest_batches.c.location)).scalars().all() == [address]
    copy = tmp_path / "golden.jsonl"
    copy.write_bytes(lines)
    assert ingest_segment.fn("segment", str(copy), {"consent": "opt-out"}) == entry | {"status": "unchanged"}
    assert not list((installation.settings.var / "fetched").iterdir())


def test_the_room_of_a_killed_process_is_given_back_by_the_next_and_that_of_a_living_one_kept(tmp_path: Path) -> None:
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        rooms = [Path(holder.stdout.readline().strip()) for holder in holders if holder.stdout]
        os.kill(holders[0].pid, signal.SIGKILL)
        holders[0].wait()
        with scratch(tmp_path) as own:
            assert {rooms[1], own} == set(tmp_path.iterdir())
        assert [rooms[1]] == list(tmp_path.iterdir())
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
