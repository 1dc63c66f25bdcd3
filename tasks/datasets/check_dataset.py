"""Checks a data set: ranges, row counts against the lake, nulls by source, and its groups of users."""

from collections.abc import Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Any, Final

import duckdb
import pyarrow as pa
from sqlalchemy import Table, func, select

from expectations import datasets as promises
from infra.database.bulk_copy import read_table
from infra.database.schema.schema import ingest_batches, items, users
from infra.installation import Installation
from infra.overview.situation import REFERENCE
from models import columns
from models.datasets.acceptance import Acceptance
from models.errors import TailorbirdError
from models.features.segments.trait_clusters import groups
from models.features.tables.registry import TABLES
from tasks.datasets.load_dataset import AcceptedCheck, CheckRecord, stored_manifest
from tasks.ingest.ledger import COMMITTED
from tasks.lake.event_query import EventQuery, of_type
from tasks.orchestration.run_artifacts import link_docs
from tasks.quality.findings import Finding
from tasks.quality.suites import BatchExpectations, BatchRefusedError, validate_batch

SAMPLE_ROWS: Final = 10_000
Stored = dict[str, str]
"""SQL of each table of a data set."""
Figures = dict[str, float | None]
_NEXT_STEPS: Final = (
    'Correct the data and ingest them again. Or use them as they are: the same command with {options} --reason "…" '
    "records that (in the form: `accept` and `reason`)."
)
_EVENTS: Final = """
    SELECT count(*) FROM read_parquet($files, union_by_name = true) JOIN batches USING (batch_id)
"""
# Refunds are included: they are matched when a data set is built, and no row count reflects that.
_PURCHASES: Final = (
    EventQuery()
    .where(of_type(columns.PURCHASE), f"event.item_id <> '{columns.WHOLE_ORDER}'")
    .where(f"{EventQuery.USER} IN (SELECT user_key FROM users)")
    .select(f"count(*), count(DISTINCT {EventQuery.USER}), count(DISTINCT event.item_id)")
)
_DESCRIBED_BY: Final = {columns.USER_KEY: users, columns.ITEM_ID: items}
_KEYS: Final = {
    "user_features": columns.USER_KEY,
    "item_features": columns.ITEM_ID,
    "pair_features": columns.ITEM_ID,  # its users may come from several sources; prices come from the catalogue
}


@dataclass(frozen=True)
class Draft:
    """The tables of a data set that is written but has no manifest yet."""

    version: str
    connection: duckdb.DuckDBPyConnection
    """The workspace, with the tables that state which events count."""
    stored: Stored
    users: pa.Table
    files: list[str]
    """The files of the lake's events."""


def check_dataset(installation: Installation, draft: Draft, acceptance: Acceptance) -> CheckRecord:
    """Return the results of the checks for the manifest: figures, counts of the lake, nulls, warnings and acceptances.

    Raises BatchRefusedError with the page of the results if a check fails that `acceptance` does not name.
    """
    bought = f"SELECT DISTINCT user_key FROM {draft.stored['interactions']}"
    trained = draft.connection.sql(bought).to_arrow_table()["user_key"].combine_chunks()
    shares = groups(draft.users, trained)
    previous: Mapping[str, Any] = stored_manifest(installation) or {}
    lake = lake_counts(installation, draft.connection, draft.files)
    nulls = null_shares(installation, draft.connection, draft.stored)
    before = previous.get("figures")
    rises = promises.null_rises(nulls, previous.get("null_shares") or {})
    figures = promises.figures(_counted(draft), shares, before, lake)
    figures |= {f"null_rise_{feature}": rise for feature, (rise, _) in rises.items()}
    limits = promises.bounds(groups=shares, limits=installation.settings.dataset)
    samples = promises.sample({name: _sampled(draft, name) for name in promises.TABLES})
    optional = frozenset(acceptance.checks) | frozenset(check for check in limits if promises.warns(check))
    expected = BatchExpectations(promises.rules(), limits, optional)
    findings = validate_batch(draft.version, "dataset", expected, samples, figures)
    failed = {finding["rule_id"]: finding for finding in findings if not finding["passed"]}
    compared = promises.Comparison(
        figures,
        before or {},
        lake,
        previous.get("lake") or {},
        {feature: source for feature, (_, source) in rises.items()},
    )
    sentences = {check: _sentence(finding, limits, compared) for check, finding in failed.items()}
    refused = [check for check in failed if not promises.warns(check) and check not in acceptance.checks]
    status = "refused" if refused else "passed"
    page = link_docs({"batch_id": draft.version, "dataset": "dataset", "status": status})["data_docs"]
    if refused:
        raise BatchRefusedError(_refusal(draft.version, {check: sentences[check] for check in refused}, page))
    return {
        "figures": figures,
        "lake": lake,
        "null_shares": nulls,
        "warnings": [sentences[check] for check in failed if check not in acceptance.checks],
        "accepted": [
            _record(failed[check], sentences[check], acceptance) for check in failed.keys() & {*acceptance.checks}
        ],
    }


def check_acceptance(acceptance: Acceptance) -> None:
    """Raise TailorbirdError for unknown checks, and for checks that cannot be accepted."""
    known = {*promises.bounds(), *(rule.id for rule in promises.rules())}
    unknown = [check for check in acceptance.checks if check not in known and not check.startswith("group_")]
    fixed = [check for check in acceptance.checks if check in known and not promises.acceptable(check)]
    if unknown:
        raise TailorbirdError(
            f"No check is called {', '.join(unknown)}. Copy the name from the message of the refusal."
        )
    if fixed:
        raise TailorbirdError(
            f"{', '.join(fixed)} cannot be accepted: nothing can be learned from such data. Correct the data and "
            "ingest them again."
        )


def _sentence(finding: Finding, limits: promises.Limited, compared: promises.Comparison) -> str:
    check = finding["rule_id"]
    if check in limits:
        return promises.sentence(check, finding["value"], limits[check], compared)
    return f"{check}: {finding['broken']} of {finding['of']} sampled rows break it; none may"


def _refusal(version: str, sentences: dict[str, str], page: str) -> str:
    """Return the message with the failed checks, their limits, and possible next steps."""
    options = " ".join(f"--accept {quote(check)}" for check in sentences if promises.acceptable(check))
    fixed = [check for check in sentences if not promises.acceptable(check)]
    next_steps = "Correct the data and ingest them again." if fixed else _NEXT_STEPS.format(options=options)
    failures = "; ".join(sentences.values())
    return f"The data set {version} is refused: {failures}. {next_steps}{page and f' Its page: {page}'}"


def _record(finding: Finding, detail: str, acceptance: Acceptance) -> AcceptedCheck:
    """Return the record of an accepted check."""
    return {
        "check": finding["rule_id"],
        "value": finding["value"],
        "detail": detail,
        "reason": acceptance.reason,
        "accepted_by": acceptance.accepted_by,
    }


def _counted(draft: Draft) -> dict[str, float]:
    """Return every figure that the suite checks; each table is read once."""
    by_table: dict[str, dict[str, str]] = {"interactions": dict(promises.INTERACTIONS)}
    for name, features in promises.TABLES.items():
        keys = TABLES[name].keys
        by_table[name] = promises.aggregates(name, features, (columns.AS_OF, *keys) if len(keys) == 1 else ())
    figures: dict[str, float] = {}
    for name, aggregates in by_table.items():
        chosen = ", ".join(aggregates.values())
        values = draft.connection.execute(f"SELECT {chosen} FROM {draft.stored[name]}").fetchall()[0]
        figures |= {figure: float(value) for figure, value in zip(aggregates, values, strict=True) if value is not None}
    return figures


def _sampled(draft: Draft, name: str) -> pa.Table:
    rows = f"SELECT * FROM {draft.stored[name]} USING SAMPLE reservoir({SAMPLE_ROWS} ROWS) REPEATABLE (7)"
    return draft.connection.sql(rows).to_arrow_table()


def lake_counts(
    installation: Installation, connection: duckdb.DuckDBPyConnection, files: list[str]
) -> dict[str, float | None]:
    """Return the purchases in the lake of users with consent and on merchandise, with their users and items.

    `events` counts all events of committed batches, and `ledger` those that the ledger records as accepted and not as
    deleted since. The tables
    of `connection` state which batches, users and items count.
    """
    rows, users, items = connection.execute(_PURCHASES, {"files": files}).fetchall()[0]
    ((events,),) = connection.execute(_EVENTS, {"files": files}).fetchall()
    entry = ingest_batches.c
    accepted = select(func.sum(entry.accepted - entry.deleted)).where(
        entry.status == COMMITTED, entry.dataset.not_in(REFERENCE)
    )
    with installation.engine.connect() as database:
        ledger = database.execute(accepted).scalar()
    return {
        "rows_interactions": float(rows),
        "users": float(users),
        "items": float(items),
        "events": float(events),
        "ledger": float(ledger or 0),
    }


def null_shares(
    installation: Installation, connection: duckdb.DuckDBPyConnection, stored: dict[str, str]
) -> dict[str, dict[str, float]]:
    """Return the share of empty values by source and by feature, as `<table>_<feature>`.

    The source of a user or an item is the source of the last batch with its attributes.
    """
    sources = _sources(installation)
    described = (
        {} if len(sources) < 2 else {key: _described(installation, table) for key, table in _DESCRIBED_BY.items()}
    )
    shares_by_source: dict[str, dict[str, float]] = {}
    for table, features in promises.TABLES.items():
        names = [feature.name for feature in features]
        shares = ", ".join(f'1 - count("{name}") / count(*)' for name in names)
        if described:
            connection.register("described", described[_KEYS[table]])
            rows = f"{stored[table]} JOIN described ON described.key = {_KEYS[table]}"
            lines = connection.execute(f"SELECT source, {shares} FROM {rows} GROUP BY source").fetchall()
            connection.unregister("described")
        else:
            total = connection.execute(f"SELECT {shares} FROM {stored[table]} HAVING count(*) > 0").fetchall()
            lines = [(source, *line) for source in sources for line in total]
        for source, *values in lines:
            shares_by_source.setdefault(source, {}).update(
                {f"{table}_{name}": float(value) for name, value in zip(names, values, strict=True)}
            )
    return shares_by_source


def _sources(installation: Installation) -> list[str]:
    """Return the sources of committed batches."""
    query = select(ingest_batches.c.source).where(ingest_batches.c.status == COMMITTED).distinct()
    with installation.engine.connect() as database:
        return sorted(database.execute(query).scalars())


def _described(installation: Installation, table: Table) -> pa.Table:
    """Return the source of each user or item."""
    key = table.primary_key.columns.values()[0]
    rows = select(key.label("key"), ingest_batches.c.source).join_from(
        table, ingest_batches, ingest_batches.c.batch_id == table.c.batch_id
    )
    with installation.engine.connect() as database:
        return read_table(database, rows, {"key": pa.string(), "source": pa.string()})
