"""Files with their own value in every column are broken in every way; then every store is searched for the values."""

import gzip
import json
import pickle
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from infra.installation import Installation
from models.errors import TailorbirdError
from tasks.ingest.events.ingest_events import ingest_events, ingest_segment
from tasks.ingest.quarantine.replay_rows import replay_quarantine
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.orchestration.guards import DefectError, without_values

pytestmark = pytest.mark.usefixtures("pages")

ROWS = 60
SIGN = "kanarie"
"""Every value to look for is `kanarie-<what it is>-<file>-<row>`."""
VALUE = re.compile(rf"{SIGN}-[a-z]+-([a-z0-9]+)")
INGEST = {"events": ingest_events, "items": ingest_items, "users": ingest_users, "segment": ingest_segment}
Row = list[str]
PRIVATE = "ann@mail.example"


@dataclass
class Trial:
    """An installation that takes broken files in, and everything that it prints meanwhile."""

    here: Installation
    folder: Path
    messages: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    def ingest(self, mapping: str, dataset: str, name: str, content: bytes, ending: str) -> None:
        """Ingest a file; what it raises is kept as Prefect and the command line would show it."""
        path = self.folder / f"{dataset}-{name}.{ending}"
        path.write_bytes(content)
        consent = {"consent": "given", "consent_note": "a test"}
        try:
            entry = INGEST[dataset].fn(mapping, str(path), consent)
            self.messages.append(json.dumps(entry, default=str))
            if entry["dataset"] == "events":
                self.messages.append(json.dumps(replay_quarantine.fn(entry["batch_id"]), default=str))
        except (TailorbirdError, DefectError) as error:
            self.refused.add(name)
            self.messages.append("".join(traceback.format_exception(error)))

    def found(self) -> dict[str, set[str]]:
        """Where the values are, by the file that they come from: tables with columns, kinds of files, messages."""
        places: dict[str, set[str]] = {}
        for place, content in (*self._tables(), *self._files(), *(("message", line) for line in self.messages)):
            for name in VALUE.findall(content):
                places.setdefault(name, set()).add(place)
        return places

    def _tables(self) -> Iterator[tuple[str, str]]:
        query = """
            SELECT table_schema, table_name, column_name FROM information_schema.columns
            WHERE table_schema <> ALL(:own)"""
        with self.here.engine.connect() as connection:
            known = connection.execute(text(query), {"own": ["pg_catalog", "information_schema", "identity"]}).all()
            for schema, table, column in known:
                if table == "recommendations_by_user_id":
                    continue  # the view that joins `identity` for applications
                values = text(f'SELECT "{column}"::text FROM "{schema}"."{table}" WHERE "{column}"::text LIKE :sign')
                for (value,) in connection.execute(values, {"sign": f"%{SIGN}%"}):
                    yield f"{table}.{column}", value

    def _files(self) -> Iterator[tuple[str, str]]:
        for path in (path for path in self.here.settings.var.rglob("*") if path.is_file()):
            content = path.read_bytes()
            if path.suffix == ".parquet":
                content += str(pq.read_table(path, partitioning=None).to_pylist()).encode()
            if content[:2] == b"\x1f\x8b":
                content = gzip.decompress(content)
            yield f"file {path.relative_to(self.here.settings.var).parts[0]}", content.decode("latin-1")


@pytest.fixture
def trial(installation: Installation, tmp_path: Path) -> Trial:
    folder = tmp_path / "files"
    folder.mkdir()
    return Trial(installation, folder)


EVENTS = "event_id,user_id,session_id,content_id,occurred_at,action,dwell_seconds,rating,position,consent,email"
ITEMS = "content_id,title,kind,genre,author,language,published_at,minutes,note"
USERS = "user_id,age_group,country,plan,email"


def event(name: str, n: int) -> Row:
    user, mail = f"{SIGN}-user-{name}-{n}", f"{SIGN}-mail-{name}-{n}@mail.example"
    return [
        f"{name}{n}",
        user,
        f"s{n}",
        f"film-{n % 3}",
        f"2024-06-01T10:{n:02}:00Z",
        "play",
        "60",
        "4",
        "1",
        "yes",
        mail,
    ]


def item(name: str, n: int) -> Row:
    words = f"{SIGN}-word-{name}-{n}"
    return [f"{name}-{n}", f"Film {n}", "film", "drama", "Ann", "en", "2024-01-01", "90", words]


def user(name: str, n: int) -> Row:
    return [f"{SIGN}-user-{name}-{n}", "25-34", "DE", "free", f"{SIGN}-mail-{name}-{n}"]


def lines(header: str, rows: list[Row]) -> list[str]:
    return [header, *(",".join(row) for row in rows)]


def with_cell(place: int, value: str, every: int = 1) -> Callable[[str, list[Row]], list[str]]:
    """The same file with a value in a column of every so manieth row."""

    def damaged(header: str, rows: list[Row]) -> list[str]:
        for row in rows[::every]:
            row[place % len(row)] = value.replace("OLD", row[place % len(row)])
        return lines(header, rows)

    return damaged


def shifted(header: str, rows: list[Row], every: int = 1) -> list[str]:
    for row in rows[::every]:
        row[:] = [*row[1:], "x"]
    return lines(header, rows)


SECRET = f"{SIGN}-user-cell-0"
BREAKAGES: dict[str, Callable[[str, list[Row]], list[str]]] = {
    "sound": lines,
    "headerless": lambda _header, rows: lines(",".join(rows[0]), rows[1:]),
    "twice": lambda _header, rows: lines(",".join([SECRET, SECRET, *rows[0][2:]]), rows[1:]),
    "shifted": shifted,
    "fewshifted": lambda header, rows: shifted(header, rows, 20),
    "semicolons": lambda header, rows: [line.replace(",", ";") for line in lines(header, rows)],
    "short": lambda header, rows: [*lines(header, rows), SECRET],
    "long": lambda header, rows: [*lines(header, rows), ",".join([SECRET] * 40)],
    "unclosed": lambda header, rows: [*lines(header, rows), f'"{SECRET},x', *lines(header, rows)[1:3]],
    "garbage": lambda header, rows: [*lines(header, rows), f'"{SECRET}"{SECRET}"x,{SECRET}'],
    "numbers": with_cell(6, SECRET),
    "fewnumbers": with_cell(6, f"{SIGN}-user-number-0", 20),
    "moments": with_cell(4, f"{SIGN}-user-moment-0", 20),
    "words": with_cell(5, SECRET, 20),
    "longids": with_cell(1, "OLD" + "x" * 400, 20),
    "nul": with_cell(1, "OLD\0"),
    "noid": with_cell(0, "", 20),
}
BYTES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "latin": (lambda content: content.replace(f"{SIGN}-user".encode(), f"\xff{SIGN}-user".encode("latin-1")), "csv"),
    "utf16": (lambda content: content.decode().encode("utf-16"), "csv"),
    "cutoff": (lambda content: gzip.compress(content)[:-40], "csv.gz"),
    "nogzip": (lambda content: content, "csv.gz"),
    "bare": (lambda content: content.partition(b"\n")[2], "csv"),
    "noparquet": (lambda content: content, "parquet"),
    "empty": (lambda _content: b"", "csv"),
}
DECODED = {"latin", "utf16"}
SHIFTED = ("shifted", "fewshifted")
TABLES = {"events": (EVENTS, event), "items": (ITEMS, item), "users": (USERS, user)}


def table(dataset: str, name: str, breakage: Callable[[str, list[Row]], list[str]] = lines) -> bytes:
    header, row = TABLES[dataset]
    return ("\n".join(breakage(header, [row(name, n) for n in range(ROWS)])) + "\n").encode()


def test_no_value_of_a_broken_csv_file_gets_into_a_message_or_a_store(trial: Trial, capfd: Any) -> None:
    trial.ingest(
        "content",
        "items",
        "catalogue",
        b"content_id,title,kind,genre\n" + b"".join(b"film-%d,Film,film,drama\n" % n for n in range(3)),
        "csv",
    )
    for dataset in TABLES:
        for name in BREAKAGES if dataset == "events" else ("sound", *SHIFTED, "headerless", "twice", "short", "noid"):
            trial.ingest("content", dataset, name, table(dataset, name, BREAKAGES[name]), "csv")
        for name, (damaged, ending) in BYTES.items() if dataset == "events" else ():
            trial.ingest("content", dataset, name, damaged(table(dataset, name)), ending)
    trial.messages += capfd.readouterr()
    assert {
        "headerless",
        "twice",
        "semicolons",
        "unclosed",
        "garbage",
        *(set(BYTES) - DECODED),
    } <= trial.refused
    assert not {"fewnumbers", "moments", *DECODED} & trial.refused
    found = trial.found()
    # A value in a wrong column counts as that column's value, because nothing distinguishes it from others.
    assert set(found) <= {*SHIFTED, "cell"}
    kept = {"quarantine.payload", "items.attributes", "items.brand", "users.attributes"}
    stated = {"item_history.value", "user_history.value", "ingest_statements.payload"}
    assert set().union(*found.values()) <= kept | stated


def columns(**changed: Any) -> pa.Table:
    """Sound events with some columns replaced."""
    rows = [event("parquet", n) for n in range(ROWS)]
    made = {name: pa.array(values) for name, values in zip(EVENTS.split(","), zip(*rows, strict=True), strict=True)}
    made |= {name: pa.array([float(value) for value in made[name].to_pylist()]) for name in ("dwell_seconds", "rating")}
    return pa.table(made | changed)


def test_no_value_of_a_broken_parquet_file_gets_into_a_message_or_a_store(trial: Trial, capfd: Any) -> None:
    words = [f"{SIGN}-user-cell-{n}" for n in range(ROWS)]
    binary = pa.array([b"\xff" + word.encode() for word in words])
    tables = {
        "nested": columns(user_id=pa.array([[word] for word in words])),
        "structs": columns(content_id=pa.array([{"id": word} for word in words])),
        "text": columns(rating=pa.array(words)),
        "moments": columns(occurred_at=pa.array(words)),
        "binary": columns(user_id=binary),
        "notutf": columns(user_id=pa.Array.from_buffers(pa.string(), ROWS, binary.buffers())),
        "numbers": columns(occurred_at=pa.array(range(ROWS))),
        "unnamed": columns().rename_columns(words[: len(EVENTS.split(","))]),
        "kinds": columns(action=pa.array(words)),
    }
    for name, rows in tables.items():
        path = trial.folder / "written.parquet"
        pq.write_table(rows, path)
        trial.ingest("content", "events", name, path.read_bytes(), "parquet")
    pq.write_table(columns(), path, compression="none")
    sound = path.read_bytes()
    place = sound.index(SIGN.encode())
    for name, content in {
        "damaged": sound[: place - 40] + b"\xff" * 60 + sound[place + 20 :],
        "cutoff": sound[:-9],
        "tail": sound[-200:],
    }.items():
        trial.ingest("content", "events", name, content, "parquet")
    trial.messages += capfd.readouterr()
    assert trial.found() == {}
    assert trial.refused == {*tables, "damaged", "cutoff", "tail"}


def call(n: int, **fields: Any) -> dict[str, Any]:
    made = {"type": "track", "messageId": f"m{n}", "userId": f"{SIGN}-user-call-{n}", "event": "Product Viewed"}
    made |= {"timestamp": f"2024-06-01T10:{n % 60:02}:00Z", "properties": {"product_id": f"p{n % 3}"}}
    return made | fields


def test_no_value_of_a_broken_segment_file_gets_into_a_message_or_a_store(trial: Trial, capfd: Any) -> None:
    secret = f"{SIGN}-user-bad-0"
    private = {"email": secret, "name": secret, "phone": secret, "address": {"street": secret}, "city": secret}
    context = {"ip": secret, "userAgent": secret, "page": {"url": secret}}
    sound = [json.dumps(call(n, context=context, email=secret)).encode() for n in range(200)]
    odd = [
        json.dumps(call(301, properties={"products": secret})).encode(),
        json.dumps(call(302, properties=secret)).encode(),
        json.dumps(call(303, event="Order Completed", properties={"products": [secret, [secret], 5]})).encode(),
        json.dumps(call(304, type=secret)).encode(),
        json.dumps(call(305, event=secret)).encode(),
        json.dumps(call(306, timestamp=secret)).encode(),
        json.dumps(call(307, userId={"id": secret})).encode(),
        json.dumps(call(308, type="identify", traits=private)).encode(),
        json.dumps(call(309, type="alias", previousId=secret)).encode(),
        json.dumps(call(310))[:-20].encode(),
        json.dumps([secret]).encode(),
        json.dumps(secret).encode(),
        secret.encode(),
        b"\xff" + secret.encode(),
        json.dumps(call(311, userId=secret + "x" * 400)).encode(),
        json.dumps(call(312, properties={"product_id": "p1", "price": secret, "quantity": secret})).encode(),
        b"{" * 900 + secret.encode(),
        json.dumps(call(313, padding=secret + "x" * 1_000_000)).encode(),
    ]
    content = b"\n".join([*sound, *odd])
    trial.ingest("segment", "segment", "some", content, "jsonl")
    trial.ingest("segment", "segment", "most", b"\n".join(odd * 9), "jsonl")
    trial.ingest("segment", "segment", "cutoff", gzip.compress(content)[:-30], "jsonl.gz")
    trial.ingest("segment", "segment", "nogzip", content + b"\n", "jsonl.gz")
    trial.messages += capfd.readouterr()
    assert trial.found() == {}
    assert trial.refused == {"most", "cutoff", "nogzip"}


def failing(error: Exception) -> None:
    @without_values
    def step() -> None:
        try:
            raise KeyError(PRIVATE)
        except KeyError as cause:
            raise error from cause

    step()


@pytest.mark.parametrize(
    "error", [ValueError(PRIVATE), KeyError(PRIVATE), UnicodeDecodeError("utf-8", b"ann@", 0, 1, "x")]
)
def test_a_defect_is_reported_by_kind_and_place_alone(error: Exception) -> None:
    with pytest.raises(DefectError) as raised:
        failing(error)
    shown = "".join(traceback.format_exception(raised.value))
    assert type(error).__name__ in str(raised.value)
    assert "tasks/orchestration/guards.py:" in str(raised.value)
    assert "ann@" not in shown
    assert b"ann@" not in pickle.dumps(raised.value)


def test_own_errors_and_outages_pass_as_they_are() -> None:
    for error in (TailorbirdError("a sentence"), OperationalError("SELECT 1", {}, Exception("gone"))):
        with pytest.raises(type(error)):
            failing(error)
