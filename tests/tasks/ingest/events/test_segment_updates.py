import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import select

from infra.database.schema.schema import aliases, identities, ingest_updates, items, users
from infra.installation import Installation
from infra.keys.identity import pseudonym
from models.ingest.source_config import MappingError
from tasks.ingest.events.ingest_events import ingest_segment
from tasks.lake.find_non_goods import find_suspects
from tasks.quality.suites import BatchRefusedError
from tasks.sources.mapping_files import read

Call = dict[str, Any]


def call(day: int, kind: str, agreed: bool | None = True, user: str = "ann", **stated: Any) -> Call:
    answers = {} if agreed is None else {"consent": {"categoryPreferences": {"Personalization": agreed}}}
    moment = f"2024-06-{day:02}T10:00:00Z"
    envelope = {"type": kind, "messageId": f"{user}-{kind}-{day}", "userId": user, "timestamp": moment}
    return envelope | {"context": answers} | stated


def viewed(day: int, agreed: bool | None = True, user: str = "ann", **block: Any) -> Call:
    properties = {"product_id": "cup", "name": "Cup", "price": 3.0} | block
    return call(day, "track", agreed, user, event="Product Viewed", properties=properties)


def ingest(folder: Path, *calls: Call, number: int = 0) -> dict[str, Any]:
    path = folder / f"{number}.jsonl"
    path.write_text("".join(json.dumps(stated) + "\n" for stated in calls))
    entry: dict[str, Any] = ingest_segment.fn("segment", str(path))
    return entry


def everything(installation: Installation) -> dict[str, list[dict[str, Any]]]:
    """Return the stored items, users and devices, without their batches."""
    with installation.engine.connect() as connection:
        tables = {table.fullname: connection.execute(select(table)).mappings() for table in (items, users, aliases)}
        result = {name: [{**row} for row in rows] for name, rows in tables.items()}
    for rows in result.values():
        for row in rows:
            del row["batch_id"]
            row.pop("consent_source", None)
    return {name: sorted(rows, key=str) for name, rows in result.items()}


def test_services_are_marked_and_unmarked_by_the_mapping(installation: Installation, tmp_path: Path) -> None:
    calls = [
        viewed(1),
        viewed(2, product_id="POST", name="Postage"),
        viewed(3, product_id="X1", name="Gift", category="Fees/Cards"),
        viewed(4, product_id="FEE", name=None, price=None),
        viewed(5, product_id="POST", name=None, price=2.0),
    ]
    (tmp_path / "calls.jsonl").write_text("".join(json.dumps(one) + "\n" for one in calls))

    def marked(line: str) -> tuple[set[str], dict[str, Any]]:
        mapping = tmp_path / "shop.toml"
        mapping.write_text(f'kind = "segment"\nname = "shop"\nconsent = "opt-in"\n{line}\n')
        entry: dict[str, Any] = ingest_segment.fn(str(mapping), str(tmp_path / "calls.jsonl"))
        return {row["item_id"] for row in everything(installation)["items"] if not row["available"]}, entry

    services = """not_merchandise = ["Fees", { expr = "title = 'Postage' or item_id = 'FEE'" }]"""
    assert marked(services)[0] == {"POST", "X1", "FEE"}
    hidden, last = marked("")
    assert hidden == {"POST", "X1", "FEE"}
    [entry] = find_suspects.fn(str(tmp_path / "shop.toml"), [last])
    assert "suspects" not in entry
    hidden, last = marked("not_merchandise = \"item_id = 'X1'\"")
    assert hidden == {"X1", "FEE"}, "calls that only name FEE do not mark it again"
    [entry] = find_suspects.fn(str(tmp_path / "shop.toml"), [last])
    assert [row["item_id"] for row in entry["suspects"]] == ["POST"]
    assert marked(entry["suspects_mark"])[0] == {"X1", "POST", "FEE"}


@pytest.mark.parametrize("kind", ["segment", "mixpanel"])
def test_marks_read_only_what_products_have(tmp_path: Path, kind: str) -> None:
    (tmp_path / "shop.toml").write_text(f'kind = "{kind}"\nname = "shop"\nnot_merchandise = "sku = 1"\n')
    with pytest.raises(MappingError, match="products have no sku; use item_id, title, category, brand, price"):
        read(str(tmp_path / "shop.toml"))


def test_only_the_refusal_of_a_user_who_never_agreed_is_kept(installation: Installation, tmp_path: Path) -> None:
    stated = [viewed(1, False), call(2, "identify", False, traits={"plan": "gold"})]
    assert ingest(tmp_path, *stated)["suppressed"] == 1
    [ann] = everything(installation)["users"]
    assert (ann["consent"], ann["attributes"]) == (False, {})
    with installation.engine.connect() as connection:
        assert connection.execute(select(identities)).first() is None


def test_a_refused_file_leaves_no_updates(installation: Installation, tmp_path: Path) -> None:
    ingest(tmp_path, viewed(1), call(1, "identify", traits={"plan": "gold"}), number=1)
    before = everything(installation)
    bad = [viewed(2, quantity=-1, price=-n, product_id=f"p{n}") for n in range(20)]
    stated = [viewed(2, False), call(2, "identify", False, traits={"plan": "red"}, anonymousId="phone"), *bad]
    stated = [row | {"messageId": f"m{n}"} for n, row in enumerate(stated)]
    with pytest.raises(BatchRefusedError, match="quantity_not_positive"):
        ingest(tmp_path, *stated, number=2)
    assert everything(installation) == before
    with installation.engine.connect() as connection:
        assert connection.execute(select(ingest_updates)).first() is None


def test_a_clock_that_is_years_ahead_has_not_the_last_word(installation: Installation, tmp_path: Path) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    ahead = viewed(2, price=9.0) | {"timestamp": "2099-01-01T00:00:00Z"}
    sound = [viewed(day, user="bob") for day in range(10, 20)]
    ingest(tmp_path, viewed(1), call(1, "identify", False), number=0)
    ingest(tmp_path, ahead, *sound, number=1)
    ingest(tmp_path, call(3, "identify", False) | {"timestamp": soon}, number=2)
    ingest(tmp_path, viewed(4, user="bob", price=4.0) | {"timestamp": soon}, number=3)
    result = everything(installation)
    assert {row["user_key"]: row["consent"] for row in result["users"]}[pseudonym("ann", installation.key)] is False
    assert [row["price"] for row in result["items"]] == [4.0]


def test_a_refusal_counts_with_a_lake_of_a_version_without_consent(installation: Installation, tmp_path: Path) -> None:
    words = {name: [name] for name in ("event_id", "payload_hash", "event_type", "user_key", "batch_id")}
    moment = pa.array([datetime(2024, 5, 1, tzinfo=UTC)], pa.timestamp("us", tz="UTC"))
    installation.lake.append_events(pa.table(words | {"occurred_at": moment, "month": ["2024-05"]}), "old", 0)
    ingest(tmp_path, call(1, "identify", False))
    assert [row["consent"] for row in everything(installation)["users"]] == [False]
