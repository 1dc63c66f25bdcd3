"""The register of stores is complete: it is compared with the tables, the lake, `var` and the services' own names."""

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from mlflow.server.auth.db.models import Base as MlflowUsers
from mlflow.store.tracking.dbmodels.models import Base as Mlflow
from prefect.server.database.orm_models import Base as Prefect
from sqlalchemy import text

from infra.database.schema.privacy_schema import RESTRICT
from infra.installation import Installation
from infra.registry.client import MODEL_PATH
from serving.events.spool import FOLDER as SPOOL
from serving.stores.shared_loads import cache_key
from serving.stream.delivery import EXCHANGE, QUEUE
from tasks.monitoring.audit import audit_lists
from tasks.privacy.register import COLUMNS, FIELDS, STORES, USER_KEYS, Place
from tasks.privacy.requests import ask
from tasks.promotion.recorded_bundles import EVALUATION_PATH
from tasks.review import review_models
from tasks.training import train_model
from tasks.tuning import mlflow_record
from tests.tasks.privacy.stores import keys_of, person

BY_OTHER_MEANS = {"ingest_repeats", "quarantine_repeats", "event_inbox"}
"""Tables whose rows an erasure finds by an event or a content, or blanks."""
OF_BATCHES = {"recommendations", "batch_users", "batch_items", "batch_reasons"}


def patterns(place: Place) -> list[str]:
    return [name for store in STORES if store.place is place for name in store.names.split()]


def unknown(names: set[str], place: Place) -> set[str]:
    """The names that no entry matches."""
    return {name for name in names if not any(fnmatchcase(name, known) for known in patterns(place))}


def tables_of(installation: Installation) -> set[str]:
    statement = text(
        "SELECT CASE schemaname WHEN 'public' THEN '' ELSE schemaname || '.' END || relname FROM pg_stat_user_tables "
        "WHERE NOT (SELECT relispartition FROM pg_class WHERE pg_class.oid = relid)"
    )
    with installation.engine.connect() as connection:
        return set(connection.execute(statement).scalars())


def columns_with(installation: Installation, keys: set[str]) -> Iterator[tuple[str, str]]:
    """The columns of all tables in which one of the keys is."""
    with installation.engine.connect() as connection:
        for table in tables_of(installation):
            for row in connection.execute(text(f"SELECT to_jsonb(entry) FROM {table} AS entry")).scalars():
                yield from ((table, name) for name, value in row.items() if keys & {*_words(value)})


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _words(inner)
    else:
        yield str(value)


def test_every_table_has_an_entry_and_every_entry_a_table(small: Installation) -> None:
    tables = tables_of(small) | OF_BATCHES
    assert unknown(tables, Place.DATABASE) == set()
    assert {name for name in patterns(Place.DATABASE) if "*" not in name} <= tables


def test_every_column_that_holds_users_is_registered_as_one(published: Any) -> None:
    ask(published.here, RESTRICT, [person(published, 2)], "ann", "asked by mail")
    known = {(one.table, one.column) for one in COLUMNS} | {(table, column) for table, column, _ in FIELDS}
    found = {*columns_with(published.here, {*keys_of(published.here).values()})}
    assert {table for table, _ in found} > {"users", "segments", "suppressions", "ingest_statements"}
    assert {(table, name) for table, name in found - known if table not in BY_OTHER_MEANS | OF_BATCHES} == set()
    registered = {table for table, _ in known}
    assert registered <= {name for store in STORES if store.holds for name in store.names.split()}


def test_every_table_of_the_lake_and_every_column_of_it_with_users_has_an_entry(published: Any) -> None:
    lake, keys = Path(published.here.settings.lake), {*keys_of(published.here).values()}
    assert unknown({path.name for path in lake.iterdir()}, Place.LAKE) == set()
    found = set()
    for file in lake.rglob("*.parquet"):
        rows = pq.ParquetFile(file).read()
        found |= {name for name in rows.column_names if keys & {*map(str, rows[name].to_pylist())}}
    assert found
    assert found <= {*USER_KEYS}


def test_every_folder_of_var_has_an_entry(published: Any) -> None:
    made = {path.name for path in published.here.settings.var.iterdir() if not path.name.startswith("draft-")}
    assert made > {"lake", "bundles"}
    assert unknown(made | {SPOOL}, Place.VAR) == set()


def test_the_services_have_entries_for_all_their_tables_keys_topics_and_artifacts() -> None:
    assert unknown({*Prefect.metadata.tables}, Place.PREFECT) == set()
    assert unknown({*Mlflow.metadata.tables, *MlflowUsers.metadata.tables}, Place.MLFLOW) == set()
    assert unknown({cache_key("home", 1, 2, "list", "u1")}, Place.REDIS) == set()
    assert unknown({QUEUE, f"{QUEUE}.dead", EXCHANGE}, Place.BROKER) == set()
    folders = {MODEL_PATH, EVALUATION_PATH, train_model.PATH, mlflow_record.PLOTS}
    assert unknown(folders | {audit_lists.FOLDER, review_models.FOLDER}, Place.ARTIFACTS) == set()


def test_no_two_entries_name_the_same_store() -> None:
    for place in Place:
        assert len(patterns(place)) == len({*patterns(place)}), json.dumps(patterns(place))
