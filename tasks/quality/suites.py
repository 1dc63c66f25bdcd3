"""Runs Great Expectations suites on a sample of rows and on a batch's profile.

Importing the library takes seconds, so the first validation does it: many tasks import this module without validating.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from expectations import limits
from expectations.configuration_cache import cached_configurations
from expectations.contract import profile_suite
from expectations.great_expectations_library import great_expectations
from expectations.rules import RowRule, flags, row_suite
from models.columns import ROW
from models.errors import TailorbirdError
from models.ingest.check.advice import advice
from models.ingest.tabular.unreadable_cells import KEYS, UnreadableCells
from tasks.quality import data_docs
from tasks.quality.chunk_profile import ChunkProfile
from tasks.quality.findings import Finding, broken_by_rule, reason, refuses
from tasks.quality.findings import Findings as Findings

if TYPE_CHECKING:
    import pandas as pd


Bounds = Mapping[str, tuple[float | None, float | None]]
PROFILE = " batch"
"""The end of the name of a suite for a profile."""
_RESULT_FORMAT = {"result_format": "BASIC", "partial_unexpected_count": 0}
"""Only counts: a value that breaks a rule may be a user id in the wrong column."""
SHOWN_ROWS = 3
_MOST_RULES = 8
_LOGGERS = ("great_expectations", "great_expectations.data_context.types.base")
"""Importing them sets a level, so ours is set afterwards."""
_ENOUGH: Final = 20
"""A file of a known shop with so many users has at least one known user."""


class BatchRefusedError(TailorbirdError):
    """A batch is refused as a whole because its data break an expectation."""


@dataclass(frozen=True)
class BatchExpectations:
    """The expectations on a data set: on its rows, and on a batch as a whole."""

    rules: tuple[RowRule, ...]
    bounds: Bounds
    optional: frozenset[str] = frozenset()
    """Checks whose failure is only a warning."""


def validate_batch(
    batch_id: str, dataset: str, expected: BatchExpectations, sample: pa.Table, figures: Mapping[str, float | None]
) -> Findings:
    """Validate a sample of the rows and the batch's figures, and publish Data Docs; returns the findings.

    A figure that is missing, None or NaN breaks no expectation.
    """
    profile = one_row(dict.fromkeys(expected.bounds) | dict(figures))
    results = validated(
        (row_suite(f"{dataset} rows", expected.rules), _checked(sample, expected.rules).to_pandas()),
        (profile_suite(f"{dataset}{PROFILE}", expected.bounds), profile),
    )
    findings = [_finding(result.suite_name, one) for result in results for one in result.results]
    _locate(findings, sample, expected.rules)
    for finding in findings:
        if finding["suite"].endswith(PROFILE):
            finding["value"] = figures.get(finding["rule_id"])
        finding["warns"] = finding["rule_id"] in expected.optional
    _add_limits(findings, dataset, expected)
    meanings = {rule.id: rule.meaning for rule in expected.rules}
    data_docs.publish(data_docs.BatchValidation(batch_id, dataset, findings, meanings, figures, results))
    return findings


def validate(suite: Any, rows: "pa.Table | pd.DataFrame") -> Findings:
    """Return the finding of each expectation of the suite on `rows`."""
    frame = rows.to_pandas() if isinstance(rows, pa.Table) else rows
    (result,) = validated((suite, frame))
    return [_finding(suite.name, one) for one in result.results]


def one_row(figures: Mapping[str, float | None]) -> "pd.DataFrame":
    """Return a batch's figures as the frame that a profile suite validates."""
    import pandas as pd

    return pd.DataFrame({name: [value] for name, value in figures.items()}, index=[0], dtype=float)


def reading_notes(profiles: Iterable[ChunkProfile], unread: Iterable[UnreadableCells]) -> str | None:
    """Return the ledger's remarks on a file: an encoding other than UTF-8, unreadable cells, unknown users."""
    profiles = list(profiles)
    encodings = dict.fromkeys(profile.get("encoding", "UTF-8") for profile in profiles)
    read_as = [f"Read as {name}." for name in encodings if name != "UTF-8"]
    return " ".join([*read_as, *(one.sentence for one in unread), *remarks(profiles)]) or None


def refusal(
    findings: Findings, quarantined: Mapping[str, int] = MappingProxyType({}), unread: Iterable[UnreadableCells] = ()
) -> str | None:
    """Return why the batch is refused, or None, with the rules that most rows break and their remedies.

    Unreadable cells (`unread`) are added, with the settings that would read them. If rows in quarantine are the cause,
    they come first. The keys that raise a limit come last.
    """
    failed = {finding["rule_id"]: reason(finding) for finding in findings if refuses(finding)}
    if not failed:
        return None
    most = sorted(quarantined.items(), key=lambda rule: -rule[1])
    limit = f"Its data break what the suite expects: {'; '.join(f'{rule} ({why})' for rule, why in failed.items())}."
    violations = _violations(most, unread)
    causes = bool(most) and not failed.keys().isdisjoint((limits.QUARANTINED_SHARE, most[0][0]))
    refusing = [finding for finding in findings if refuses(finding) and finding["broken"] is not None]
    settings = [finding["setting"] for finding in refusing if finding.get("setting")]
    more = f"To allow it, set {', '.join(settings)} in the mapping." if settings else ""
    return " ".join(filter(None, [violations, limit, more] if causes else [limit, violations, more]))


def _violations(most: Sequence[tuple[str, int]], unread: Iterable[UnreadableCells]) -> str:
    """Return the rules that rows break, the `most` frequent first, and the remedy for the first one."""
    first = most[0][0] if most else ""
    listed = [f"{rule} ({count:,})" for rule, count in most[:_MOST_RULES]]
    listed += [f"{len(most) - _MOST_RULES} other rules"] if len(most) > _MOST_RULES else []
    cells = sorted(unread, key=lambda one: one.rule != first)
    remedies = [] if cells and cells[0].rule == first and cells[0].suggestion else [advice(first)]
    rules = [f"Rows broke {', '.join(listed)}."] if listed else []
    return " ".join(filter(None, [*rules, *remedies, *(one.sentence for one in cells)]))


def validated(*suites: "tuple[Any, pd.DataFrame]", result_format: Mapping[str, Any] = _RESULT_FORMAT) -> list[Any]:
    """Return one validation result per suite and frame, from one context that stores nothing."""
    gx = great_expectations()
    from great_expectations.data_context.types.base import ProgressBarsConfig

    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    with cached_configurations():
        context = gx.get_context(mode="ephemeral")
        # Each new asset writes the context's whole configuration as YAML into memory: a fifth of a validation's time.
        context._save_project_config = lambda: None
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        source = context.data_sources.add_pandas("batch")
        results = []
        for suite, frame in suites:
            definition = source.add_dataframe_asset(suite.name).add_batch_definition_whole_dataframe("all")
            batch = definition.get_batch(batch_parameters={"dataframe": frame})
            results.append(batch.validate(suite, result_format=dict(result_format)))
    return results


def _checked(sample: pa.Table, rules: Sequence[RowRule]) -> pa.Table:
    """Return the columns that the rules check: Great Expectations copies the whole frame for each rule."""
    names = {KEYS, *(rule.column for rule in rules)}
    return sample.select([name for name in sample.column_names if name in names])


def _add_limits(findings: Findings, dataset: str, expected: BatchExpectations) -> None:
    """Add its limit to each finding, and the key of a mapping that sets the limit."""
    rules = {rule.id: f"at most {100 * (1 - rule.mostly):.3g}%" for rule in expected.rules}
    for finding in findings:
        name, whole = finding["rule_id"], finding["suite"].endswith(PROFILE)
        finding["allowed"] = limits.stated(expected.bounds[name]) if whole else rules[name]
        finding["setting"] = limits.setting(dataset, name)


def _locate(findings: Findings, sample: pa.Table, rules: Sequence[RowRule]) -> None:
    """Add the numbers of the first rows that break each rule, from 1, without their values."""
    by_rule = broken_by_rule(findings)
    violated = [rule for rule in rules if rule.id in by_rule]
    if violated and ROW in sample.column_names:
        numbers, marks = sample[ROW].to_numpy() + 1, flags(sample, violated)
        for rule in violated:
            by_rule[rule.id]["rows"] = numbers[marks[rule.id].to_numpy()][:SHOWN_ROWS].tolist()


def _finding(suite: str, result: Any) -> Finding:
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


def remarks(profiles: Iterable[ChunkProfile]) -> list[str]:
    """Return the ledger's remarks on the users of a batch, by the profiles of its chunks."""
    chunks = [profile["people"] for profile in profiles if "people" in profile]
    users, known = sum(chunk["named"] for chunk in chunks), sum(chunk["known"] for chunk in chunks)
    items, unanswered = sum(chunk["items"] for chunk in chunks), sum(chunk["unanswered"] for chunk in chunks)
    lines = []
    if users >= _ENOUGH and not known:
        subject = f"None of its {users:,} users" if len(chunks) == 1 else "None of its users"
        both = subject if items else f"{subject} and none of its items"
        lines = [f"{both} is known: is it another shop's file? `tailorbird ledger undo BATCH` removes it."]
    if unanswered:
        rows = "1 suppressed row is" if unanswered == 1 else f"{unanswered:,} suppressed rows are"
        lines.append(f"{rows} of users whose answer about consent is not known.")
    return lines
