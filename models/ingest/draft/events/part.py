"""Guesses the part of a mapping that reads events."""

from collections.abc import Sequence
from typing import Final

from models.ingest.draft.currency import add_currency
from models.ingest.draft.event_words import event_words, possible_event_words
from models.ingest.draft.events.amounts_of_lines import add_amounts, lowest
from models.ingest.draft.events.event_id import add_event_id
from models.ingest.draft.events.event_type import add_event_type, add_refund_order, refund_rows, suggest_event_words
from models.ingest.draft.events.left_out_rows import find_returns, leave_out_rows, names_returns
from models.ingest.draft.events.likely_columns import LineColumns, likely_rating, line_columns
from models.ingest.draft.names import rank
from models.ingest.draft.parts import Part, Settings, number_settings, open_part, time_settings
from models.ingest.draft.roles import Choice, devices_of
from models.ingest.draft.samples import Column, Sample

_SHOWN: Final = ("placement", "position", "recommendation_id")
_SHOWN_WITH_ORDERS: Final = ("placement", "recommendation_id")
"""In a table of orders, a position is the number of a line."""
_FEW: Final = 0.02


def events_part(
    sample: Sample, user: Choice, item: Choice, times: Sequence[Column], others: Sequence[Sample] = ()
) -> Part:
    """Return the part for a table of events; among the `others` may be one of returns."""
    part = open_part("events", sample)
    found = line_columns(part, user, item, times)
    read = [one.name for one in (found.quantity, found.price or found.total or found.guess) if one]
    settings, doubt = number_settings(sample, read)
    for key, value in settings.items():
        part.add(key, value, doubt)
    kinds = event_words(sample, found.taken)
    devices = [one for one in devices_of(sample) if one.name != user.column]
    returns = find_returns(found.order, others)
    leave_out_rows(part, user, item, kinds, returns, has_device=bool(devices))
    identity = [user.column, item.column, times[0].name, *([kinds.name] if kinds else [])]
    add_event_id(part, found.order, identity, found.quantity)
    if rank(user.column, "device") is None:
        part.column("user_id", user)
        part.first("device_id", devices, "the visitor of rows without a user")
    else:
        part.column("device_id", user, "known to live events as anonymousId")
        part.suggest("user_id", user.column, "write user_id instead if your systems ask for lists by this id")
    part.column("item_id", item)
    if found.order:
        part.column("session_id", Choice(found.order.name))
    _add_time(part, times)
    _add_type_and_rating(part, user, found, kinds, settings)
    add_currency(part, found.total or found.price or found.guess, settings.get("currency_signs", ()))
    is_order = found.sold and not kinds
    for role in _SHOWN_WITH_ORDERS if is_order else _SHOWN:
        part.first(role, [one for one in sample.candidates(role) if one.name not in part.used and one.filled > 0])
    return part


def _add_type_and_rating(
    part: Part, user: Choice, found: LineColumns, kinds: Column | None, settings: Settings
) -> None:
    """Add the type of the events, their amounts and ratings."""
    taken = {*part.used, *found.taken}
    signed = next((one for one in (found.quantity, found.total) if one and lowest(one, settings) < 0), None)
    plain_views = not (kinds or found.sold or found.ratings)
    stars = likely_rating(part.sample, taken, found.quantity) if plain_views else None
    returned = names_returns(*part.sample.files, str(part.used_for("occurred_at")))
    add_event_type(part, kinds, signed, found.sold, bool(found.ratings), returned)
    if found.order and not found.is_session and (kinds or signed):
        add_refund_order(part, found.order, user.column, refund_rows(kinds, signed, settings))
    if not (kinds or signed or found.ratings):
        is_sale = bool(found.quantity or (found.order and not found.is_session))
        suggest_event_words(part, possible_event_words(part.sample, {*part.used, *found.taken}, sale=is_sale))
    add_amounts(part, found, settings)
    if found.ratings:
        part.first("rating", found.ratings)
    if stars:
        part.suggest("rating", stars.name, f"uncertain: if {stars.name} is a rating, its event_type is rating, too")


def _add_time(part: Part, times: Sequence[Column]) -> None:
    name = part.first("occurred_at", times)
    assert name is not None
    form, note = time_settings(part.sample, [name])
    if form:
        part.add("time_format", form, note)
    if not str(form).startswith("epoch") and not _zoned(times[0]):
        part.add("zone", "UTC", "the times name no zone: write the shop's, such as Europe/Berlin")


def _zoned(one: Column) -> bool:
    if one.is_typed_time:
        return getattr(one.cells.type, "tz", None) is not None
    return one.share(r"(Z|UTC|[+-]\d\d:?\d\d)$") > 1 - _FEW
