"""Reports of the API, as far as the page shows them. Times are texts in ISO 8601."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, TypeVar

_Row = TypeVar("_Row")
_FIGURES: Final = ("ndcg_at_10", "new_ndcg_at_10", "recall_at_10", "hit_rate_at_10", "coverage_at_10", "users")


@dataclass(frozen=True, slots=True)
class PlacementReport:
    """What a placement shows, and how fresh it is."""

    placement: str
    subject: str
    k: int
    file_rules: list[str]
    operator_rules: list[str]
    state: str
    batch_id: int | None
    model_version: int | None
    lists: int
    published_at: str | None
    moved_by: str | None
    rules_version: int
    answers: dict[str, int]
    page: str | None


@dataclass(frozen=True, slots=True)
class VersionReport:
    """A version of the model with its figures."""

    version: int
    dataset_version: str
    kind: str | None
    metrics: dict[str, float]
    passed: bool | None
    gate: list[dict[str, Any]]
    decision: str | None
    decided_by: str | None
    since: str | None
    page: str | None


@dataclass(frozen=True, slots=True)
class Models:
    """Champion and challenger; None for one that does not exist."""

    champion: VersionReport | None
    challenger: VersionReport | None

    @property
    def figures(self) -> list[str]:
        """Return the names of the most important figures that either has."""
        return [name for name in _FIGURES if name in self._names]

    @property
    def other_figures(self) -> list[str]:
        """Return the names of all other figures."""
        return sorted(self._names.difference(_FIGURES))

    @property
    def _names(self) -> set[str]:
        both = [one.metrics for one in (self.champion, self.challenger) if one is not None]
        return {name for metrics in both for name in metrics}


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One batch of the ledger."""

    batch_id: str
    source: str
    dataset: str
    status: str
    file: str
    started_at: str
    read: int
    accepted: int
    quarantined: int
    duplicate: int
    suppressed: int
    routed: int
    detail: str | None
    page: str | None


@dataclass(frozen=True, slots=True)
class DriftWindow:
    """One window and its verdict."""

    model_version: int
    window_from: str
    window_to: str
    verdict: str
    joint: float | None
    joint_threshold: float
    drivers: list[str]
    decision: str
    page: str | None
    model_page: str | None


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that needs a person."""

    at: str
    kind: str
    subject: str
    detail: str
    page: str | None


def read(kind: type[_Row], stated: Mapping[str, Any]) -> _Row:
    """Return a report of an answer, without members that the page does not show."""
    return kind(**{field.name: stated[field.name] for field in fields(kind)})  # type: ignore[arg-type]


def read_or_none(kind: type[_Row], stated: Mapping[str, Any] | None) -> _Row | None:
    """Return a report; None if there is none."""
    return None if stated is None else read(kind, stated)
