import shutil
from pathlib import Path
from re import fullmatch
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from expectations.batches import ContractViolationError
from infra import locks
from infra.database.engine import engine
from infra.database.schema.schema import LEDGER, ingest_batches, ingest_chunks
from models import errors
from models.ingest.segment.segment_mapping import SegmentMapping
from models.ingest.tabular.table_mapping import Mapping
from tasks.ingest import ledger
from tasks.ingest.events.chunk_readers import validate_file
from tasks.ingest.ledger import batch_of, request_of
from tasks.sources.mapping_files import WrongMappingError, part_of, read_as, table_mapping

BATCH = ledger.Batch("b1", "events", "shop", "/folder", "given")
COUNTS = {"read": 10, "accepted": 5, "quarantined": 2, "duplicate": 1, "suppressed": 1, "routed": 1}


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


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda t: t.drop_columns(["sales_value"]), "column 'sales_value' is missing"),
        (
            lambda t: t.set_column(3, "quantity", t["transaction_timestamp"]),
            "'quantity' must hold a number, found time",
        ),
    ],
)
def test_a_broken_contract_states_column_expected_and_found(shop: Any, broken: Any, message: str) -> None:
    shop.write(transactions=broken(shop.transactions))
    with pytest.raises(ContractViolationError, match=message):
        validate_file(Path(shop.events_file), shop.events_file, mapping_of().events)


def test_a_mapping_that_is_not_made_for_a_file_is_named() -> None:
    with pytest.raises(WrongMappingError, match="'segment' is a mapping of a Segment export"):
        table_mapping("segment", None)
    with pytest.raises(WrongMappingError, match="'content' is a mapping of tables"):
        read_as(SegmentMapping, "content", None)
    with pytest.raises(WrongMappingError, match=r"reads no users: add a table \[users\]"):
        part_of(mapping_of(users=None), "users")


def test_a_mapping_of_ones_own_is_remembered_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert request_of("own.toml", {"from": "2024"})["mapping"] == str(tmp_path / "own.toml")
    assert request_of("content", None) == {"mapping": "content", "overrides": {}}


@pytest.fixture
def ledger_engine(database: str) -> Engine:
    return engine(database)


def test_a_batch_is_the_sum_of_its_chunks_and_a_repeated_chunk_counts_once(ledger_engine: Engine) -> None:
    with ledger_engine.begin() as connection:
        assert ledger.open_batch(connection, BATCH) == ledger.PENDING
        for chunk in (0, 1, 1):
            ledger.record_chunks(connection, ledger.ChunkEntry("b1", chunk, COUNTS, {"chunk": chunk}))
        assert ledger.chunk_profiles(connection, "b1") == [{"chunk": 0}, {"chunk": 1}]
        assert ledger.close_batch(connection, "b1", []) == {name: 2 * n for name, n in COUNTS.items()}
        entry = ledger.entries(connection, ["b1"])["b1"]
        assert entry["status"] == ledger.open_batch(connection, BATCH) == ledger.COMMITTED
        assert entry["read"] == sum(entry[name] for name in LEDGER if name != "read") == 20


@pytest.mark.parametrize("lost", LEDGER)
def test_a_chunk_that_does_not_add_up_is_never_written_down(ledger_engine: Engine, lost: str) -> None:
    with ledger_engine.begin() as connection:
        ledger.open_batch(connection, BATCH)
        with pytest.raises(errors.LedgerError, match="does not add up"):
            ledger.record_chunks(connection, ledger.ChunkEntry("b1", 0, COUNTS | {lost: COUNTS[lost] - 1}, {}))
        assert connection.execute(select(func.count()).select_from(ingest_chunks)).scalar() == 0


def test_a_refused_batch_is_forgotten_but_for_its_reason_and_may_come_again(ledger_engine: Engine) -> None:
    with ledger_engine.begin() as connection:
        ledger.open_batch(connection, BATCH)
        ledger.record_chunks(connection, ledger.ChunkEntry("b1", 0, COUNTS, {}))
        ledger.refuse_batch(connection, "b1", [], "too dirty")
        row = connection.execute(select(ingest_batches)).mappings().one()
        assert (row["status"], row["detail"], row["read"]) == (ledger.REFUSED, "too dirty", 0)
        assert ledger.chunk_profiles(connection, "b1") == []
        assert ledger.open_batch(connection, BATCH) == ledger.PENDING


def test_a_batch_is_held_by_one_at_a_time(ledger_engine: Engine) -> None:
    with locks.locked(ledger_engine, "b1"):
        with (
            pytest.raises(locks.LockHeldError, match="Another run works on b1"),
            locks.locked(ledger_engine, "b1"),
        ):
            pass
        with locks.locked(ledger_engine, "b2"):
            pass
    with locks.locked(ledger_engine, "b1"):
        pass
