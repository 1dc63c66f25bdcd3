import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from expectations.contract import ContractBrokenError
from models.shapes.mapping import Mapping
from tasks.batches import batch_of, pseudonymised, spread, time_span
from tasks.sources.mappings import read_mapping


def mapping_of(shop: Any, **changes: Any) -> Mapping:
    return read_mapping("complete_journey", str(shop.folder)).model_copy(update=changes)


def test_a_batch_is_named_by_its_content_wherever_it_lies(shop: Any, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(shop.folder, elsewhere)
    here, there = mapping_of(shop), read_mapping("complete_journey", str(elsewhere))
    assert batch_of(here, here.events, "events")[1].batch_id == batch_of(there, there.events, "events")[1].batch_id


def test_another_content_or_another_meaning_is_another_batch(shop: Any) -> None:
    mapping = mapping_of(shop)
    first = batch_of(mapping, mapping.events, "events")[1]
    declared = mapping_of(shop, consent="absent")
    assert batch_of(declared, declared.events, "events")[1].batch_id != first.batch_id
    shop.write(transactions=shop.transactions.slice(1))
    assert batch_of(mapping, mapping.events, "events")[1].batch_id != first.batch_id


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda t: t.drop_columns(["sales_value"]), "column 'sales_value' is missing"),
        (
            lambda t: t.set_column(3, "quantity", t["quantity"].cast("string")),
            "'quantity' must hold a number, found text",
        ),
        (lambda t: t.slice(0, 0), "it has no rows"),
        (
            lambda t: t.set_column(5, "transaction_timestamp", t["transaction_timestamp"].cast("int64")),
            "'transaction_timestamp' must hold a time, found number",
        ),
    ],
)
def test_a_broken_contract_says_column_expected_and_found(shop: Any, broken: Any, told: str) -> None:
    shop.write(transactions=broken(shop.transactions))
    mapping = mapping_of(shop)
    with pytest.raises(ContractBrokenError, match=told):
        batch_of(mapping, mapping.events, "events")


def test_pseudonyms_stand_in_for_raw_ids_and_nobody_stays_nobody() -> None:
    rows = pa.table({"user_id": ["900", None, "900", "901"], "n": [1, 2, 3, 4]})
    found, names = pseudonymised(rows, b"key")
    assert found.column_names == ["user_key", "n"]
    assert found["user_key"].to_pylist() == [names["900"], None, names["900"], names["901"]]


@pytest.mark.parametrize(("size", "kept"), [(1, 1), (3, 4), (10, 10), (99, 10)])
def test_a_sample_is_spread_over_all_rows(size: int, kept: int) -> None:
    sample = spread(pa.table({"n": range(10)}), size)["n"].to_pylist()
    assert (len(sample), sample[0]) == (kept, 0)


def test_a_span_of_time_may_be_empty() -> None:
    rows = pa.table({"occurred_at": pa.array([None, 0, 1_000_000], pa.timestamp("us", tz="UTC"))})
    assert time_span(rows) == {"min": "1970-01-01T00:00:00+00:00", "max": "1970-01-01T00:00:01+00:00"}
    assert time_span(rows.slice(0, 1)) == {"min": None, "max": None}
