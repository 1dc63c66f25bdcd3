"""Simulates purchases of any size in the two measured formats: tables, and lines of a Segment export."""

import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_AT_ONCE = 200_000
_PRODUCTS = 50_000
_START = 1_483_272_000
_PADDING = "a page like many others, with a campaign, a referrer and a long address " * 4


def write(folder: Path, events: int, seed: int, *, lines: bool = True) -> None:
    """Write `transactions.parquet` and `products.parquet`, and as many lines of about 1.15 kB to `events.jsonl`."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_products(folder / "products.parquet")
    random = np.random.default_rng(seed)
    users, seconds = max(1000, events // 30), np.linspace(0, 2 * 365 * 86_400, events).astype("int64")
    schema = _part(random, 1, users, seconds[:1], 0).schema
    with ExitStack() as files:
        table = files.enter_context(pq.ParquetWriter(folder / "transactions.parquet", schema))
        file = files.enter_context((folder / "events.jsonl").open("w")) if lines else None
        for start in range(0, events, _AT_ONCE):
            when = seconds[start : start + _AT_ONCE]
            part = _part(random, len(when), users, when, start)
            table.write_table(part)
            if file:
                file.writelines(map(_line, part.to_pylist(), range(start, start + len(when))))


def _write_products(path: Path) -> None:
    number = np.arange(_PRODUCTS)
    columns = {name: pa.array([f"{name} {n % 97}" for n in number]) for name in ("product_category", "product_type")}
    pq.write_table(
        pa.table(
            {
                "product_id": number,
                "manufacturer_id": number % 500,
                "department": pa.array([f"DEPARTMENT {n % 20}" for n in number]),
                "brand": pa.array(["National" if n % 3 else "Private" for n in number]),
                **columns,
                "package_size": pa.array([f"{n % 40} OZ" for n in number]),
            }
        ),
        path,
    )


def _part(random: np.random.Generator, rows: int, users: int, when: np.ndarray, start: int) -> pa.Table:
    """Yield events in order of time: Zipf-like products, baskets of five, one in fifty without a quantity."""
    number = np.arange(start, start + rows)
    popular = np.minimum(random.zipf(1.3, rows) - 1, _PRODUCTS - 1)
    return pa.table(
        {
            "household_id": random.integers(users, size=rows),
            "basket_id": number // 5,
            "product_id": (popular * 7919 + number % 5) % _PRODUCTS,
            "quantity": np.where(number % 50 == 7, 0, 1),
            "sales_value": np.round(random.gamma(2.0, 2.0, rows) + 0.01, 2),
            "transaction_timestamp": pa.array((_START + when) * 1_000_000_000, pa.timestamp("ns")),
        }
    )


def _line(row: dict[str, object], number: int) -> str:
    moment = f"{row['transaction_timestamp']}".replace(" ", "T") + "Z"
    product = {
        "product_id": f"p{row['product_id']}",
        "sku": f"S-{row['product_id']}",
        "name": f"Product {row['product_id']}",
        "category": "Kitchen",
        "brand": "National",
        "price": int(str(row["product_id"])) % 1000 / 10 + 0.9,
        "quantity": 1,
        "currency": "USD",
    }
    consent = {"categoryPreferences": {"Advertising": True, "Personalization": True}}
    context = {"consent": consent, "locale": "en-US", "page": {"title": _PADDING, "path": "/p"}}
    call = {
        "type": "track",
        "event": "Product Viewed",
        "messageId": f"message-{number}",
        "userId": f"user-{row['household_id']}",
        "timestamp": moment,
        "receivedAt": moment,
        "context": context,
        "integrations": {"All": True},
        "properties": product,
    }
    return json.dumps(call) + "\n"
