"""Collects the findings of a check on one table of a mapping, as plain values for a page, a terminal or JSON."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from secrets import token_hex
from tempfile import gettempdir
from typing import Final, TypedDict
from uuid import uuid4

import numpy as np
import pyarrow as pa

from expectations.batches import Dataset, bounds, limited, setting, stated
from expectations.rules import RowRule, count_violations
from infra.installation import Installation
from infra.lake.delta_lake import Lake
from models import columns
from models.ingest.batch_limits import Limits
from models.ingest.check.advice import MEANINGS, advice
from models.ingest.check.suspicions import Suspicion, missing_consent
from models.ingest.source_config import SourceMapping
from models.ingest.tabular.duplicate_rows import COPIES, FIRST_ROW
from models.ingest.tabular.unreadable_cells import KEYS
from models.primitives.json_types import JsonObject
from tasks.ingest import ledger
from tasks.ingest.events.classification import (
    BatchContext,
    ClassifiedChunk,
    EventChunk,
    RunState,
    classify,
    no_texts,
    rules_of,
    triage,
)
from tasks.ingest.rows.apply import Answers
from tasks.ingest.validation import row_triage
from tasks.ingest.validation.event_identity import KnownIds
from tasks.quality.chunk_profile import ChunkProfile, with_counts


class Unconnected(Installation):
    """An installation that never opens its database and has its key only in memory."""

    _key: bytes

    def __init__(self) -> None:
        """Generate the key."""
        object.__setattr__(self, "_key", token_hex(32).encode())

    @property
    def key(self) -> bytes:
        """The key of the pseudonyms of this process."""
        return self._key


@dataclass
class CheckContext:
    """The items and users of the files so far, in place of database tables."""

    installation: Unconnected = field(default_factory=Unconnected)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    items: pa.Array = field(default_factory=no_texts)
    not_merchandise: pa.Array = field(default_factory=no_texts)
    agreed: pa.Array = field(default_factory=no_texts)
    refused: pa.Array = field(default_factory=no_texts)
    amounts: list[pa.Table] = field(default_factory=list)
    """Amounts by item and currency, of each file of events."""
    prices: list[pa.Table] = field(default_factory=list)
    """Items with their prices, of each catalogue file."""
    purchases: list[pa.Table] = field(default_factory=list)
    """Accepted events with their amounts, of each file of events."""
    whole_catalogue: bool = False
    """Whether `items` are all items of the source."""


def open_context(mapping: SourceMapping, files: CheckContext) -> tuple[BatchContext, RunState]:
    """Return the context of a batch that stores nothing; without the whole catalogue every item counts as known.

    All answers about consent are those of the files.
    """
    if not files.whole_catalogue:
        mapping = mapping.model_copy(update={"unknown_items": "accept"})
    context = BatchContext(
        files.installation,
        mapping,
        ledger.Batch("check", "events", mapping.name, "", mapping.consent_note),
        catalogue=files.items,
        non_merchandise=files.not_merchandise,
        suppressed=no_texts(),
        now=files.now,
        late_before=files.now,
        rules=rules_of(mapping, files.installation.key),
    )
    nobody = Answers(*[no_texts()] * 4)
    empty_lake = Lake(f"{gettempdir()}/{uuid4()}")  # the folder does not exist
    refused_before = set(files.refused.to_pylist())
    return context, RunState(lambda _: nobody, KnownIds(empty_lake), refused_before, files.refused, files.agreed)


EXAMPLES: Final = 3


class RowPlace(TypedDict, total=False):
    """Where a row is, with the cells that a rule concerns."""

    line: int
    row: int
    cells: dict[str, str | None]


class BrokenRule(TypedDict):
    """A rule that rows of a table break."""

    rule: str
    meaning: str
    advice: str
    rows: int
    of: int
    examples: list[RowPlace]


Locate = Callable[[int, str], RowPlace]
"""Finds a row by its number, with the cells that a rule on a column concerns."""
_WHOLE_FILE: Final = ("rows", "days", "hours_old")
"""Figures that the beginning of a file does not have."""
_UNSHOWN: Final = {
    *row_triage.HELPERS,
    columns.PAYLOAD_HASH,
    columns.MONTH,
    columns.USER_KEY,
    row_triage.RULES,
    COPIES,
    FIRST_ROW,
}

_EMPTY: Final[tuple[object, ...]] = (None, {}, False)


@dataclass
class TableFindings:
    """One file, as one part of a mapping reads it."""

    part: str
    file: str
    rows: int = 0
    whole_file: bool = False
    columns: dict[str, list[str]] = field(default_factory=dict)
    """The columns of the file that each key reads."""
    unused: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    examples: list[JsonObject] = field(default_factory=list)
    broken: list[BrokenRule] = field(default_factory=list)
    suspicions: list[Suspicion] = field(default_factory=list)
    refused: str | None = None
    """Why an ingest would refuse the file."""
    refused_with_consent: str | None = None
    """Why an ingest would refuse it if the users agreed; only known if no event is accepted for want of consent."""

    def as_dict(self) -> JsonObject:
        """Return the findings as a JSON object."""
        return asdict(self)


def refusal(
    table: TableFindings,
    dataset: Dataset,
    limits: Limits,
    rules: Sequence[RowRule],
    sample: pa.Table,
    figures: Mapping[str, float | None],
) -> str | None:
    """Return why a batch of such rows would be refused, with the settings that allow it, or None."""
    shares = _shares_of(sample, rules)
    faults = {
        rule.id: f"{shares[rule.id]:.0%} of the rows break {rule.id}, and at most {1 - rule.mostly:.0%} may"
        for rule in rules
        if shares[rule.id] > 1 - rule.mostly
    }
    for name, (low, high) in bounds(dataset, limits).items():
        value = figures.get(name)
        if value is None or (not table.whole_file and name in _WHOLE_FILE):
            continue
        if (low is not None and value < low) or (high is not None and value > high):
            faults.setdefault(name, f"{name} is {value:.4g}, and {stated((low, high))} is expected")
    settings = [key for name in faults if (key := setting(dataset, name))]
    allow = f". To allow it, set {', '.join(settings)} in the mapping" if settings else ""
    return f"{'; '.join(faults.values())}{allow}" if faults else None


def check_events(
    table: TableFindings, context: BatchContext, run: RunState, chunk: EventChunk, locate: Locate
) -> row_triage.TriagedEvents:
    """Add the findings on a chunk of events, and return its triaged rows.

    If every event is dropped for want of consent, broken rules and the returned rows are those with consent.
    """
    classified = classify(context, run, chunk)
    table.refused, triaged = _verdict(table, context, run, chunk, classified)
    bad = len(triaged.quarantined) + (0 if chunk.unreadable is None else len(chunk.unreadable))
    counts = {"read": chunk.read, "routed": triaged.counts["routed"] + chunk.routed, "quarantined": bad}
    table.counts = triaged.counts | counts
    if len(chunk.events) and classified.suppressed.all() and context.mapping.consent != "given":
        classified = replace(classified, suppressed=np.zeros_like(classified.suppressed))
        table.refused_with_consent, triaged = _verdict(table, context, run, chunk, classified)
        answers = len(run.agreed), len(run.refused)
        own = chunk.events[columns.CONSENT].null_count < len(chunk.events)
        table.suspicions += missing_consent(context.mapping, *answers, own)
    table.broken = broken_rules(triaged.quarantined, classified.sample(chunk.read), context.rules, locate)
    return triaged


def _verdict(
    table: TableFindings, context: BatchContext, run: RunState, chunk: EventChunk, classified: ClassifiedChunk
) -> tuple[str | None, row_triage.TriagedEvents]:
    """Return why a batch of these events would be refused, or None, and the triaged rows."""
    triaged = triage(context, run, classified)
    bad = [triaged.quarantined, *([chunk.unreadable] if chunk.unreadable is not None else [])]
    counts = triaged.counts | {"read": chunk.read, "routed": triaged.counts["routed"] + chunk.routed}
    profile: ChunkProfile = {
        **row_triage.of_events(chunk.events),
        **row_triage.of_quarantined(*bad),
        **row_triage.time_span(triaged.accepted),
        "cleaned": chunk.cleaned,
    }
    limits, figures = context.mapping.limits, row_triage.figures([with_counts(profile, counts)], context.now)
    rules = limited("events", context.rules, limits)
    return refusal(table, "events", limits, rules, classified.sample(chunk.read), figures), triaged


def broken_rule(rule: str, rows: int, of: int, examples: list[RowPlace], meaning: str = "") -> BrokenRule:
    """Return what a check states about a rule; one outside the suite has its own meaning and advice."""
    stated = meaning or MEANINGS.get(rule, rule.replace("_", " "))
    return BrokenRule(
        rule=rule, meaning=stated, advice=advice(rule.partition(":")[0]), rows=rows, of=of, examples=examples[:EXAMPLES]
    )


def broken_rules(quarantined: pa.Table, sample: pa.Table, rules: Sequence[RowRule], locate: Locate) -> list[BrokenRule]:
    """Return each broken rule with its meaning, its rows and some examples; `locate` finds a row by its number."""
    known = {rule.id: rule for rule in rules}
    counts = row_triage.rule_counts(quarantined) if len(quarantined) else {}
    numbers_by_rule: dict[str, list[int]] = {}
    numbers, rule_ids = quarantined[columns.ROW].to_pylist(), quarantined[row_triage.RULES].to_pylist()
    for number, ids in zip(numbers, rule_ids, strict=True):
        for rule in ids:
            numbers_by_rule.setdefault(rule, []).append(number)
    broken = []
    for rule, count in sorted(counts.items(), key=lambda entry: -entry[1]):
        examples = [locate(number, _key_of(known, rule)) for number in numbers_by_rule[rule][:EXAMPLES]]
        broken.append(broken_rule(rule, count, len(sample), examples, known[rule].meaning if rule in known else ""))
    return broken


def _key_of(known: dict[str, RowRule], rule: str) -> str:
    """Return the column of a rule, or for an unreadable cell the key in the rule's name."""
    column = known[rule].column if rule in known else ""
    return rule.removesuffix("_unreadable") if column == KEYS else column


def _shares_of(sample: pa.Table, rules: Sequence[RowRule]) -> dict[str, float]:
    """Return the share of the rows to which each rule applies that break it; 0 if it applies to none."""
    (counts,) = count_violations(rules, [sample])
    kept = {rule.id: counts.kept.get(rule.id) for rule in rules}
    return {rule: 0.0 if share is None else 1 - share for rule, share in kept.items()}


def records(
    rows: pa.Table, users: Iterable[str | None] | None = None, keys: Collection[str] | None = None
) -> list[JsonObject]:
    """Return the first rows without empty values, with the raw ids of their `users` first.

    With `keys`, only these columns are shown.
    """
    shown = rows.slice(0, EXAMPLES)
    names = [name for name in shown.column_names if name not in _UNSHOWN and (keys is None or name in keys)]
    empty = _EMPTY if keys is None else (None, {})  # a key of the mapping may be false
    examples = [_stated(row, empty) for row in shown.select(names).to_pylist()]
    if users is not None:
        examples = [{columns.USER_ID: user} | row for user, row in zip(users, examples, strict=False)]
    return examples


def _stated(row: Mapping[str, object], empty: Sequence[object] = _EMPTY) -> JsonObject:
    values = {name: _stated(value) if isinstance(value, dict) else value for name, value in row.items()}
    return {name: value for name, value in values.items() if value not in empty}
