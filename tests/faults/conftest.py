"""Files that hold every kind of row, several chunks each, some of them overlapping; the storm is made of them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS, CALLS = 2400, 1440
PRODUCTS, FUEL, LATE = np.arange(500_000, 500_040), 600_000, 500_900
"""The last one comes into the catalogue after events have asked for it."""
BEGIN = datetime(2017, 1, 20, tzinfo=UTC)
ANSWERS = ("Personalization", "Advertising")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=0, help="how many processes the storm has to kill (0: a few)")
    parser.addoption("--seed", type=int, default=1, help="what the storm's moments are drawn from")


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """Return what the moments of a storm are drawn from."""
    return int(request.config.getoption("--seed"))


@pytest.fixture(scope="session")
def kills(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """Return the function that gives the number of kills: from the command line, or the storm's usual one."""
    return lambda usual: request.config.getoption("--kills") or usual


class Export(NamedTuple):
    """A folder with the files to ingest, by the name of the job that ingests them."""

    folder: Path
    jobs: dict[str, tuple[str, str, str]]
    """Module, mapping and file."""


def shopping(first: int, rows: int) -> dict[str, Any]:
    """Rows of a table with an event number each: most of them sound, some not, and no id twice."""
    event = np.arange(first, first + rows)
    product = PRODUCTS[event % len(PRODUCTS)]
    product = np.where(event % 61 == 5, LATE, np.where(event % 97 == 3, FUEL, product))
    return {
        "household_id": 77_000_001 + event // 4 % 30,
        "basket_id": 40_000_000_000 + event,
        "product_id": product,
        "quantity": np.where((event % 50 == 7) & (product != LATE), 0, 1),
        "sales_value": 1.0 + event % 97 / 100,
        "seconds": int(BEGIN.timestamp()) + event * 600,
    }


def joined(*parts: dict[str, Any]) -> dict[str, Any]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def again(rows: dict[str, Any], many: int) -> dict[str, Any]:
    """The rows, and at the end some of the sound ones once more, every second one with another value."""
    sound = np.flatnonzero((rows["product_id"] < LATE) & (rows["quantity"] > 0))[:many]
    repeated = {name: values[sound] for name, values in rows.items()}
    repeated["sales_value"] = repeated["sales_value"] + np.arange(many) % 2
    return joined(rows, repeated)


def write_table(path: Path, rows: dict[str, Any]) -> str:
    moments = pa.array(rows["seconds"] * 1_000_000_000, pa.timestamp("ns"))
    columns = {name: values for name, values in rows.items() if name != "seconds"}
    pq.write_table(pa.table(columns | {"transaction_timestamp": moments}), path)
    return str(path)


def write_folder(path: Path) -> str:
    """Small tables that overlap with each other, and with the large ones."""
    path.mkdir()
    for number in range(8):
        write_table(path / f"{number}.parquet", shopping(300 * number, 400))
    return str(path)


def write_products(path: Path, ids: list[int]) -> str:
    department = ["FUEL" if product == FUEL else "GROCERY" for product in ids]
    words = {"department": department, "product_category": department, "product_type": department}
    brand = {"manufacturer_id": [1] * len(ids), "brand": ["Private"] * len(ids), "package_size": ["1 OZ"] * len(ids)}
    pq.write_table(pa.table({"product_id": ids, **words, **brand}), path)
    return str(path)


def write_people(path: Path) -> str:
    traits = ("age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids_count")
    homes = list(range(77_000_001, 77_000_021))
    pq.write_table(pa.table({"household_id": homes, **{t: [f"{t} {h % 3}" for h in homes] for t in traits}}), path)
    return str(path)


def call(number: int, moment: int, quiet: bool) -> dict[str, Any] | bytes:
    """One line of a Segment export. Its time has nothing to do with its place in the file."""
    if number % 100 == 9:
        return b'{"broken": '
    user, consent = f"user{number % 40}", dict.fromkeys(ANSWERS, True)
    message: dict[str, Any] = {"type": "track", "event": "Product Viewed", "messageId": f"m{number}"}
    price, name = 1.5 + moment % 7, f"Cup {moment // 200}"
    block = {"product_id": f"p{number % 50}", "name": name, "price": price, "currency": "EUR", "quantity": 1}
    message["properties"] = block
    if number % 30 == 4:
        blocks = [block, block | {"product_id": f"p{(number + 1) % 50}"}]
        message |= {"event": "Order Completed", "properties": {"order_id": f"o{number}", "products": blocks}}
    elif number % 40 == 12:
        traits = {"plan": ("gold", "silver", "none")[moment % 3], "country": f"C{moment % 5}"}
        message |= {"type": "identify", "anonymousId": f"phone{number % 14}", "traits": traits}
    elif number % 45 == 2:
        user = f"refusing{number % 3}"
        consent = {**consent, "Personalization": bool(number % 2 and number % 3 == 0)}
    elif quiet and number % 20 == 8:
        user, consent = f"quiet{number % 3}", {} if number % 60 else consent
    message["context"] = {"consent": {"categoryPreferences": consent}} if consent else {}
    return message | {"userId": user, "timestamp": (BEGIN + timedelta(minutes=20 * moment)).isoformat()}


def calls(first: int, many: int, quiet: bool = False) -> list[dict[str, Any] | bytes]:
    # A permutation that is the same every time, so that files that overlap hold the same.
    return [call(number, number * 1_009 % 7_001, quiet) for number in range(first, first + many)]


def write_calls(path: Path, lines: list[dict[str, Any] | bytes]) -> str:
    path.write_bytes(b"".join((x if isinstance(x, bytes) else json.dumps(x).encode()) + b"\n" for x in lines))
    return str(path)


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Two tables and two exports of calls that overlap, a table that will be refused, the catalogue and people."""
    folder = tmp_path_factory.mktemp("export")
    dirty = shopping(20_000, ROWS // 4)
    dirty |= {"sales_value": np.zeros(ROWS // 4), "household_id": dirty["household_id"] + 1_000_000}
    loud = calls(CALLS // 2, CALLS // 2)
    files: dict[str, tuple[str, Callable[[Path], str]]] = {
        "catalogue": ("ingest_items", lambda path: write_products(path, [*PRODUCTS.tolist(), FUEL])),
        "late": ("ingest_items", lambda path: write_products(path, [LATE, int(PRODUCTS[0])])),
        "people": ("ingest_users", write_people),
        "table": ("ingest_events", lambda path: write_table(path, again(shopping(0, ROWS), 100))),
        "overlap": ("ingest_events", lambda path: write_table(path, again(shopping(ROWS // 2, ROWS), 60))),
        "folder": ("ingest_event_files", write_folder),
        "dirty": ("ingest_events", lambda path: write_table(path, joined(shopping(0, ROWS // 4), dirty))),
        "calls": ("ingest_segment", lambda path: write_calls(path, [*calls(0, CALLS, quiet=True), *calls(0, 50)])),
        "more": ("ingest_segment", lambda path: write_calls(path, [*loud, *calls(CALLS, CALLS // 2)])),
    }
    jobs = {
        name: (task, "segment" if task == "ingest_segment" else "complete_journey", write(folder / name_of(name, task)))
        for name, (task, write) in files.items()
    }
    return Export(folder, jobs)


def name_of(name: str, task: str) -> str:
    return f"{name}.{'jsonl' if task == 'ingest_segment' else 'parquet'}"
