"""What a check found out about one table of a mapping, as plain values for a page, a terminal or JSON."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from expectations import limits
from expectations.rules import RowRule, broken_shares
from models import columns
from models.ingest.batch_limits import Bounds
from models.ingest.check.missing_consent import missing_consent
from models.ingest.check.rule_advice import LINE_UNREADABLE, MEANINGS, advice
from models.ingest.check.suspicions import Suspicion
from models.ingest.tabular.unreadable_cells import KEYS
from tasks.ingest.events.chunk_writer import ClassifiedChunk, Intake, Part
from tasks.ingest.validation import batch_profile, row_triage

EXAMPLES: Final = 3
Locate = Callable[[int, str], dict[str, Any]]
"""Finds a row by its number, with the cells that a rule on a column is about."""
_WHOLE_FILE: Final = ("rows", "days", "hours_old")
"""Figures that the beginning of a file does not tell."""
_UNSHOWN: Final = {
    *row_triage.HELPERS,
    columns.PAYLOAD_HASH,
    columns.MONTH,
    columns.USER_KEY,
    row_triage.RULES,
    "copies",
}

_NOTHING: Final[tuple[Any, ...]] = (None, {}, False)


@dataclass
class TableFindings:
    """One file as one part of a mapping reads it."""

    part: str
    file: str
    rows: int = 0
    whole_file: bool = False
    columns: dict[str, list[str]] = field(default_factory=dict)
    """The columns of the file that each key reads."""
    unused: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)
    broken: list[dict[str, Any]] = field(default_factory=list)
    suspicions: list[Suspicion] = field(default_factory=list)
    refused: str | None = None
    """Why an ingest would refuse the file."""
    refused_with_consent: str | None = None
    """Why an ingest would refuse it if the users agreed; only known if no event comes in for want of consent."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as values of JSON."""
        return asdict(self)


def refusal(
    shares: Mapping[str, float],
    rules: Sequence[RowRule],
    bounds: Mapping[str, Bounds],
    figures: Mapping[str, float | None],
    whole: bool,
    dataset: str,
) -> str | None:
    """Return why a batch of such rows would be refused, with the settings that allow it, or None."""
    faults = {
        rule.id: f"{rule.id} is true of {shares[rule.id]:.0%} of the rows, and at most {1 - rule.mostly:.0%} may "
        "break it"
        for rule in rules
        if shares[rule.id] > 1 - rule.mostly
    }
    for name, (low, high) in bounds.items():
        value = figures.get(name)
        if value is None or (not whole and name in _WHOLE_FILE):
            continue
        if (low is not None and value < low) or (high is not None and value > high):
            faults.setdefault(name, f"{name} is {value:.4g}, and {limits.stated((low, high))} is expected")
    settings = [found for name in faults if (found := limits.setting(dataset, name))]
    allow = f". To allow it, set {', '.join(settings)} in the mapping" if settings else ""
    return f"{'; '.join(faults.values())}{allow}" if faults else None


def judge_events(found: TableFindings, intake: Intake, part: Part, locate: Locate) -> row_triage.TriagedRows:
    """Fill in what becomes of a chunk of events, and return it.

    When every event is dropped for want of consent, the broken rules and what is returned are those with consent.
    """
    looked = intake.look(part)
    found.refused, done = _verdict(found, intake, part, looked)
    bad = len(done.quarantined) + (0 if part.unreadable is None else len(part.unreadable))
    counted = {"read": part.read, "routed": done.counts["routed"] + part.routed, "quarantined": bad}
    found.counts = done.counts | counted
    if len(part.events) and looked.suppressed.all() and intake.mapping.consent != "given":
        looked = replace(looked, suppressed=np.zeros_like(looked.suppressed))
        found.refused_with_consent, done = _verdict(found, intake, part, looked)
        answers = len(intake.agreed), len(intake.refused)
        own = part.events[columns.CONSENT].null_count < len(part.events)
        found.suspicions += missing_consent(intake.mapping, *answers, own)
    found.broken = broken_rules(done.quarantined, looked.sample(part.read), intake.rules, locate)
    return done


def _verdict(
    found: TableFindings, intake: Intake, part: Part, looked: ClassifiedChunk
) -> tuple[str | None, row_triage.TriagedRows]:
    """Return why a batch of these events would be refused, if it would, and what becomes of them."""
    done = row_triage.triage_events(looked.events, intake.rules, looked.suppressed, looked.routed, intake.known)
    bad = [done.quarantined, *([part.unreadable] if part.unreadable is not None else [])]
    counted = done.counts | {"read": part.read, "routed": done.counts["routed"] + part.routed}
    figures = (
        counted | batch_profile.of_events(part.events) | batch_profile.of_quarantined(*bad) | {"cleaned": part.cleaned}
    )
    rules = limits.limited("events", intake.rules, intake.mapping.limits)
    refused = refusal(
        shares_of(looked.sample(part.read), rules),
        rules,
        limits.bounds("events", intake.mapping.limits),
        batch_profile.figures([figures | batch_profile.time_span(done.accepted)], intake.now),
        found.whole_file,
        "events",
    )
    return refused, done


def broken_rules(
    quarantined: pa.Table, sample: pa.Table, rules: Sequence[RowRule], locate: Locate
) -> list[dict[str, Any]]:
    """Return each broken rule with its meaning, its rows and some examples; `locate` finds a row by its number."""
    known = {rule.id: rule for rule in rules}
    counts = row_triage.rule_counts(quarantined) if len(quarantined) else {}
    places: dict[str, list[int]] = {}
    numbers, named = quarantined[columns.ROW].to_pylist(), quarantined[row_triage.RULES].to_pylist()
    for number, ids in zip(numbers, named, strict=True):
        for rule in ids:
            places.setdefault(rule, []).append(number)
    return [
        {
            "rule": rule,
            "meaning": known[rule].meaning if rule in known else MEANINGS.get(rule, rule.replace("_", " ")),
            "advice": advice(rule),
            "rows": count,
            "of": len(sample),
            "examples": [locate(n, _looked_at(known, rule)) for n in places[rule][:EXAMPLES]],
        }
        for rule, count in sorted(counts.items(), key=lambda one: -one[1])
    ]


def misfit_lines(numbers: Sequence[int], rows: int, locate: Locate) -> list[dict[str, Any]]:
    """Return the rule that lines break which do not fit the header, as `broken_rules` does; `numbers` are theirs."""
    rule = LINE_UNREADABLE
    said = {"rule": rule, "meaning": MEANINGS[rule], "advice": advice(rule), "rows": len(numbers), "of": rows}
    return [said | {"examples": [locate(number, "") for number in numbers[:EXAMPLES]]}] if numbers else []


def _looked_at(known: dict[str, RowRule], rule: str) -> str:
    """The column of a rule. That of an unreadable cell is the key in its name."""
    column = known[rule].column if rule in known else ""
    return rule.removesuffix("_unreadable") if column == KEYS else column


def shares_of(sample: pa.Table, rules: Sequence[RowRule]) -> dict[str, float]:
    """Return the share of the rows that break each rule."""
    return broken_shares(sample, rules) if len(sample) else dict.fromkeys((rule.id for rule in rules), 0.0)


def records(
    rows: pa.Table, users: Iterable[str | None] | None = None, keys: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """Return the first rows without what is empty, with the raw ids of their `users` in front.

    With `keys`, only these are shown.
    """
    shown = rows.slice(0, EXAMPLES)
    names = [name for name in shown.column_names if name not in _UNSHOWN and (keys is None or name in keys)]
    nothing = _NOTHING if keys is None else (None, {})  # a key of the mapping may say no
    found = [_stated(row, nothing) for row in shown.select(names).to_pylist()]
    if users is not None:
        found = [{columns.USER_ID: user} | row for user, row in zip(users, found, strict=False)]
    return found


def _stated(row: Mapping[str, Any], nothing: Sequence[Any] = _NOTHING) -> dict[str, Any]:
    values = {name: _stated(value) if isinstance(value, dict) else value for name, value in row.items()}
    return {name: value for name, value in values.items() if value not in nothing}
