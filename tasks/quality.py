"""Runs Great Expectations suites on a sample of rows and on a batch's profile."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import great_expectations as gx
import pandas as pd
import pyarrow as pa
from great_expectations.data_context.types.base import ProgressBarsConfig

from expectations.contract import profile_suite
from expectations.rules import RowRule, row_suite
from models.errors import TailorbirdError
from tasks import data_docs

Findings = list[dict[str, Any]]
Bounds = Mapping[str, tuple[float | None, float | None]]
_PROFILE = " batch"
"""How the name of a suite for a profile ends."""
_LONGEST = 100
"""Characters of an example; the ledger keeps it, and a hostile file may hold megabytes in one value."""

for _name in ("great_expectations", "great_expectations.data_context.types.base"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class BatchRefusedError(TailorbirdError):
    """A batch whose data are not what they should be, as a whole."""


@dataclass(frozen=True)
class Promises:
    """What a data set promises: per row, and for a batch as a whole."""

    rules: tuple[RowRule, ...]
    bounds: Bounds


def judge(
    batch_id: str, dataset: str, promises: Promises, sample: pa.Table, figures: Mapping[str, float | None]
) -> Findings:
    """What the suites find in a sample of the rows and in the batch's figures; the batch's Data Docs show it too.

    A figure that is missing, None or NaN breaks nothing: there is nothing to say about it.
    """
    profile = one_row(dict.fromkeys(promises.bounds) | dict(figures))
    results = _results(
        (row_suite(f"{dataset} rows", promises.rules), sample.to_pandas()),
        (profile_suite(f"{dataset}{_PROFILE}", promises.bounds), profile),
    )
    findings = [_finding(result.suite_name, found) for result in results for found in result.results]
    meanings = {rule.id: rule.meaning for rule in promises.rules}
    data_docs.publish(data_docs.Judgement(batch_id, dataset, findings, meanings, figures, results))
    return findings


def validate(suite: Any, rows: pa.Table | pd.DataFrame) -> Findings:
    """What each expectation of the suite found in `rows`: rule id, verdict, how many rows broke it."""
    frame = rows if isinstance(rows, pd.DataFrame) else rows.to_pandas()
    (result,) = _results((suite, frame))
    return [_finding(suite.name, found) for found in result.results]


def one_row(figures: Mapping[str, float | None]) -> pd.DataFrame:
    """A batch's figures as the frame that a profile suite looks at."""
    return pd.DataFrame({name: [value] for name, value in figures.items()}, index=[0], dtype=float)


def refusal(findings: Findings, quarantined: Mapping[str, int] = MappingProxyType({})) -> str | None:
    """Why the batch is refused, or None when every expectation holds; with the rules that most of its rows broke."""
    failed = [f"{finding['rule_id']} ({_reason(finding)})" for finding in findings if not finding["passed"]]
    if not failed:
        return None
    most = sorted(quarantined.items(), key=lambda rule: -rule[1])[:3]
    broken = f" Rows broke {', '.join(f'{rule} ({count:,})' for rule, count in most)}." if most else ""
    return f"Its data break what the suite expects: {'; '.join(failed)}.{broken}"


def _results(*suites: tuple[Any, pd.DataFrame]) -> list[Any]:
    """One validation result per suite and frame, all in one context that leaves nothing behind."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("batch")
    results = []
    for suite, frame in suites:
        definition = source.add_dataframe_asset(suite.name).add_batch_definition_whole_dataframe("all")
        batch = definition.get_batch(batch_parameters={"dataframe": frame})
        results.append(batch.validate(suite, result_format="BASIC"))
    return results


def _finding(suite: str, result: Any) -> dict[str, Any]:
    expectation = result.expectation_config
    found = result.result
    examples = [value for value in found.get("partial_unexpected_list", []) if not pd.isna(value)]
    return {
        "suite": suite,
        "rule_id": expectation.meta["rule_id"],
        "expectation": expectation.type,
        "passed": bool(result.success),
        "broken": found.get("unexpected_count"),
        "of": found.get("element_count"),
        "examples": [str(value)[:_LONGEST] for value in examples[:3]],
    }


def _reason(finding: dict[str, Any]) -> str:
    if finding["broken"] is None:
        return "it could not be evaluated"
    if finding["suite"].endswith(_PROFILE):
        return f"it is {finding['examples'][0]}"
    examples = f", such as {', '.join(finding['examples'])}" if finding["examples"] else ""
    return f"{finding['broken']} of {finding['of']}{examples}"
