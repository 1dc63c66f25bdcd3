import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, func, select

from infra import locks
from infra.database.engine import engine
from infra.database.schema.schema import LEDGER, ingest_batches, ingest_chunks
from models import errors
from tasks.ingest import ledger

BATCH = ledger.Batch("b1", "events", "shop", "/folder", "given")
COUNTS = {"read": 10, "accepted": 5, "quarantined": 2, "duplicate": 1, "suppressed": 1, "routed": 1}
HOLD = """
import sys, time
from infra.database.engine import engine
from infra import locks
with locks.locked(engine(sys.argv[1]), "b1"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def ledger_engine(database: str) -> Engine:
    return engine(database)


def test_a_batch_is_the_sum_of_its_chunks_and_a_repeated_chunk_counts_once(ledger_engine: Engine) -> None:
    with ledger_engine.begin() as connection:
        assert ledger.open_batch(connection, BATCH) == ledger.PENDING
        for chunk in (0, 1, 1):
            ledger.record_chunk(connection, "b1", chunk, COUNTS, {"chunk": chunk})
        assert ledger.chunk_profiles(connection, "b1") == [{"chunk": 0}, {"chunk": 1}]
        assert ledger.close_batch(connection, "b1", []) == {name: 2 * n for name, n in COUNTS.items()}
        entry = ledger.entry(connection, "b1")
        assert entry["status"] == ledger.open_batch(connection, BATCH) == ledger.COMMITTED
        assert entry["read"] == sum(entry[name] for name in LEDGER if name != "read") == 20


@pytest.mark.parametrize("lost", LEDGER)
def test_a_chunk_that_does_not_add_up_is_never_written_down(ledger_engine: Engine, lost: str) -> None:
    with ledger_engine.begin() as connection:
        ledger.open_batch(connection, BATCH)
        with pytest.raises(errors.LedgerError, match="does not add up"):
            ledger.record_chunk(connection, "b1", 0, COUNTS | {lost: COUNTS[lost] - 1}, {})
        assert connection.execute(select(func.count()).select_from(ingest_chunks)).scalar() == 0


def test_a_refused_batch_is_forgotten_but_for_its_reason_and_may_come_again(ledger_engine: Engine) -> None:
    with ledger_engine.begin() as connection:
        ledger.open_batch(connection, BATCH)
        ledger.record_chunk(connection, "b1", 0, COUNTS, {})
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


def test_the_run_that_waits_is_the_next(ledger_engine: Engine) -> None:
    order: list[str] = []

    def second() -> None:
        with locks.locked(ledger_engine, "b1", wait=True):
            order.append("second")

    with ThreadPoolExecutor(1) as pool:
        with locks.locked(ledger_engine, "b1"):
            waiting = pool.submit(second)
            time.sleep(0.2)
            order.append("first")
        waiting.result(timeout=10)
    assert order == ["first", "second"]


def test_a_batch_is_free_again_after_an_error(ledger_engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), locks.locked(ledger_engine, "b1"):
        raise ZeroDivisionError
    with locks.locked(ledger_engine, "b1"):
        pass


def test_a_killed_process_cannot_keep_a_batch(ledger_engine: Engine, database: str) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, database], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(locks.LockHeldError), locks.locked(ledger_engine, "b1"):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    for _ in range(100):
        try:
            with locks.locked(ledger_engine, "b1"):
                return
        except locks.LockHeldError:
            time.sleep(0.05)
    pytest.fail("the batch stayed held")
