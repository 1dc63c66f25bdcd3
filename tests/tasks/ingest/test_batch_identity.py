import shutil
from pathlib import Path
from re import fullmatch
from typing import Any

import pytest

from expectations.batches import ContractViolationError
from models.ingest.tabular.table_mapping import Mapping
from tasks.ingest.batch_identity import WrongMappingError, batch_of, part_of, request_of, segment_mapping, table_mapping
from tasks.ingest.events.tabular_chunks import validate_file


def mapping_of(**changes: Any) -> Mapping:
    return table_mapping("complete_journey", None).model_copy(update=changes)


def listed(mapping: Mapping, file: str) -> str:
    return batch_of(mapping, "events", Path(file), file).batch_id


def test_a_batch_is_named_by_its_content_wherever_it_lies(shop: Any, tmp_path: Path) -> None:
    elsewhere = shutil.copy(shop.events_file, tmp_path / "elsewhere.parquet")
    assert listed(mapping_of(), shop.events_file) == listed(mapping_of(location=str(tmp_path)), str(elsewhere))
    assert fullmatch("complete_journey-events-[0-9a-f]{12}-[0-9a-f]{8}", listed(mapping_of(), shop.events_file))


def test_another_content_or_another_meaning_is_another_batch(shop: Any) -> None:
    first = listed(mapping_of(), shop.events_file)
    assert listed(mapping_of(consent="opt-in"), shop.events_file) != first
    shop.write(transactions=shop.transactions.slice(1))
    assert listed(mapping_of(), shop.events_file) != first


def test_other_limits_do_not_make_another_batch(shop: Any) -> None:
    looser = table_mapping("complete_journey", {"limits": {"events": {"quarantined_share": 0.5}}})  # type: ignore[dict-item]
    assert listed(looser, shop.events_file) == listed(mapping_of(), shop.events_file)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda t: t.drop_columns(["sales_value"]), "column 'sales_value' is missing"),
        (
            lambda t: t.set_column(3, "quantity", t["transaction_timestamp"]),
            "'quantity' must hold a number, found time",
        ),
        (lambda t: t.slice(0, 0), "it has no rows"),
        (
            lambda t: t.set_column(5, "transaction_timestamp", t["transaction_timestamp"].cast("int64")),
            "'transaction_timestamp' must hold a time, found number",
        ),
    ],
)
def test_a_broken_contract_states_column_expected_and_found(shop: Any, broken: Any, message: str) -> None:
    shop.write(transactions=broken(shop.transactions))
    with pytest.raises(ContractViolationError, match=message):
        validate_file(Path(shop.events_file), shop.events_file, mapping_of().events)


def test_a_mapping_that_is_not_made_for_a_file_is_named() -> None:
    with pytest.raises(WrongMappingError, match="'segment' is the mapping of a Segment export"):
        table_mapping("segment", None)
    with pytest.raises(WrongMappingError, match="'content' is a mapping of tables"):
        segment_mapping("content", None)
    with pytest.raises(WrongMappingError, match=r"reads no users: add a table \[users\]"):
        part_of(mapping_of(users=None), "users")


def test_a_mapping_of_ones_own_is_remembered_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert request_of("own.toml", {"from": "2024"})["mapping"] == str(tmp_path / "own.toml")
    assert request_of("content", None) == {"mapping": "content", "overrides": {}}
