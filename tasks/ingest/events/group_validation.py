"""Validates several batches with one run of Great Expectations, with findings for each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa

from expectations.contract import profile_suite
from expectations.rules import flags
from infra.services.data_docs import MAX_PAGES
from models.columns import ROW
from tasks.quality import data_docs
from tasks.quality.findings import Finding, first_refused
from tasks.quality.suites import PROFILE, SHOWN_ROWS, BatchExpectations, Findings, validated

_FAILED_BATCHES: Final = {
    "result_format": "COMPLETE",
    "unexpected_index_column_names": ["place"],
    "return_unexpected_index_query": False,
}
"""The suites validate shares and counts, so the result has no value of a row."""
_NOT_NULL: Final = "expect_column_values_to_not_be_null"
_BETWEEN: Final = "expect_column_values_to_be_between"
Shares = dict[str, float | None]


@dataclass(frozen=True)
class Candidate:
    """A batch to validate: a sample of its rows, and the figures of its profile."""

    batch_id: str
    sample: pa.Table
    figures: Mapping[str, float | None]


def validate_together(dataset: str, expected: BatchExpectations, candidates: Sequence[Candidate]) -> list[Findings]:
    """Return the findings of each batch. The newest batches before the first refused one get Data Docs.

    The suites validate a table with one row per batch: the shares of its sample that keep each rule, and its figures.
    """
    rows_suite, batch_suite = f"{dataset} rows", f"{dataset}{PROFILE}"
    lowest = {rule.id: (rule.mostly, None) for rule in expected.rules}
    counted = _count(rows_suite, expected, [candidate.sample for candidate in candidates])
    figures = [{name: one.figures.get(name) for name in expected.bounds} for one in candidates]
    results = validated(
        (profile_suite(rows_suite, lowest), _frame([shares for _, shares in counted])),
        (profile_suite(batch_suite, expected.bounds), _frame(figures)),
        result_format=_FAILED_BATCHES,
    )
    failed = {
        (result.suite_name, one.expectation_config.meta["rule_id"]): _failed(one, len(candidates))
        for result in results
        for one in result.results
    }
    verdicts = []
    for place, ((findings, _), own) in enumerate(zip(counted, figures, strict=True)):
        findings += [_finding(batch_suite, name, _BETWEEN, 0, 1, value) for name, value in own.items()]
        for finding in findings:
            finding["passed"] = place not in failed[finding["suite"], finding["rule_id"]]
            finding["broken"] = max(finding["broken"] or 0, int(not finding["passed"]))
        verdicts.append(findings)
    _publish(dataset, expected, candidates, verdicts, results)
    return verdicts


def _count(suite: str, expected: BatchExpectations, samples: Sequence[pa.Table]) -> list[tuple[Findings, Shares]]:
    """Count the rows of each sample that break each rule; returns findings, and shares of values that keep it."""
    counted: list[tuple[Findings, Shares]] = [([], {}) for _ in samples]
    violations = flags(pa.concat_tables(samples), expected.rules)
    bounds = np.cumsum([0, *map(len, samples)])
    numbers = pa.concat_tables([sample.select([ROW]) for sample in samples])[ROW].to_numpy()
    for rule in expected.rules:
        twin = rule.expectation(mostly=rule.mostly, meta={"rule_id": rule.id})
        marks = violations[rule.id].to_numpy()
        for (findings, shares), sample, (start, end) in zip(counted, samples, pairwise(bounds), strict=True):
            rows = np.flatnonzero(marks[start:end])
            missing = 0 if twin.expectation_type == _NOT_NULL else sample[twin.column].null_count
            values = len(sample) - missing
            shares[rule.id] = (values - len(rows)) / values if values else None
            finding = _finding(suite, rule.id, twin.expectation_type, len(rows), len(sample), None)
            finding["rows"] = (numbers[start:end][rows[:SHOWN_ROWS]] + 1).tolist()
            findings.append(finding)
    return counted


def _finding(suite: str, rule: str, expectation: str, count: int, of: int, value: float | None) -> Finding:
    return Finding(
        suite=suite, rule_id=rule, expectation=expectation, passed=True, broken=count, of=of, rows=[], value=value
    )


def _frame(rows: Sequence[Mapping[str, float | None]]) -> Any:
    import pandas as pd

    return pd.DataFrame([{"place": place, **row} for place, row in enumerate(rows)], dtype=float)


def _failed(result: Any, count: int) -> set[int]:
    """Return the positions of the batches that break an expectation: all, if it could not be evaluated."""
    if result.success:
        return set()
    places = result.result.get("unexpected_index_list")
    return {int(entry["place"]) for entry in places} if places else set(range(count))


def _publish(
    dataset: str,
    expected: BatchExpectations,
    candidates: Sequence[Candidate],
    verdicts: Sequence[Findings],
    results: list[Any],
) -> None:
    accepted = first_refused(verdicts)
    meanings = {rule.id: rule.meaning for rule in expected.rules}
    data_docs.publish(
        *(
            data_docs.BatchValidation(one.batch_id, dataset, findings, meanings, one.figures, results)
            for one, findings in list(zip(candidates, verdicts, strict=True))[:accepted][-MAX_PAGES:]
        )
    )
