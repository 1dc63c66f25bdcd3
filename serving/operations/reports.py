"""Types of what operators ask and see, and the errors that refuse it. They need no database.

Times are those of the database; addresses are None if they are not known.
"""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

from models.errors import TailorbirdError
from models.lists.rules.layer.validation import LayerFault


class OutdatedVersionError(TailorbirdError):
    """Another version was stored since the one that a change is based on."""

    def __init__(self, current: int) -> None:
        super().__init__(f"The current version is {current}. Read the rules again, and repeat the change on them.")


class UnknownVersionError(TailorbirdError):
    """There is no earlier version of that number."""


class RefusedLayerError(TailorbirdError):
    """A layer has faults."""

    def __init__(self, found: list[LayerFault]) -> None:
        super().__init__(found[0].detail)
        self.faults = found


@dataclass(frozen=True)
class Author:
    """Who changes rules, why, and by which key."""

    name: str
    comment: str
    key_id: str


class Paging(NamedTuple):
    """A part of a long report."""

    most: int
    offset: int


@dataclass(frozen=True)
class EarnedWeek:
    """What recommendations earned in a week, from Monday."""

    week: date
    placement: str
    """Empty for all placements together."""
    impressions: int
    clicks: int
    baskets: int
    purchases: int
    value: float
    """Of these purchases."""
    revenue: float
    """Of all purchases of the week."""
    currency: str | None = None
    click_through: float | None = None
    """With the bounds of its interval; None if there is too little for it."""
    low: float | None = None
    high: float | None = None

    @property
    def share(self) -> float | None:
        """The share of all revenue."""
        return self.value / self.revenue if self.revenue else None


@dataclass(frozen=True)
class ExperimentReport:
    """An experiment that runs, or that ended lately."""

    name: str
    placements: list[str]
    state: str
    started_at: datetime | None
    ends_at: datetime
    claims: list[str]
    """A sentence for each variant but the control; empty before the first readout."""
    people: dict[str, int]
    days: list[tuple[date, float, float]]
    """The primary metric of the control and of the first other variant at each readout."""
    metric: str
    stop_reason: str | None
    page: str | None


@dataclass(frozen=True)
class PlacementReport:
    """What a placement shows, and how fresh it is."""

    placement: str
    subject: str
    """The subject of its lists: `user` or `item`."""
    k: int
    """The length of a list."""
    file_rules: list[str]
    """The rules of the placements file, in words."""
    operator_rules: list[str]
    """The rules of operators, in words with their authors."""
    state: str
    """`fresh`, or why it is not."""
    batch_id: int | None = None
    """The published lists; None if there are none."""
    model_version: int | None = None
    lists: int = 0
    published_at: datetime | None = None
    checked_at: datetime | None = None
    """When a run last found the lists up to date."""
    moved_by: str | None = None
    """The person who rolled the lists back."""
    rules_version: int = 0
    """The version of the rules of operators when the lists were made."""
    answers: dict[str, int] = field(default_factory=dict)
    """Logged answers of the last 24 hours by source, in whole steps of five minutes."""
    page: str | None = None
    """The page of the model version in MLflow; of the champion without published lists."""


@dataclass(frozen=True)
class Placements:
    """All placements."""

    placements: list[PlacementReport]


@dataclass(frozen=True)
class VersionReport:
    """A version of the model with its figures."""

    version: int
    dataset_version: str
    kind: str | None = None
    """The kind of model; None for a version that was never promoted."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Figures of a promotion, measured on its data set."""
    passed: bool | None = None
    """Whether the gate passed it; None without a review."""
    gate: list[dict[str, Any]] = field(default_factory=list)
    """The checks of the gate: name, value, limit, outcome, detail."""
    groups: list[dict[str, Any]] = field(default_factory=list)
    """The comparison by groups of people."""
    decision: str | None = None
    decided_by: str | None = None
    reason: str | None = None
    since: datetime | None = None
    """When it became champion, or when its review was requested."""
    expires_at: datetime | None = None
    page: str | None = None
    """The page of the version in MLflow."""


@dataclass(frozen=True)
class ChampionReport:
    """The champion and the challenger side by side; None for one that does not exist."""

    champion: VersionReport | None
    challenger: VersionReport | None


@dataclass(frozen=True)
class LedgerEntry:
    """One batch of the ledger. The counts of rows add up to `read`."""

    batch_id: str
    source: str
    dataset: str
    status: str
    file: str
    started_at: datetime
    finished_at: datetime | None
    read: int
    accepted: int
    quarantined: int
    duplicate: int
    suppressed: int
    routed: int
    late: int
    detail: str | None
    page: str | None = None
    """Prefect's page of all runs."""


@dataclass(frozen=True)
class LedgerPage:
    """Batches, the latest first."""

    batches: list[LedgerEntry]
    next: str | None = None
    """The next page; None on the last one."""


@dataclass(frozen=True)
class DriftWindow:
    """One window and its verdict."""

    report_id: int
    model_version: int
    window_from: datetime
    window_to: datetime
    verdict: str
    joint: float | None
    """The largest deviation of any signal, in standard deviations."""
    joint_threshold: float
    drivers: list[str]
    decision: str
    reasons: list[str]
    page: str | None = None
    """The report in MLflow; Prefect's page of all runs if there is none."""
    model_page: str | None = None
    """The page of the model version in MLflow."""


@dataclass(frozen=True)
class DriftPage:
    """Windows, the latest first."""

    windows: list[DriftWindow]
    next: str | None = None
    """The next page; None on the last one."""


@dataclass(frozen=True)
class Alert:
    """Something that needs a person."""

    at: datetime
    kind: str
    """`drift`, `lists-refused`, `ingest-refused`, `retrain-failed`, `review-waits` or `audit`."""
    subject: str
    """The placement, batch or version that it is about."""
    detail: str
    page: str | None = None
    """Its page in Prefect or MLflow."""


@dataclass(frozen=True)
class AlertPage:
    """Alerts, the latest first."""

    alerts: list[Alert]
    next: str | None = None
    """The next page; None on the last one."""
