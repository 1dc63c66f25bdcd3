"""Runs Great Expectations suites on a sample of rows and on a batch's profile.

Its import takes seconds, so the first validation imports it: many tasks import this module and validate nothing.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from expectations import limits
from expectations.contract import profile_suite
from expectations.great_expectations_library import great_expectations
from expectations.kept_configurations import kept_configurations
from expectations.rules import RowRule, flags, row_suite
from models.columns import ROW
from models.errors import TailorbirdError
from models.ingest.check.rule_advice import advice
from models.ingest.tabular.unreadable_cells import UnreadableCells
from tasks.quality import data_docs
from tasks.quality.user_remarks import remarks

if TYPE_CHECKING:
    import pandas as pd

Findings = list[dict[str, Any]]
Bounds = Mapping[str, tuple[float | None, float | None]]
PROFILE = " batch"
"""How the name of a suite for a profile ends."""
_RESULT_FORMAT = {"result_format": "BASIC", "partial_unexpected_count": 0}
"""Counts alone: a value that broke a rule may be the id of a user in the wrong column."""
SHOWN_ROWS = 3
_NAMED_RULES = 8
_LOGGERS = ("great_expectations", "great_expectations.data_context.types.base")
"""Their import sets a level, so ours is set after it."""


class BatchRefusedError(TailorbirdError):
    """A batch whose data are not what they should be, as a whole."""


@dataclass(frozen=True)
class BatchExpectations:
    """What a data set promises: per row, and for a batch as a whole."""

    rules: tuple[RowRule, ...]
    bounds: Bounds
    optional: frozenset[str] = frozenset()
    """Checks that only warn."""


def judge(
    batch_id: str, dataset: str, promises: BatchExpectations, sample: pa.Table, figures: Mapping[str, float | None]
) -> Findings:
    """What the suites find in a sample of the rows and in the batch's figures; the batch's Data Docs show it too.

    A figure that is missing, None or NaN breaks nothing: there is nothing to say about it.
    """
    profile = one_row(dict.fromkeys(promises.bounds) | dict(figures))
    results = validated(
        (row_suite(f"{dataset} rows", promises.rules), sample.to_pandas()),
        (profile_suite(f"{dataset}{PROFILE}", promises.bounds), profile),
    )
    findings = [_finding(result.suite_name, found) for result in results for found in result.results]
    _locate(findings, sample, promises.rules)
    for finding in findings:
        if finding["suite"].endswith(PROFILE):
            finding["value"] = figures.get(finding["rule_id"])
        finding["warns"] = finding["rule_id"] in promises.optional
    _add_limits(findings, dataset, promises)
    meanings = {rule.id: rule.meaning for rule in promises.rules}
    data_docs.publish(data_docs.Judgement(batch_id, dataset, findings, meanings, figures, results))
    return findings


def validate(suite: Any, rows: "pa.Table | pd.DataFrame") -> Findings:
    """What each expectation of the suite found in `rows`: rule id, verdict, how many rows broke it."""
    frame = rows.to_pandas() if isinstance(rows, pa.Table) else rows
    (result,) = validated((suite, frame))
    return [_finding(suite.name, found) for found in result.results]


def one_row(figures: Mapping[str, float | None]) -> "pd.DataFrame":
    """A batch's figures as the frame that a profile suite looks at."""
    import pandas as pd

    return pd.DataFrame({name: [value] for name, value in figures.items()}, index=[0], dtype=float)


def reading_notes(profiles: Iterable[Mapping[str, Any]], unread: Iterable[UnreadableCells]) -> str | None:
    """Return what the ledger remarks on a file: an encoding other than UTF-8, unreadable cells, users nobody knows."""
    profiles = list(profiles)
    found = {profile["encoding"]: None for profile in profiles if profile.get("encoding", "UTF-8") != "UTF-8"}
    return (
        " ".join([*(f"Read as {name}." for name in found), *(one.sentence for one in unread), *remarks(profiles)])
        or None
    )


def refusal(
    findings: Findings, quarantined: Mapping[str, int] = MappingProxyType({}), unread: Iterable[UnreadableCells] = ()
) -> str | None:
    """Return why the batch is refused, or None; with the rules that most of its rows broke, and what helps.

    Cells that are `unread` are added, with the settings that would read them. If rows in quarantine are the cause, they
    come first. The keys that raise a limit come last.
    """
    failed = {finding["rule_id"]: _reason(finding) for finding in findings if _refuses(finding)}
    if not failed:
        return None
    most = sorted(quarantined.items(), key=lambda rule: -rule[1])
    limit = f"Its data break what the suite expects: {'; '.join(f'{rule} ({why})' for rule, why in failed.items())}."
    broken = _broken(most, unread)
    causes = bool(most) and not failed.keys().isdisjoint((limits.QUARANTINED_SHARE, most[0][0]))
    refusing = [finding for finding in findings if _refuses(finding) and finding["broken"] is not None]
    settings = [finding["setting"] for finding in refusing if finding.get("setting")]
    more = f"To allow it, set {', '.join(settings)} in the mapping." if settings else ""
    return " ".join(filter(None, [broken, limit, more] if causes else [limit, broken, more]))


def _broken(most: Sequence[tuple[str, int]], unread: Iterable[UnreadableCells]) -> str:
    """Return the rules that rows broke, the `most` first, and what helps against the first one."""
    first = most[0][0] if most else ""
    named = [f"{rule} ({count:,})" for rule, count in most[:_NAMED_RULES]]
    named += [f"{len(most) - _NAMED_RULES} other rules"] if len(most) > _NAMED_RULES else []
    cells = sorted(unread, key=lambda one: one.rule != first)
    helps = [] if cells and cells[0].rule == first and cells[0].suggestion else [advice(first)]
    said = [f"Rows broke {', '.join(named)}."] if named else []
    return " ".join(filter(None, [*said, *helps, *(one.sentence for one in cells)]))


def validated(*suites: "tuple[Any, pd.DataFrame]", result_format: Mapping[str, Any] = _RESULT_FORMAT) -> list[Any]:
    """Return one validation result per suite and frame, all in one context that leaves nothing behind."""
    gx = great_expectations()
    from great_expectations.data_context.types.base import ProgressBarsConfig

    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("batch")
    results = []
    for suite, frame in suites:
        definition = source.add_dataframe_asset(suite.name).add_batch_definition_whole_dataframe("all")
        batch = definition.get_batch(batch_parameters={"dataframe": frame})
        with kept_configurations():
            results.append(batch.validate(suite, result_format=dict(result_format)))
    return results


def _add_limits(findings: Findings, dataset: str, promises: BatchExpectations) -> None:
    """Add to each finding what is allowed, and the key of a mapping that sets it, if one does."""
    rules = {rule.id: f"at most {100 * (1 - rule.mostly):.3g}%" for rule in promises.rules}
    for finding in findings:
        name, whole = finding["rule_id"], finding["suite"].endswith(PROFILE)
        finding["allowed"] = limits.stated(promises.bounds[name]) if whole else rules[name]
        finding["setting"] = limits.setting(dataset, name)


def _locate(findings: Findings, sample: pa.Table, rules: Sequence[RowRule]) -> None:
    """Add the numbers of the first rows that break each rule, from 1: where to look in the file, not what is there."""
    counted = {finding["rule_id"]: finding for finding in findings if finding["broken"]}
    broken = [rule for rule in rules if rule.id in counted]
    if broken and ROW in sample.column_names:
        numbers, marks = sample[ROW].to_numpy() + 1, flags(sample, broken)
        for rule in broken:
            counted[rule.id]["rows"] = numbers[marks[rule.id].to_numpy()][:SHOWN_ROWS].tolist()


def _finding(suite: str, result: Any) -> dict[str, Any]:
    expectation = result.expectation_config
    return {
        "suite": suite,
        "rule_id": expectation.meta["rule_id"],
        "expectation": expectation.type,
        "passed": bool(result.success),
        "broken": result.result.get("unexpected_count"),
        "of": result.result.get("element_count"),
        "rows": [],
        "value": None,
    }


def _refuses(finding: dict[str, Any]) -> bool:
    return not finding["passed"] and not finding.get("warns", False)


def _reason(finding: dict[str, Any]) -> str:
    if finding["broken"] is None:
        return "it could not be evaluated"
    allowed = f", {finding['allowed']} is allowed" if finding.get("allowed") else ""
    if finding["value"] is not None:
        return f"it is {finding['value']:.4g}{allowed}"
    several = "s" if len(finding["rows"]) > 1 else ""
    rows = f"; row{several} {', '.join(map(str, finding['rows']))}" if finding["rows"] else ""
    return f"{finding['broken']} of {finding['of']}{allowed}{rows}"
