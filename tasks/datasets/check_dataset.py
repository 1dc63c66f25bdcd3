"""Checks a data set: ranges, rows by the counts of the lake, nulls by source, and who is in it."""

from dataclasses import dataclass
from typing import Any, Final

import duckdb
import pyarrow as pa
from sqlalchemy import select

from expectations import datasets as promises
from expectations.dataset_sentences import Comparison, sentence
from infra.database.schema.schema import datasets
from infra.installation import Installation
from models import columns
from models.datasets.acceptance import Acceptance, AcceptanceRefusedError
from models.features.segments.trait_groups import groups
from models.features.tables.registry import TABLES
from tasks.datasets.lake_counts import lake_counts
from tasks.datasets.null_shares import null_shares
from tasks.orchestration.run_artifacts import link_docs
from tasks.quality.suites import BatchExpectations, BatchRefusedError, judge

SAMPLE_ROWS: Final = 10_000
Stored = dict[str, str]
"""SQL for each table of a data set."""
Figures = dict[str, float | None]
Manifest = dict[str, Any]
_WAY_OUT: Final = (
    'Correct the data and ingest them again. Or use them as they are: the same command with {options} --reason "…" '
    "records that (in the form: `accept` and `reason`)."
)


@dataclass(frozen=True)
class Draft:
    """The tables of a data set that is written and not entered yet."""

    version: str
    connection: duckdb.DuckDBPyConnection
    """The workspace, with the tables that say which events count."""
    stored: Stored
    users: pa.Table
    files: list[str]
    """The events of the lake."""


def check_dataset(installation: Installation, draft: Draft, acceptance: Acceptance) -> Manifest:
    """Return what the manifest records of the checks: figures, counts of the lake, nulls, warnings and acceptances.

    Raises BatchRefusedError for a data set that fails a check nobody accepted, with the page that shows why.
    """
    shares, previous = groups(draft.users, _trained(draft)), _previous(installation)
    lake = lake_counts(installation, draft.connection, draft.files)
    nulls = null_shares(installation, draft.connection, draft.stored)
    rises = promises.null_rises(nulls, previous.get("null_shares") or {})
    found = promises.figures(_counted(draft), shares, previous.get("figures"), lake)
    found |= {f"null_rise_{feature}": rise for feature, (rise, _) in rises.items()}
    limits = promises.bounds(groups=shares, limits=installation.settings.dataset)
    samples = promises.sample({name: _sampled(draft, name) for name in promises.TABLES})
    failed = _failed(
        draft.version, BatchExpectations(promises.rules(), limits, _optional(acceptance, limits)), samples, found
    )
    compared = Comparison(
        found,
        previous.get("figures") or {},
        lake,
        previous.get("lake") or {},
        {feature: source for feature, (_, source) in rises.items()},
    )
    sentences = {check: _sentence(finding, limits, compared) for check, finding in failed.items()}
    refused = [check for check in failed if not promises.warns(check) and check not in acceptance.checks]
    page = link_docs({"batch_id": draft.version, "dataset": "dataset", "status": "refused" if refused else "passed"})[
        "data_docs"
    ]
    if refused:
        raise BatchRefusedError(_refusal(draft.version, {check: sentences[check] for check in refused}, page))
    return {
        "figures": found,
        "lake": lake,
        "null_shares": nulls,
        "warnings": [sentences[check] for check in failed if check not in acceptance.checks],
        "accepted": [
            _record(failed[check], sentences[check], acceptance) for check in failed.keys() & {*acceptance.checks}
        ],
    }


def _optional(acceptance: Acceptance, limits: promises.Limited) -> frozenset[str]:
    """Return the checks that do not refuse this data set."""
    return frozenset(acceptance.checks) | frozenset(check for check in limits if promises.warns(check))


def _failed(version: str, held: BatchExpectations, samples: pa.Table, found: Figures) -> dict[str, dict[str, Any]]:
    """Return the findings of the checks that fail, by their names."""
    findings = judge(version, "dataset", held, samples, found)
    return {finding["rule_id"]: finding for finding in findings if not finding["passed"]}


def check_acceptance(acceptance: Acceptance) -> None:
    """Raise AcceptanceRefusedError for names that are no checks, or that nobody can accept."""
    known = {*promises.bounds(), *(rule.id for rule in promises.rules())}
    unknown = [check for check in acceptance.checks if check not in known and not check.startswith("group_")]
    needed = [check for check in acceptance.checks if check in known and not promises.acceptable(check)]
    if unknown:
        raise AcceptanceRefusedError(
            f"No check is called {', '.join(unknown)}. Copy the name from the message of the refusal."
        )
    if needed:
        raise AcceptanceRefusedError(
            f"{', '.join(needed)} cannot be accepted: nothing can be learned from such data. Correct the data and "
            "ingest them again."
        )


def _sentence(finding: dict[str, Any], limits: promises.Limited, compared: Comparison) -> str:
    check = finding["rule_id"]
    if check in limits:
        return sentence(check, finding["value"], limits[check], compared)
    return f"{check}: {finding['broken']} of {finding['of']} sampled rows break it; none may"


def _refusal(version: str, sentences: dict[str, str], page: str) -> str:
    """Return which checks failed, their limits, and the way out."""
    options = " ".join(f"--accept {_argument(check)}" for check in sentences if promises.acceptable(check))
    fixed = [check for check in sentences if not promises.acceptable(check)]
    way_out = "Correct the data and ingest them again." if fixed else _WAY_OUT.format(options=options)
    return (
        f"The data set {version} is refused: {'; '.join(sentences.values())}. {way_out}{page and f' Its page: {page}'}"
    )


def _argument(check: str) -> str:
    """Return a check's name as an argument of a shell."""
    return f"'{check}'" if " " in check else check


def _record(finding: dict[str, Any], words: str, acceptance: Acceptance) -> dict[str, Any]:
    """Return what is recorded of an accepted check."""
    said = {"check": finding["rule_id"], "value": finding["value"], "detail": words}
    return said | {"reason": acceptance.reason, "accepted_by": acceptance.accepted_by}


def _counted(draft: Draft) -> dict[str, float]:
    """Every figure that the suite looks at, each table read once."""
    wanted: dict[str, dict[str, str]] = {"interactions": dict(promises.INTERACTIONS)}
    for name, features in promises.TABLES.items():
        keys = TABLES[name].keys
        wanted[name] = promises.aggregates(name, features, (columns.AS_OF, *keys) if len(keys) == 1 else ())
    found: dict[str, float] = {}
    for name, aggregates in wanted.items():
        chosen = ", ".join(aggregates.values())
        values = draft.connection.execute(f"SELECT {chosen} FROM {draft.stored[name]}").fetchall()[0]
        found |= {figure: float(value) for figure, value in zip(aggregates, values, strict=True) if value is not None}
    return found


def _trained(draft: Draft) -> Any:
    """The users whose purchases are learned from."""
    bought = f"SELECT DISTINCT user_key FROM {draft.stored['interactions']}"
    return draft.connection.sql(bought).to_arrow_table()["user_key"].combine_chunks()


def _sampled(draft: Draft, name: str) -> pa.Table:
    rows = f"SELECT * FROM {draft.stored[name]} USING SAMPLE reservoir({SAMPLE_ROWS} ROWS) REPEATABLE (7)"
    return draft.connection.sql(rows).to_arrow_table()


def _previous(installation: Installation) -> Manifest:
    """Return the manifest of the last data set; empty before the first."""
    newest = select(datasets.c.manifest).order_by(datasets.c.created_at.desc()).limit(1)
    with installation.engine.connect() as connection:
        found: Manifest | None = connection.execute(newest).scalar()
    return found or {}
