"""One validation by Great Expectations for several batches, with a verdict for each of them."""

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
from tasks.quality.suites import PROFILE, SHOWN_ROWS, BatchExpectations, Findings, refusal, validated

_FAILED_PLACES: Final = {
    "result_format": "COMPLETE",
    "unexpected_index_column_names": ["place"],
    "return_unexpected_index_query": False,
}
"""The suites look at shares and counts, so no value of a row is in the result."""
_NOT_NULL: Final = "expect_column_values_to_not_be_null"
_BETWEEN: Final = "expect_column_values_to_be_between"
Shares = dict[str, float | None]


@dataclass(frozen=True)
class Candidate:
    """A batch to be judged: a sample of its rows, and the figures of its profile."""

    batch_id: str
    sample: pa.Table
    figures: Mapping[str, float | None]


def judge_together(dataset: str, promises: BatchExpectations, candidates: Sequence[Candidate]) -> list[Findings]:
    """Return what the suites find in each batch. The newest of those before the first refused one get Data Docs.

    The suites look at a table with one row a batch: the share of its sample that keeps each rule, and its figures.
    """
    rows_suite, batch_suite = f"{dataset} rows", f"{dataset}{PROFILE}"
    lowest = {rule.id: (rule.mostly, None) for rule in promises.rules}
    looked = _look(rows_suite, promises, [candidate.sample for candidate in candidates])
    figures = [{name: one.figures.get(name) for name in promises.bounds} for one in candidates]
    results = validated(
        (profile_suite(rows_suite, lowest), _frame([shares for _, shares in looked])),
        (profile_suite(batch_suite, promises.bounds), _frame(figures)),
        result_format=_FAILED_PLACES,
    )
    failed = {
        (result.suite_name, found.expectation_config.meta["rule_id"]): _failed(found, len(candidates))
        for result in results
        for found in result.results
    }
    verdicts = []
    for place, ((findings, _), own) in enumerate(zip(looked, figures, strict=True)):
        findings += [_finding(batch_suite, name, _BETWEEN, 0, 1, value) for name, value in own.items()]
        for finding in findings:
            finding["passed"] = place not in failed[finding["suite"], finding["rule_id"]]
            finding["broken"] = max(finding["broken"], int(not finding["passed"]))
        verdicts.append(findings)
    _publish(dataset, promises, candidates, verdicts, results)
    return verdicts


def _look(suite: str, promises: BatchExpectations, samples: Sequence[pa.Table]) -> list[tuple[Findings, Shares]]:
    """Count how many rows of each sample break each rule; returns findings, and shares of the values that keep it."""
    looked: list[tuple[Findings, Shares]] = [([], {}) for _ in samples]
    broken = flags(pa.concat_tables(samples), promises.rules)
    bounds = np.cumsum([0, *map(len, samples)])
    numbers = pa.concat_tables([sample.select([ROW]) for sample in samples])[ROW].to_numpy()
    for rule in promises.rules:
        twin = rule.expectation(mostly=rule.mostly, meta={"rule_id": rule.id})
        marks = broken[rule.id].to_numpy()
        for (findings, shares), sample, (start, end) in zip(looked, samples, pairwise(bounds), strict=True):
            rows = np.flatnonzero(marks[start:end])
            missing = 0 if twin.expectation_type == _NOT_NULL else sample[twin.column].null_count
            values = len(sample) - missing
            shares[rule.id] = (values - len(rows)) / values if values else None
            finding = _finding(suite, rule.id, twin.expectation_type, len(rows), len(sample), None)
            findings.append(finding | {"rows": (numbers[start:end][rows[:SHOWN_ROWS]] + 1).tolist()})
    return looked


def _finding(suite: str, rule: str, expectation: str, broken: int, of: int, value: float | None) -> dict[str, Any]:
    found = {"suite": suite, "rule_id": rule, "expectation": expectation, "passed": True}
    return found | {"broken": broken, "of": of, "rows": [], "value": value}


def _frame(rows: Sequence[Mapping[str, float | None]]) -> Any:
    import pandas as pd

    return pd.DataFrame([{"place": place, **row} for place, row in enumerate(rows)], dtype=float)


def _failed(found: Any, many: int) -> set[int]:
    """Return the batches that break an expectation: all, if it could not be evaluated."""
    if found.success:
        return set()
    places = found.result.get("unexpected_index_list")
    return {int(entry["place"]) for entry in places} if places else set(range(many))


def _publish(
    dataset: str,
    promises: BatchExpectations,
    candidates: Sequence[Candidate],
    verdicts: Sequence[Findings],
    results: list[Any],
) -> None:
    sound = next((place for place, findings in enumerate(verdicts) if refusal(findings)), len(verdicts))
    meanings = {rule.id: rule.meaning for rule in promises.rules}
    data_docs.publish(
        *(
            data_docs.Judgement(one.batch_id, dataset, findings, meanings, one.figures, results)
            for one, findings in list(zip(candidates, verdicts, strict=True))[:sound][-MAX_PAGES:]
        )
    )
