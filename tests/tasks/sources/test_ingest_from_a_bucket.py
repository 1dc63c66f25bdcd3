import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import select

from infra.database.schema.schema import LEDGER, ingest_batches
from infra.installation import Installation
from tasks.ingest.events.ingest_events import ingest_events, ingest_segment
from tasks.ingest.reference.ingest_items import ingest_items
from tasks.ingest.reference.ingest_users import ingest_users
from tasks.sources.file_matching import files_of
from tasks.sources.mapping_files import table_mapping

GOLDEN = Path(__file__).parents[2] / "golden" / "segment" / "segment.jsonl"


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


def test_tables_in_a_bucket_come_in_as_from_a_folder(
    installation: Installation, shop: Any, s3: Callable[..., str]
) -> None:
    assert installation
    for file in shop.folder.iterdir():
        s3(f"tables/{file.name}", file.read_bytes())
    result = files_of(table_mapping("complete_journey", None), ["s3://shop/tables/"])
    steps = {"items": ingest_items, "users": ingest_users, "events": ingest_events}
    entries = {part: steps[part].fn("complete_journey", file) for part, [file] in result.items()}
    assert counts(entries["events"]) == shop.counts
