"""Merges limits that users set in a mapping with the defaults."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final, Literal

from expectations import events, items, users
from expectations.rules import RowRule
from models import columns
from models.ingest.batch_limits import Bounds, Limits
from models.ingest.source_config import MappingError

Dataset = Literal["events", "items", "users"]
DATASETS: Final[tuple[Dataset, ...]] = ("events", "items", "users")

QUARANTINED_SHARE: Final = "quarantined_share"
_SHARES: Final = (QUARANTINED_SHARE, "duplicate_share", "suppressed_share")
_LATER_RULES: Final = ("id_conflict", "unreadable")
"""Ids for which rows of events are quarantined that are no row rules."""
_OF_TABLES: Final = "line_unreadable"
"""The id for which lines of any CSV file are quarantined."""
_COLUMNS: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {
        "events": (
            *(columns.EVENT_ID, columns.USER_KEY, columns.SESSION_ID, columns.ITEM_ID, columns.EVENT_TYPE),
            *(columns.OCCURRED_AT, columns.QUANTITY, columns.VALUE, columns.CURRENCY, columns.RATING),
            *(columns.PLACEMENT, columns.POSITION, columns.RECOMMENDATION_ID),
        ),
        "items": (columns.ITEM_ID, columns.TITLE, columns.CATEGORY, columns.BRAND, columns.PRICE),
        "users": (columns.USER_KEY, columns.CONSENT),
    }
)
_SUITES: Final = MappingProxyType({"events": events, "items": items, "users": users})


def figures(dataset: Dataset) -> list[str]:
    """Return the figures of a batch that can have a limit.

    Besides shares of rows these are `days` between the first and the last event, `hours_old`, the age of the newest
    one, `<rule id>`, the share of rows that break the rule, and `null_<column>`, the share of nulls.
    """
    own = ["late_share", "days", "hours_old", *_LATER_RULES] if dataset == "events" else []
    rules = [rule.id for rule in _SUITES[dataset].RULES]
    return ["rows", *_SHARES, *own, _OF_TABLES, *rules, *(f"null_{name}" for name in _COLUMNS[dataset])]


def _stated(dataset: Dataset, limits: Limits) -> dict[str, Bounds]:
    bounds: dict[str, Bounds] = getattr(limits, dataset)
    known = figures(dataset)
    if unknown := [name for name in bounds if name not in known]:
        raise MappingError(
            f"The mapping cannot be used: limits.{dataset} names {', '.join(map(repr, unknown))}, but the figures of "
            f"a batch are {', '.join(known)}."
        )
    return bounds


def bounds(dataset: Dataset, limits: Limits) -> dict[str, Bounds]:
    """Return the lowest and highest value of every bounded figure. A side without a user's limit keeps the default.

    Raises MappingError for an unknown figure.
    """
    usual = _SUITES[dataset].PROFILE_BOUNDS
    merged = dict(usual)
    for name, (low, high) in _stated(dataset, limits).items():
        lowest, highest = usual.get(name, (None, None))
        merged[name] = (lowest if low is None else low, highest if high is None else high)
    return merged


def highest_quarantined(dataset: Dataset, limits: Limits) -> float:
    """Return the largest allowed share of quarantined rows. Raises MappingError like `bounds`."""
    _, highest = bounds(dataset, limits)["quarantined_share"]
    return 1.0 if highest is None else highest


def limited(dataset: Dataset, rules: Iterable[RowRule], limits: Limits) -> tuple[RowRule, ...]:
    """Return the rules with the shares of rows that may break them. Raises MappingError like `bounds`."""
    highest = {name: high for name, (_, high) in _stated(dataset, limits).items() if high is not None}
    return tuple(
        replace(rule, mostly=min(1.0, max(0.0, 1.0 - highest[rule.id]))) if rule.id in highest else rule
        for rule in rules
    )


def stated(allowed: Bounds) -> str:
    """Return bounds as a phrase; empty if both sides are open."""
    low, high = allowed
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"at least {low:g}" if low is not None else f"at most {high:g}" if high is not None else ""


def setting(dataset: str, name: str) -> str:
    """Return the key of a mapping that sets the limit of a figure; empty if there is none."""
    known = next((one for one in DATASETS if one == dataset), None)
    return f"`limits.{known}.{name}`" if known and name in figures(known) else ""
