"""Defines the expectations on batches of events, items and users: contract, row rules and limits.

Times are epoch seconds, as in all expressions. Limits that users set in a mapping replace the defaults.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal

from expectations.rules import RowRule, in_set, longer, marked, missing, not_in_set, not_stated, outside, unreadable
from models import columns
from models.errors import TailorbirdError
from models.ingest import placeholder_ids, source_config
from models.ingest.batch_limits import Bounds, Limits
from models.ingest.currencies import CODES
from models.ingest.source_config import MappingError
from models.ingest.tabular.unreadable_cells import Kind

_ACCEPTED: Final[dict[Kind, set[Kind]]] = {"number": {"number", "text", "untyped"}, "time": {"time", "text", "untyped"}}
# Kinds that can be read as a number or a time. A text is parsed value by value, as in CSV.


class ContractViolationError(TailorbirdError):
    """A source lacks a column or has the wrong kind of value; none of its rows was stored."""


def check_contract(
    source: str,
    present: Mapping[str, Kind],
    rows: int,
    required: Mapping[str, Kind],
    optional: Collection[str] = (),
    hint: str = "",
) -> None:
    """Compare the columns of a source with those that its mapping reads. Raises ContractViolationError with all faults.

    `optional` columns may be missing, but not have another kind. A `hint` is added if columns are missing.
    """
    faults = [] if rows else ["it has no rows"]
    for column, kind in required.items():
        if column not in present:
            faults += [] if column in optional else [f"column {column!r} is missing"]
        elif present[column] == "nested":
            faults.append(f"column {column!r} must hold single values, found lists or structures")
        elif kind in _ACCEPTED and present[column] not in _ACCEPTED[kind]:
            faults.append(f"column {column!r} must hold a {kind}, found {present[column]}")
    if faults:
        advice = f"{hint} " if hint and any("is missing" in fault for fault in faults) else ""
        raise ContractViolationError(
            f"{source} breaks its contract: {'; '.join(faults)}. {_columns(present, required)} "
            f"{advice}Fix the file or the mapping, then ingest it again; nothing was stored."
        )


def _columns(present: Collection[str], required: Collection[str]) -> str:
    """Describe the columns by number and by the mapping's names: without a header, other names are a row's values."""
    known = [name for name in required if name in present]
    listed = f"these are in the mapping: {', '.join(known)}" if known else "none of them is in the mapping"
    hint = "" if known else " Does its first line name the columns?"
    return f"It has {len(present)} columns; {listed}.{hint}"


IN_CATALOGUE = "in_catalogue"
OCCURRED_S = "occurred_s"
AHEAD_S = "ahead_s"
"""Helper columns of the checked frame: known item, epoch seconds, seconds ahead of the time of reading. The frame also
has the marks of `models.ingest.source_config`."""

_YEAR_1990 = 631_152_000
_DAY = 86_400.0
_LARGEST_RATING = 1000.0
_USUAL: Final = Limits()
_LONG_USER_ID: Final = f"a user id of more than {source_config.LONGEST_ID} characters"
_LONG_ID: Final = not_in_set("user_id_too_long", _LONG_USER_ID, source_config.USER_ID_TOO_LONG, [False])


def event_rules(
    placeholder_keys: Sequence[str] = (),
    placeholder_items: Sequence[str] = (),
    limits: Limits = _USUAL,
    required: Sequence[str] = (),
) -> tuple[RowRule, ...]:
    """Return the row rules of events for these pseudonyms and items of placeholders.

    `required` are further columns that may not be empty.
    """
    quantity, value = limits.highest_quantity, limits.highest_value
    user_placeholder = "an id that identifies no user, such as null or guest"
    item_placeholder = "an id that identifies no item, such as null or undefined"
    return (
        missing(columns.EVENT_ID, "the event has no id"),
        missing(columns.USER_KEY, "the event has no user"),
        missing(columns.ITEM_ID, "the event has no item"),
        not_stated(columns.OCCURRED_AT, "the event has no time"),
        missing(columns.EVENT_TYPE, "the event has no type"),
        *(not_stated(name, f"the event has no {name}") for name in required),
        *map(unreadable, _READ_OF_EVENTS),
        *(longer(name, source_config.LONGEST_ID) for name in (columns.EVENT_ID, columns.ITEM_ID, columns.SESSION_ID)),
        _LONG_ID,
        in_set("user_id_placeholder", user_placeholder, columns.USER_KEY, placeholder_keys),
        in_set("item_id_placeholder", item_placeholder, columns.ITEM_ID, placeholder_items),
        not_in_set("event_type_unknown", "an unknown type of event", columns.EVENT_TYPE, columns.EVENT_TYPES),
        outside("quantity_not_positive", "a quantity of zero or less", columns.QUANTITY, 0.0, None, strict_low=True),
        outside(
            "quantity_above_limit", f"more than {quantity:,.0f} pieces in one row", columns.QUANTITY, None, quantity
        ),
        outside("value_not_positive", "a value of zero or less", columns.VALUE, 0.0, None, strict_low=True),
        outside("value_above_limit", f"a value of more than {value:,.0f}", columns.VALUE, None, value),
        not_in_set("currency_unknown", "no currency code by ISO 4217", columns.CURRENCY, sorted(CODES)),
        outside("rating_beyond_limit", _FAR_RATING, columns.RATING, -_LARGEST_RATING, _LARGEST_RATING),
        outside("position_negative", "a position below 0", columns.POSITION, 0.0, None),
        outside("time_before_1990", "a time before 1990", OCCURRED_S, _YEAR_1990, None),
        outside("time_in_future", "a time more than a day in the future", AHEAD_S, None, _DAY),
        not_in_set("item_not_in_catalogue", "the item is not in the catalogue", IN_CATALOGUE, [True]),
        marked("robot", "an event of a robot", source_config.ROBOT),
        marked("internal_traffic", "an event of an internal user or address", source_config.INTERNAL),
    )


_READ_OF_EVENTS: Final = (
    *(columns.OCCURRED_AT, columns.RECEIVED_AT),
    *(columns.QUANTITY, columns.VALUE, columns.RATING, columns.POSITION),
)
"""Columns that a mapping reads as a time or a number."""
_FAR_RATING = f"a rating beyond {_LARGEST_RATING:,.0f}, or below {-_LARGEST_RATING:,.0f}"

EVENT_RULES: Final = event_rules(placeholder_items=placeholder_ids.ITEMS)
"""The rules for a source without placeholders for users."""


_READ_OF_ITEMS: Final = (
    *(columns.PRICE, columns.UPDATED_AT, columns.AVAILABLE_FROM, columns.AVAILABLE_UNTIL, columns.URL, columns.IMAGE),
)
"""Columns that a mapping reads as a number, a time or an address. Stock is not one of them: an item with an unreadable
stock would exclude all its events."""
ITEM_RULES: Final[tuple[RowRule, ...]] = (
    missing(columns.ITEM_ID, "the item has no id"),
    longer(columns.ITEM_ID, source_config.LONGEST_ID),
    missing(columns.TITLE, "the item has no title"),
    outside("price_negative", "a price below zero", columns.PRICE, 0.0, None),
    not_in_set("currency_unknown", "no currency code by ISO 4217", columns.CURRENCY, sorted(CODES)),
    *map(unreadable, _READ_OF_ITEMS),
)


def item_rules(required: Sequence[str] = ()) -> tuple[RowRule, ...]:
    """Return the row rules of items; `required` are further columns that may not be empty."""
    return (*ITEM_RULES, *(not_stated(name, f"the item has no {name}") for name in required))


USER_RULES: Final[tuple[RowRule, ...]] = (
    missing(columns.USER_KEY, "the user has no id"),
    _LONG_ID,
    unreadable(columns.CONSENT_AT),
)

Dataset = Literal["events", "items", "users"]
DATASETS: Final[tuple[Dataset, ...]] = ("items", "users", "events")
"""In the order of an ingest: events are checked with the catalogue and with users' answers about consent."""

QUARANTINED_SHARE: Final = "quarantined_share"
_SHARES: Final = (QUARANTINED_SHARE, "duplicate_share", "suppressed_share")
_LATER_RULES: Final = ("id_conflict", "unreadable")
"""Ids for which rows of events are quarantined that are no row rules."""
_OF_TABLES: Final = "line_unreadable"
"""The id for which lines of any CSV file are quarantined."""
_COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "events": (
        *(columns.EVENT_ID, columns.USER_KEY, columns.SESSION_ID, columns.ITEM_ID, columns.EVENT_TYPE),
        *(columns.OCCURRED_AT, columns.QUANTITY, columns.VALUE, columns.CURRENCY, columns.RATING),
        *(columns.PLACEMENT, columns.POSITION, columns.RECOMMENDATION_ID),
    ),
    "items": (columns.ITEM_ID, columns.TITLE, columns.CATEGORY, columns.BRAND, columns.PRICE),
    "users": (columns.USER_KEY, columns.CONSENT),
}
RULES: Final[Mapping[str, Sequence[RowRule]]] = {"events": EVENT_RULES, "items": ITEM_RULES, "users": USER_RULES}
USUAL_BOUNDS: Final[Mapping[str, Bounds]] = {"rows": (1, None), QUARANTINED_SHARE: (None, 0.2)}
"""The lowest and highest value of figures of a batch, without limits of a mapping."""


def figures(dataset: Dataset) -> list[str]:
    """Return the figures of a batch that can have a limit.

    Besides shares of rows these are `days` between the first and the last event, `hours_old`, the age of the newest
    one, `<rule id>`, the share of rows that break the rule, and `null_<column>`, the share of nulls.
    """
    own = ["late_share", "days", "hours_old", *_LATER_RULES] if dataset == "events" else []
    rules = [rule.id for rule in RULES[dataset]]
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
    merged = dict(USUAL_BOUNDS)
    for name, (low, high) in _stated(dataset, limits).items():
        lowest, highest = USUAL_BOUNDS.get(name, (None, None))
        merged[name] = (lowest if low is None else low, highest if high is None else high)
    return merged


def highest_quarantined(dataset: Dataset, limits: Limits) -> float:
    """Return the largest allowed share of quarantined rows. Raises MappingError like `bounds`."""
    _, highest = bounds(dataset, limits)[QUARANTINED_SHARE]
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
