import gzip
import json
import random
import shutil
import string
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from infra.database.schema.schema import (
    LEDGER,
    aliases,
    identities,
    ingest_batches,
    ingest_chunks,
    items,
    quarantine,
    suppressions,
    users,
)
from infra.installation import Installation
from infra.keys import credentials
from infra.keys.identity import pseudonym
from models.datasets.training_data import known_before
from models.errors import TailorbirdError
from tasks.datasets.build_dataset import build_dataset, split_by
from tasks.datasets.load_dataset import open_dataset
from tasks.ingest.events.ingest_events import ingest_segment
from tasks.quality.suites import BatchRefusedError
from tasks.sources import line_reader

GOLDEN = Path(__file__).parents[3] / "golden" / "segment" / "segment.jsonl"
AGREED = {"consent": {"categoryPreferences": {"Personalization": True, "Advertising": True}}}
REFUSED = {"consent": {"categoryPreferences": {"Personalization": False, "Advertising": True}}}


def call(number: int, kind: str = "track", **stated: Any) -> dict[str, Any]:
    moment = f"2024-06-01T10:{number % 60:02}:00.000Z"
    return {"type": kind, "messageId": f"m{number}", "userId": "ann", "timestamp": moment, "context": AGREED} | stated


def viewed(number: int, product: str = "cup", **stated: Any) -> dict[str, Any]:
    properties = {"product_id": product, "name": product.title(), "price": 3.5, "currency": "EUR"}
    return call(number, event="Product Viewed", properties=properties, **stated)


def bought(number: int, order: str, *products: str, **stated: Any) -> dict[str, Any]:
    blocks = [{"product_id": product, "name": product.title(), "price": 3.5, "quantity": 1} for product in products]
    return call(number, event="Order Completed", properties={"order_id": order, "products": blocks}, **stated)


def on(day: int) -> dict[str, str]:
    return {"timestamp": f"2024-06-{day:02}T10:00:00Z"}


def write(path: Path, *calls: dict[str, Any] | bytes) -> str:
    path.write_bytes(b"".join((c if isinstance(c, bytes) else json.dumps(c).encode()) + b"\n" for c in calls))
    return str(path)


def counts(entry: dict[str, Any]) -> dict[str, int]:
    assert entry["read"] == sum(entry[name] for name in LEDGER if name != "read")
    return {name: entry[name] for name in LEDGER if entry[name]}


def lake(installation: Installation) -> list[dict[str, Any]]:
    tables = [pq.read_table(file, partitioning=None) for file in installation.lake.event_files()]
    return pa.concat_tables(tables).sort_by("event_id").to_pylist() if tables else []


def rows(installation: Installation, table: Any) -> list[dict[str, Any]]:
    with installation.engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]


def test_every_call_of_the_golden_file_is_accounted_for_and_comes_in_once(
    installation: Installation, tmp_path: Path
) -> None:
    sound = b"".join(json.dumps(viewed(n, userId="bob")).encode() + b"\n" for n in range(100))
    path = tmp_path / "golden.jsonl"
    path.write_bytes(GOLDEN.read_bytes() + sound)
    first = ingest_segment.fn("segment", str(path))
    stored = lake(installation)
    assert first["status"] == "committed"
    assert counts(first)["accepted"] == len(stored) == len({row["event_id"] for row in stored})
    copy = shutil.copy(path, tmp_path / "again.jsonl")
    assert ingest_segment.fn("segment", str(copy)) == first | {"status": "unchanged"}
    assert lake(installation) == stored


def test_plain_and_packed_files_hold_the_same(installation: Installation, tmp_path: Path) -> None:
    plain = write(tmp_path / "a.jsonl", viewed(1), bought(2, "o1", "cup", "pan"))
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(Path(plain).read_bytes()))
    assert counts(ingest_segment.fn("segment", plain)) == {"read": 3, "accepted": 3}
    assert counts(ingest_segment.fn("segment", str(packed))) == {"read": 3, "duplicate": 3}
    assert [row["event_id"] for row in lake(installation)] == ["m1", "m2#1", "m2#2"]


def test_a_packed_file_that_was_cut_short_states_it_and_comes_in_when_it_is_whole(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_reader, "CHUNK_BYTES", 20_000)
    whole = gzip.compress(b"".join(json.dumps(viewed(n)).encode() + b"\n" for n in range(500)))
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TailorbirdError, match=r"nothing of it was kept.*cannot be read to its end"):
        ingest_segment.fn("segment", str(path))
    assert [row["status"] for row in rows(installation, ingest_batches)] == ["refused"]
    assert not [*lake(installation), *rows(installation, users), *rows(installation, ingest_chunks)]
    path.write_bytes(whole)
    assert counts(ingest_segment.fn("segment", str(path)))["accepted"] == 500
    assert len(lake(installation)) == 500


def test_without_consent_no_event_is_stored_and_the_last_answer_counts(
    installation: Installation, tmp_path: Path
) -> None:
    unanswered = {"userId": "bob", "context": {}}
    entry = ingest_segment.fn(
        "segment", write(tmp_path / "a", viewed(1), viewed(2, **unanswered), viewed(3, userId="cleo", context=REFUSED))
    )
    assert counts(entry) == {"read": 3, "accepted": 1, "suppressed": 2}
    assert [row["user_id"] for row in rows(installation, identities)] == ["ann"]
    ingest_segment.fn("segment", write(tmp_path / "b", viewed(4, context=REFUSED)))
    stated = {row["user_key"]: row["consent"] for row in rows(installation, users)}
    assert stated == {pseudonym(name, installation.key): False for name in ("ann", "cleo")}
    entry = ingest_segment.fn("segment", write(tmp_path / "c", viewed(5, context={}), viewed(6)))
    assert counts(entry) == {"read": 2, "accepted": 1, "suppressed": 1}
    stated = {row["user_key"]: row["consent"] for row in rows(installation, users)}
    assert stated == {pseudonym("ann", installation.key): True, pseudonym("cleo", installation.key): False}


def test_nothing_of_a_suppressed_user_is_stored(installation: Installation, tmp_path: Path) -> None:
    key = pseudonym("ann", installation.key)
    with installation.engine.begin() as connection:
        connection.execute(suppressions.insert().values(user_key=key, reason="left"))
    identify = call(2, "identify", anonymousId="phone", traits={"plan": "gold"})
    entry = ingest_segment.fn("segment", write(tmp_path / "a", viewed(1), identify))
    assert counts(entry) == {"read": 2, "suppressed": 1, "routed": 1}
    assert not [*rows(installation, users), *rows(installation, identities), *rows(installation, aliases)]


def test_unreadable_lines_wait_in_quarantine_with_their_place(installation: Installation, tmp_path: Path) -> None:
    good = [viewed(n) for n in range(20)]
    path = write(tmp_path / "a.jsonl", *good[:10], b'{"broken": ', b"\xff\xfe", *good[10:])
    entry = ingest_segment.fn("segment", path)
    assert counts(entry) == {"read": 22, "accepted": 20, "quarantined": 2}
    remaining = [row["payload"] for row in rows(installation, quarantine)]
    content = Path(path).read_bytes()
    assert [row["line"] for row in remaining] == [11, 12]
    assert content[remaining[0]["offset"] :].startswith(b'{"broken": ')
    assert {row["file"] for row in remaining} == {"a.jsonl"}
    assert all(row["reason"] and len(row["sha256"]) == 64 for row in remaining)


def test_product_blocks_fill_the_catalogue_and_add_to_what_is_there(installation: Installation, tmp_path: Path) -> None:
    ingest_segment.fn("segment", write(tmp_path / "a", viewed(1)))
    block = {"product_id": "cup", "category": "Kitchen", "sku": "C-1"}
    ingest_segment.fn("segment", write(tmp_path / "b", call(2, event="Product Clicked", properties=block)))
    (cup,) = rows(installation, items)
    assert (cup["title"], cup["category"], cup["price"], cup["currency"]) == ("Cup", "Kitchen", 3.5, "EUR")
    assert (cup["attributes"], cup["available"]) == ({"sku": "C-1"}, True)


def test_identify_adds_traits_and_joins_a_device_to_its_user(installation: Installation, tmp_path: Path) -> None:
    traits = {"plan": "gold", "email": "ann@example.org", "gender": "f"}
    identify = call(2, "identify", anonymousId="phone", traits=traits)
    ingest_segment.fn("segment", write(tmp_path / "a", viewed(1), identify))
    ingest_segment.fn("segment", write(tmp_path / "b", call(3, "identify", traits={"plan": "silver"})))
    (ann,) = rows(installation, users)
    assert ann["attributes"] == {"plan": "silver", "gender": "f"}
    (device,) = rows(installation, aliases)
    phone = credentials.hashed("phone", credentials.keys(installation.key.decode()), credentials.DEVICE)
    assert (device["anonymous_key"], device["user_key"]) == (phone, pseudonym("ann", installation.key))


def test_over_many_chunks_rows_are_numbered_through(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_reader, "CHUNK_BYTES", 2000)
    path = write(tmp_path / "a", *[viewed(n) if n % 10 else b"nothing %d" % n for n in range(60)])
    entry = ingest_segment.fn("segment", path)
    assert counts(entry) == {"read": 60, "accepted": 54, "quarantined": 6}
    assert [row["payload"]["line"] for row in rows(installation, quarantine)] == list(range(1, 61, 10))


def test_refunds_and_purchases_before_the_user_was_known_are_learned_rightly(
    installation: Installation, tmp_path: Path
) -> None:
    device = {"userId": None, "anonymousId": "phone"}
    refund = {"order_id": "o1", "products": [{"product_id": "pan"}]}
    path = write(
        tmp_path / "a",
        bought(1, "o1", "cup", "pan", **device, **on(1)),
        call(2, "identify", anonymousId="phone", **on(2)),
        call(3, event="Order Refunded", properties=refund, **on(3)),
        bought(4, "o2", "pot", "lid", **on(4)),
        call(5, event="Order Cancelled", properties={"order_id": "o2"}, **on(5)),
        bought(6, "o3", "jug", **on(6)),
        bought(7, "o4", "jug", userId="bob", **on(7)),
    )
    assert counts(ingest_segment.fn("segment", path))["read"] == 9
    manifest = build_dataset.fn(split_by(date(2024, 6, 9), 1, 1))
    assert manifest["refunds"] == {"matched": 2, "unmatched": 0}
    left = known_before(open_dataset(manifest["version"]).interactions, manifest["as_of"])
    learned = sorted(left.to_pylist(), key=lambda row: row["session_id"])
    assert [(row["session_id"], row["item_id"]) for row in learned] == [("o1", "cup"), ("o3", "jug"), ("o4", "jug")]
    assert [row["user_key"] for row in learned] == [pseudonym(n, installation.key) for n in ("ann", "ann", "bob")]


def test_hostile_words_are_stored_or_wait_and_never_stop_the_file(installation: Installation, tmp_path: Path) -> None:
    words = ["nul\x00nul", "'; DROP TABLE users; --", "../../etc", "\\N", "tab\tnew\nline", "{}", "é😀", "x" * 20_000]
    calls = [viewed(n, word, userId=word, messageId=word) for n, word in enumerate(words)]
    calls += [call(50 + n, "identify", userId=word, traits={"plan": word}) for n, word in enumerate(words)]
    sound = [viewed(100 + n) for n in range(60)]
    entry = ingest_segment.fn("segment", write(tmp_path / "a", *calls, *sound))
    assert (entry["status"], counts(entry)["read"]) == ("committed", len(calls) + len(sound))
    assert len(lake(installation)) == entry["accepted"]


def test_the_last_call_of_a_device_decides_whose_it_is(installation: Installation, tmp_path: Path) -> None:
    calls = [call(n, "identify", userId=user, anonymousId="phone") for n, user in enumerate(("bob", "cleo", "ann"))]
    ingest_segment.fn("segment", write(tmp_path / "a", viewed(9), *calls))
    (device,) = rows(installation, aliases)
    assert device["user_key"] == pseudonym("ann", installation.key)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_an_empty_file_is_refused_with_a_reason(installation: Installation, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"") if name.endswith(".gz") else b"")
    with pytest.raises(BatchRefusedError, match="is empty"):
        ingest_segment.fn("segment", str(path))
    assert [row["status"] for row in rows(installation, ingest_batches)] == ["refused"]


@pytest.mark.parametrize("how", [{"type": "page"}, {"event": "Segment Consent Preference Updated"}])
def test_an_answer_by_a_call_that_is_no_interaction_counts(
    installation: Installation, tmp_path: Path, how: dict[str, Any]
) -> None:
    ingest_segment.fn("segment", write(tmp_path / "a.jsonl", viewed(1), call(2, context=REFUSED, **how)))
    [ann] = rows(installation, users)
    assert (ann["consent"], ann["consent_at"].minute) == (False, 2)


def test_no_device_of_a_user_who_refused_is_kept(installation: Installation, tmp_path: Path) -> None:
    refusal = call(2, "identify", userId="bob", anonymousId="phone", context=REFUSED)
    ingest_segment.fn("segment", write(tmp_path / "a.jsonl", viewed(1), refusal))
    assert rows(installation, aliases) == []


def test_an_id_that_is_none_gets_no_place_in_the_catalogue(installation: Installation, tmp_path: Path) -> None:
    long = "".join(random.Random(1).choices(string.ascii_letters, k=9000))  # noqa: S311
    path = write(tmp_path / "a.jsonl", *map(viewed, range(30)), viewed(30, long), viewed(31, "undefined"))
    assert counts(ingest_segment.fn("segment", path)) == {"read": 32, "accepted": 30, "quarantined": 2}
    assert [row["item_id"] for row in rows(installation, items)] == ["cup"]


def test_the_refund_of_a_whole_order_needs_no_catalogue(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('kind = "segment"\nunknown_items = "quarantine"\n')
    refund = call(3, event="Order Refunded", properties={"order_id": "o1"})
    path = write(tmp_path / "a.jsonl", bought(1, "o1", "cup"), bought(2, "o2", "cup"), refund)
    assert counts(ingest_segment.fn(str(tmp_path / "own.toml"), path)) == {"read": 3, "accepted": 3}
    assert [row["item_id"] for row in lake(installation)] == ["cup", "cup", "*"]
