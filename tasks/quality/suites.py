"""Judges batches: counts the rows of a sample that break each rule, and compares shares and figures with limits.

Great Expectations compares: a table with one row per batch has one expectation per figure. Importing the library takes
seconds, so the first judgement does it.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from threading import Lock
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa

from expectations.batches import QUARANTINED_SHARE, setting, stated
from expectations.rules import RowRule, SampleCounts, count_violations
from infra.services.data_docs import MAX_PAGES
from models.errors import TailorbirdError
from models.ingest.batch_limits import Bounds
from models.ingest.check.advice import advice
from models.ingest.tabular.unreadable_cells import UnreadableCells
from tasks.quality import data_docs
from tasks.quality.chunk_profile import ChunkProfile
from tasks.quality.findings import Finding, Findings

PROFILE = " batch"
"""The end of the name of a suite for the figures of batches."""
_MOST_RULES = 8
_ENOUGH: Final = 20
"""A file of a known shop with so many users has at least one known user."""
_EXPECTATION: Final = "expect_column_values_to_be_between"
"""The kind of every expectation."""
_ROW: Final = "place"
_EACH_ROW: Final = {
    "result_format": "COMPLETE",
    "unexpected_index_column_names": [_ROW],
    "return_unexpected_index_query": False,
}
"""Lists the rows that fail, which takes three times as long."""
_LOGGERS: Final = ("great_expectations", "great_expectations.data_context.types.base")
"""Importing them sets a level, so ours is set afterwards."""
_one_at_a_time: Final = Lock()


class BatchRefusedError(TailorbirdError):
    """A batch is refused as a whole because its data break an expectation."""


@dataclass(frozen=True)
class BatchExpectations:
    """The expectations on a data set: on its rows, and on a batch as a whole."""

    rules: tuple[RowRule, ...]
    bounds: Mapping[str, Bounds]
    optional: frozenset[str] = frozenset()
    """Checks whose failure is only a warning."""


@dataclass(frozen=True)
class Candidate:
    """A batch to validate: a sample of its rows, and the figures of its profile."""

    batch_id: str
    sample: pa.Table
    figures: Mapping[str, float | None]


@dataclass(frozen=True)
class Judgement:
    """What Great Expectations says about a table of figures."""

    result: Any
    """Its validation result, which Data Docs render."""
    _rows: int

    def failed(self, name: str) -> set[int]:
        """Return the positions of the rows whose figure is beyond its bounds: all, if it could not be evaluated."""
        (one,) = (one for one in self.result.results if one.expectation_config.meta["rule_id"] == name)
        if one.success:
            return set()
        places = one.result.get("unexpected_index_list")
        return {int(entry[_ROW]) for entry in places} if places else set(range(self._rows))


def validate_batch(
    batch_id: str, dataset: str, expected: BatchExpectations, sample: pa.Table, figures: Mapping[str, float | None]
) -> Findings:
    """Validate a sample of the rows and the batch's figures, and publish Data Docs; returns the findings.

    A figure that is missing, None or NaN breaks no expectation.
    """
    (findings,) = validate_batches(dataset, expected, [Candidate(batch_id, sample, figures)])
    return findings


def validate_batches(dataset: str, expected: BatchExpectations, candidates: Sequence[Candidate]) -> list[Findings]:
    """Return the findings of each batch, and publish Data Docs: of several, the newest before the first refused one."""
    verdicts, results = judge_batches(dataset, expected, candidates)
    accepted = first_refused(verdicts) if len(candidates) > 1 else 1  # a refused one of several is ingested again alone
    meanings = {rule.id: rule.meaning for rule in expected.rules}
    data_docs.publish(
        *(
            data_docs.BatchValidation(
                one.batch_id, dataset, findings, meanings, one.figures, results, not any(map(refuses, findings))
            )
            for one, findings in list(zip(candidates, verdicts, strict=True))[:accepted][-MAX_PAGES:]
        )
    )
    return verdicts


def judge_batches(
    dataset: str, expected: BatchExpectations, candidates: Sequence[Candidate]
) -> tuple[list[Findings], list[Any]]:
    """Return the findings of each batch, and Great Expectations' results.

    It judges two tables with one row per batch: the shares of a sample's rows that keep each rule, and the figures.
    """
    suites = f"{dataset} rows", f"{dataset}{PROFILE}"
    counts = count_violations(expected.rules, [one.sample for one in candidates])
    figures = [{name: one.figures.get(name) for name in expected.bounds} for one in candidates]
    of_rows = judge(suites[0], {rule.id: (rule.mostly, None) for rule in expected.rules}, [one.kept for one in counts])
    of_batches = judge(suites[1], expected.bounds, figures)
    verdicts: list[Findings] = [[] for _ in candidates]
    for rule in expected.rules:
        limit = f"at most {100 * (1 - rule.mostly):.3g}%"
        finding, failed = _finding(suites[0], rule.id, limit, dataset, expected), of_rows.failed(rule.id)
        for place, (own, findings) in enumerate(zip(counts, verdicts, strict=True)):
            findings.append(_completed(finding, own, failed=place in failed))
    for name, bounds in expected.bounds.items():
        finding = _finding(suites[1], name, stated(bounds), dataset, expected)
        failed = of_batches.failed(name)
        for place, (values, findings) in enumerate(zip(figures, verdicts, strict=True)):
            broken = place in failed
            findings.append(finding | {"passed": not broken, "broken": int(broken), "of": 1, "value": values[name]})
    return verdicts, [of_rows.result, of_batches.result]


def judge(suite: str, bounds: Mapping[str, Bounds], rows: Sequence[Mapping[str, float | None]]) -> Judgement:
    """Compare each figure of each row with its bounds. None and NaN are within all bounds; a missing figure is not.

    The same figures give the same judgement, which takes a quarter of a second: most small batches break no rule.
    """
    return _judgement(suite, tuple(bounds.items()), tuple(tuple(row.items()) for row in rows))


@lru_cache(maxsize=32)
def _judgement(
    suite: str, bounds: tuple[tuple[str, Bounds], ...], rows: tuple[tuple[tuple[str, float | None], ...], ...]
) -> Judgement:
    import great_expectations as gx
    import pandas as pd

    expectations = [
        gx.expectations.ExpectColumnValuesToBeBetween(
            column=name, min_value=low, max_value=high, meta={"rule_id": name}
        )
        for name, (low, high) in bounds
    ]
    frame = pd.DataFrame([{_ROW: place, **dict(row)} for place, row in enumerate(rows)], dtype=float)
    with _one_at_a_time:  # the batches of a definition share one name
        batch = _table().get_batch(batch_parameters={"dataframe": frame})
        whole = gx.ExpectationSuite(name=suite, expectations=expectations)
        result = batch.validate(whole, result_format={"result_format": "BASIC"})
        if len(rows) > 1 and not result.success:
            result = batch.validate(whole, result_format=_EACH_ROW)
    return Judgement(result, len(rows))


@cache
def _table() -> Any:
    """Return the definition of all tables, in a context that stores nothing."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("batches").add_dataframe_asset("figures")
    return asset.add_batch_definition_whole_dataframe("all")


def _finding(suite: str, rule: str, allowed: str, dataset: str, expected: BatchExpectations) -> Finding:
    """Return a finding without its verdict and its counts."""
    return {
        "suite": suite,
        "rule_id": rule,
        "expectation": _EXPECTATION,
        "passed": True,
        "broken": None,
        "of": None,
        "rows": [],
        "value": None,
        "warns": rule in expected.optional,
        "allowed": allowed,
        "setting": setting(dataset, rule),
    }


def _completed(finding: Finding, counts: SampleCounts, *, failed: bool) -> Finding:
    """Return the finding on a rule with its verdict and the counts of a sample."""
    rule = finding["rule_id"]
    if rule not in counts.broken:
        return finding | {"passed": not failed}
    kept = counts.kept[rule]
    return finding | {
        "passed": not failed,
        "broken": counts.broken[rule],
        "of": counts.rows,
        "rows": counts.first[rule],
        "share": None if kept is None else 1 - kept,
    }


def refuses(finding: Finding) -> bool:
    """Return whether a finding refuses its batch."""
    return not finding["passed"] and not finding.get("warns", False)


def first_refused(verdicts: Sequence[Findings]) -> int:
    """Return the position of the first refused batch, or the number of batches if none is refused."""
    return next((place for place, findings in enumerate(verdicts) if any(map(refuses, findings))), len(verdicts))


def reason(finding: Finding) -> str:
    """Return why a finding fails, as a phrase."""
    if finding["broken"] is None:
        return "it could not be evaluated"
    allowed = f", {finding['allowed']} is allowed" if finding.get("allowed") else ""
    if finding["value"] is not None:
        return f"it is {finding['value']:.4g}{allowed}"
    plural = "s" if len(finding["rows"]) > 1 else ""
    rows = f"; row{plural} {', '.join(map(str, finding['rows']))}" if finding["rows"] else ""
    return f"{finding['broken']} of {finding['of']}{allowed}{rows}"


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
    causes = bool(most) and not failed.keys().isdisjoint((QUARANTINED_SHARE, most[0][0]))
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
