import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake.exceptions import DeltaError
from sqlalchemy import func, select, text, update

from expectations.batches import ContractViolationError
from infra import locks
from infra.database.schema.schema import (
    LEDGER,
    identities,
    ingest_batches,
    ingest_chunks,
    quarantine,
    suppressions,
    users,
)
from infra.installation import Installation
from infra.keys.identity import pseudonym
from serving.queries import ledger as books
from serving.terminal import screen
from tasks.ingest import ledger
from tasks.ingest.events.chunk_readers import shape_chunk
from tasks.ingest.events.chunk_writer import write
from tasks.ingest.events.classification import classify, open_context
from tasks.ingest.events.ingest_event_files import ingest_event_files
from tasks.ingest.events.ingest_events import close, ingest_events
from tasks.ingest.ledger import batch_of
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.quality.suites import BatchRefusedError
from tasks.sources import table_files as files
from tasks.sources.mapping_files import table_mapping

Ingest = Callable[..., dict[str, Any]]
ASKING = """
consent = "opt-in"

[events]
file = "orders*.csv"
event_id = "order"
user_id = "user"
item_id = "item"
occurred_at = "at"
constants = { event_type = "purchase" }

[items]
file = "items.csv"
item_id = "item"
title = "title"

[users]
file = "customers.csv"
user_id = "user"
consent = "agreed"
attributes = ["town"]
"""


@pytest.fixture
def ingest(catalogued: Installation, shop: Any) -> Ingest:  # noqa: ARG001 - it has to be there
    """Return the function that ingests the events of the shop, whose catalogue is there already."""
    return lambda mapping="complete_journey": ingest_events.fn(mapping, shop.events_file)


def counts(entry: dict[str, Any]) -> dict[str, int]:
    assert entry["read"] == sum(entry[name] for name in LEDGER if name != "read")
    return {name: entry[name] for name in LEDGER}


def lake(installation: Installation, column: str = "event_id") -> list[Any]:
    tables = [pq.read_table(file, columns=[column], partitioning=None) for file in installation.lake.event_files()]
    return pa.concat_tables(tables)[column].to_pylist() if tables else []


def rows_of(installation: Installation, table: Any) -> int:
    with installation.engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def test_every_row_is_accounted_for_and_every_accepted_event_is_in_the_lake_once(
    installation: Installation, shop: Any, ingest: Ingest
) -> None:
    entry = ingest()
    assert entry["status"] == "committed"
    assert counts(entry) == shop.counts
    events = lake(installation)
    assert len(events) == len(set(events)) == shop.counts["accepted"]


def test_every_row_in_quarantine_waits_there_with_the_rules_it_broke(
    installation: Installation, shop: Any, ingest: Ingest
) -> None:
    batch_id = ingest()["batch_id"]
    caught = text("SELECT rule, count(*) FROM quarantine, unnest(rule_ids) AS rule WHERE batch_id = :b GROUP BY 1")
    with installation.engine.connect() as connection:
        assert dict(connection.execute(caught, {"b": batch_id}).all()) == shop.rules
        row = select(quarantine.c.row_number, quarantine.c.payload).order_by(quarantine.c.row_number)
        stored = connection.execute(row.where(quarantine.c.batch_id == batch_id)).first()
    assert stored is not None
    source = shop.transactions.slice(stored.row_number, 1).to_pylist()[0]
    assert stored.payload["event_id"] == f"{source['basket_id']}-{source['product_id']}"
    assert stored.payload["quantity"] == source["quantity"]


def test_the_same_file_again_changes_nothing(installation: Installation, ingest: Ingest) -> None:
    first = ingest()
    table = installation.lake.events()
    waiting = rows_of(installation, quarantine)
    assert ingest() == first | {"status": "unchanged"}
    again = installation.lake.events()
    assert table is not None
    assert again is not None
    assert again.version() == table.version()
    assert rows_of(installation, quarantine) == waiting


def test_rows_that_came_in_another_file_are_duplicates(installation: Installation, shop: Any, ingest: Ingest) -> None:
    whole = shop.transactions
    shop.write(transactions=whole.slice(0, 1500))
    ingest()
    shop.write(transactions=whole)
    entry = ingest()
    assert counts(entry) == shop.counts | {"duplicate": 1510, "accepted": shop.counts["accepted"] - 1500}
    assert len(set(lake(installation))) == len(lake(installation)) == shop.counts["accepted"]


def test_no_raw_id_reaches_the_lake_the_quarantine_or_the_ledger(
    installation: Installation, shop: Any, ingest: Ingest
) -> None:
    entry = ingest()
    households = {str(h) for h in shop.transactions["household_id"].to_pylist() if h}
    files = [path for path in Path(installation.settings.lake).rglob("*") if path.is_file()]
    stated = [pq.read_table(f, partitioning=None).to_pydict() for f in files if f.suffix == ".parquet"]
    stated += [f.read_text() for f in files if f.suffix == ".json"]
    with installation.engine.connect() as connection:
        for table in (quarantine, ingest_batches, ingest_chunks, users):
            stated += connection.execute(select(table)).all()
    assert entry["batch_id"] in str(stated)
    assert not [household for household in households if household in str(stated)]


def test_a_broken_contract_stores_nothing_but_that_it_was_refused_and_why(
    installation: Installation, shop: Any, ingest: Ingest
) -> None:
    shop.write(transactions=shop.transactions.drop_columns(["sales_value"]))
    with pytest.raises(ContractViolationError, match="sales_value"):
        ingest()
    refused = select(ingest_batches.c.status, ingest_batches.c.detail).where(ingest_batches.c.dataset == "events")
    with installation.engine.connect() as connection:
        [(status, why)] = connection.execute(refused)
    assert (status, "column 'sales_value' is missing" in why) == ("refused", True)
    assert installation.lake.events() is None
    shop.write(transactions=shop.transactions)
    assert ingest()["status"] == "committed"


def test_a_refused_batch_leaves_no_row_and_its_fixed_file_is_ingested(
    installation: Installation, shop: Any, ingest: Ingest
) -> None:
    sound, half = shop.transactions, len(shop.transactions) // 2
    dirty = sound.slice(0, half).set_column(4, "sales_value", pa.array([0.0] * half))
    shop.write(transactions=pa.concat_tables([dirty, sound.slice(half)]))
    with pytest.raises(BatchRefusedError, match=r"value_not_positive.*quarantined_share"):
        ingest()
    assert lake(installation) == []
    assert rows_of(installation, users) == rows_of(installation, identities) == 0
    with installation.engine.connect() as connection:
        refused = connection.execute(select(ingest_batches).where(ingest_batches.c.dataset == "events")).one()
    assert (refused.status, refused.accepted, "value_not_positive" in refused.detail) == ("refused", 0, True)
    shop.write(transactions=sound)
    assert counts(ingest()) == shop.counts
    assert len(lake(installation)) == shop.counts["accepted"]


def test_a_sample_leaves_out_items_that_are_no_goods(shop: Any, ingest: Ingest) -> None:
    rows = shop.transactions
    fuel = pc.cast(pc.fill_null(pc.equal(rows["product_id"], 600_000), False), pa.bool_())
    shop.write(transactions=pa.concat_tables([rows, *[rows.filter(fuel)] * 40]))
    entry = ingest()
    assert (entry["status"], entry["accepted"]) == ("committed", shop.counts["accepted"])


def test_two_files_with_the_same_events_at_once_bring_each_event_once(installation: Installation, shop: Any) -> None:
    whole = shop.transactions
    ingest_items.fn("complete_journey", shop.items_file)
    other = shop.folder.parent / "other"
    shutil.copytree(shop.folder, other)
    pq.write_table(whole.slice(0, 1500), other / "transactions.parquet")
    with ThreadPoolExecutor(2) as pool:
        files = (shop.events_file, str(other / "transactions.parquet"))
        runs = [pool.submit(ingest_events.fn, "complete_journey", file) for file in files]
        entries = [counts(run.result()) for run in runs]
    assert sum(entry["accepted"] for entry in entries) == shop.counts["accepted"]
    assert len(set(lake(installation))) == len(lake(installation)) == shop.counts["accepted"]


def test_a_batch_that_is_being_ingested_is_left_alone(installation: Installation, shop: Any, ingest: Ingest) -> None:
    batch = batch_of(table_mapping("complete_journey", None), "events", Path(shop.events_file), shop.events_file)
    with locks.locked(installation.engine, batch.batch_id), pytest.raises(locks.LockHeldError):
        ingest()
    assert counts(ingest()) == shop.counts


def test_of_suppressed_users_nothing_is_stored(installation: Installation, shop: Any, ingest: Ingest) -> None:
    household = shop.transactions["household_id"][0].as_py()
    key = pseudonym(str(household), installation.key)
    with installation.engine.begin() as connection:
        connection.execute(suppressions.insert().values(user_key=key, reason="left"))
    entry = ingest()
    theirs = shop.transactions["household_id"].to_pylist().count(household)
    assert counts(entry)["suppressed"] == theirs
    assert key not in lake(installation, "user_key")
    with installation.engine.connect() as connection:
        for table in (users, identities):
            assert connection.execute(select(table).where(table.c.user_key == key)).first() is None
        payload = quarantine.c.payload["user_key"].astext
        assert connection.execute(select(quarantine).where(payload == key)).first() is None


def test_consent_that_was_withdrawn_stays_withdrawn(installation: Installation, shop: Any, ingest: Ingest) -> None:
    shop.write(transactions=shop.transactions.slice(0, 1000))
    ingest()
    household = shop.transactions["household_id"][0].as_py()
    own = users.c.user_key == pseudonym(str(household), installation.key)
    with installation.engine.begin() as connection:
        connection.execute(update(users).where(own).values(consent=False))
    others = shop.transactions.slice(1000)
    shop.write(transactions=others)
    assert ingest()["suppressed"] == others["household_id"].to_pylist().count(household)
    with installation.engine.connect() as connection:
        assert connection.execute(select(users.c.consent).where(own)).scalar() is False


def test_a_lake_that_fails_after_postgres_committed_is_made_good_by_the_next_run(
    installation: Installation, shop: Any, ingest: Ingest
) -> None:
    obstacle = Path(installation.settings.lake) / "events" / "month=2017-05"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("a file where a folder should be")
    with pytest.raises((DeltaError, OSError)):
        ingest()
    assert rows_of(installation, ingest_chunks) == 2  # the catalogue's, and the one that the lake lacks
    obstacle.unlink()
    assert counts(ingest()) == shop.counts
    assert len(set(lake(installation))) == len(lake(installation)) == shop.counts["accepted"]


@pytest.mark.parametrize("done", range(5))
def test_over_many_chunks_a_run_that_stopped_anywhere_is_finished_by_the_next(
    installation: Installation, shop: Any, ingest: Ingest, done: int
) -> None:
    mapping, path = table_mapping("complete_journey", None), Path(shop.events_file)
    batch = batch_of(mapping, "events", path, shop.events_file)
    with installation.engine.begin() as connection:
        ledger.open_batch(connection, batch)
    chunks = list(files.chunks(path, shop.transactions.column_names, 450))
    for until in (done, len(chunks)):
        context, run = open_context(installation, mapping, batch)
        shaped = [shape_chunk(installation, mapping, rows) for rows in chunks]
        classified = [classify(context, run, chunk) for chunk in shaped]
        for number in range(installation.lake.committed_chunk(batch.batch_id) + 1, until):
            write(context, run, shaped[number], classified[number], number)
    close(context, pa.concat_tables([chunk.sample(450) for chunk in classified]))
    assert counts(ingest()) == shop.counts
    assert len(set(lake(installation))) == len(lake(installation)) == shop.counts["accepted"]


def test_a_user_with_purchases_of_services_only_is_known_and_one_outside_the_window_is_not(
    installation: Installation, shop: Any
) -> None:
    ingest_items.fn("complete_journey", shop.items_file)
    rows = shop.transactions.to_pylist()
    fuel = next(row for row in rows if row["product_id"] == 600_000)
    late = next(row for row in rows if row["transaction_timestamp"].year == 2017 and row is not fuel)
    fuel["household_id"], late["household_id"] = 1, 2
    late["transaction_timestamp"] = late["transaction_timestamp"].replace(year=2016)
    shop.write(transactions=pa.Table.from_pylist(rows, shop.transactions.schema))
    ingest_events.fn("complete_journey", shop.events_file, {"from": "2017-01-01"})
    with installation.engine.connect() as connection:
        known = set(connection.execute(select(identities.c.user_id)).scalars())
    assert ("1" in known, "2" in known) == (True, False)


@pytest.fixture
def answered(installation: Installation, tmp_path: Path) -> Path:  # noqa: ARG001 - it has to be there
    """Create a shop with 40 customers, of which every fourth refuses."""
    (tmp_path / "shop.toml").write_text(ASKING)
    (tmp_path / "items.csv").write_text("item,title\n" + "".join(f"cup{n},Cup {n}\n" for n in range(30)))
    answers = "".join(f"ann{n},{'no' if n % 4 == 0 else 'yes'},Ulm\n" for n in range(40))
    (tmp_path / "customers.csv").write_text("user,agreed,town\n" + answers)
    ingest_items.fn(str(tmp_path / "shop.toml"), str(tmp_path / "items.csv"))
    ingest_users.fn(str(tmp_path / "shop.toml"), str(tmp_path / "customers.csv"))
    return tmp_path


def orders(answered: Path, name: str, users: list[str], item: str = "cup") -> str:
    rows = [f"{name}{n},{user},{item}{n % 30},2024-06-03T10:00:00Z" for n, user in enumerate(users)]
    (answered / f"orders-{name}.csv").write_text("\n".join(["order,user,item,at", *rows]) + "\n")
    return str(answered / f"orders-{name}.csv")


def bring(answered: Path, name: str, users: list[str], item: str = "cup") -> dict[str, Any]:
    line: dict[str, Any] = ingest_events.fn(str(answered / "shop.toml"), orders(answered, name, users, item))
    return line


CUSTOMERS = [f"ann{n}" for n in range(40)]
STRANGERS = [f"bob{n}" for n in range(40)]


def test_a_file_of_another_shop_is_pointed_out_in_the_result_and_the_ledger(
    installation: Installation, answered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = bring(answered, "a", STRANGERS, "pan")
    assert (line["accepted"], line["suppressed"]) == (0, 40)
    requested = "None of its 40 users and none of its items is known: is it another shop's file?"
    assert requested in line["detail"]
    assert requested in books.ledger(installation.engine)[0]["detail"]
    screen.show("ingest", [line | {"file": "orders-a.csv"}])
    assert requested in " ".join(capsys.readouterr().out.split())


def test_customers_who_refused_are_distinguished_from_users_who_never_answered(answered: Path) -> None:
    assert bring(answered, "a", CUSTOMERS)["detail"] is None
    line = bring(answered, "b", [*CUSTOMERS, *STRANGERS[:5]])
    assert (line["accepted"], line["suppressed"]) == (30, 15)
    assert line["detail"] == "5 suppressed rows are of users whose answer about consent is not known."


def test_an_empty_answer_in_the_file_of_users_is_no_refusal(answered: Path) -> None:
    (answered / "more.csv").write_text("user,agreed,town\nbob0,,Ulm\nbob1,no,Ulm\nbob2,yes,Ulm\n")
    ingest_users.fn(str(answered / "shop.toml"), str(answered / "more.csv"))
    line = bring(answered, "a", STRANGERS[:4])
    assert (line["accepted"], line["suppressed"]) == (1, 3)
    assert line["detail"] == "2 suppressed rows are of users whose answer about consent is not known."


def test_some_new_users_and_the_first_file_of_all_raise_no_question(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text(ASKING.replace('"opt-in"', '"given"\nconsent_note = "by the terms"'))
    (tmp_path / "items.csv").write_text("item,title\n" + "".join(f"cup{n},Cup {n}\n" for n in range(30)))
    ingest_items.fn(str(tmp_path / "shop.toml"), str(tmp_path / "items.csv"))
    assert bring(tmp_path, "a", STRANGERS)["detail"] is None
    assert bring(tmp_path, "b", [*CUSTOMERS, STRANGERS[0]])["detail"] is None
    assert bring(tmp_path, "c", ["cleo"])["detail"] is None
    assert "None of its 40 users is known" in bring(tmp_path, "d", [f"eve{n}" for n in range(40)])["detail"]
    assert len(books.ledger(installation.engine)) == 5


def test_files_of_a_group_are_pointed_out_one_by_one(answered: Path) -> None:
    files = [orders(answered, "a", CUSTOMERS), orders(answered, "b", STRANGERS), orders(answered, "c", STRANGERS)]
    lines = ingest_event_files.fn(str(answered / "shop.toml"), files)["lines"]
    assert [("is it another shop's file" in (line["detail"] or "")) for line in lines] == [False, True, True]
