"""Answers "Why am I seeing this?" for a shelf, in plain words."""

from collections.abc import Mapping
from typing import Final

from serving.shop.client.answers import Shelf
from serving.shop.client.wanted import Wanted
from serving.shop.visits.visit import Visit

_MADE_AHEAD: Final = "The recommender made this list ahead of time"
_SOURCES: Final[Mapping[str, str]] = {
    "table": _MADE_AHEAD,
    "cache": _MADE_AHEAD,
    "live": "The recommender computed this list just now",
    "last_good": "This is the last list that the recommender has for this request",
    "segment": "These are best sellers among customers with similar traits",
    "popular": "These are best sellers among all customers",
}
_OLD: Final = (
    "The recommender does not answer at the moment. This is the last list for everybody that the shop received."
)
_DEGRADED: Final = "A part of the recommender did not answer, so a simpler list takes the place of the usual one."
NOBODY: Final = "It depends on no person."


def why(shelf: Shelf, wanted: Wanted, visit: Visit) -> list[str]:
    """Return sentences about the origin of a shelf: how it was made, from what, and by which model."""
    sentences = [_OLD] if shelf.is_old else [_how(shelf), _from(wanted, visit, shelf)]
    if shelf.degraded:
        sentences.append(_DEGRADED)
    return sentences


def _how(shelf: Shelf) -> str:
    how = _SOURCES.get(shelf.source, f"The recommender found this list ({shelf.source})")
    if shelf.model_version is not None:
        how += f", with version {shelf.model_version} of its model"
    return f"{how}."


def _from(wanted: Wanted, visit: Visit, shelf: Shelf) -> str:
    if wanted.context:
        return "It is about the products on this page."
    if wanted.about == "everybody" or not visit.is_personal or shelf.source == "popular":
        return NOBODY
    if not shelf.is_personal:
        return "It depends on nothing that you bought or clicked."
    if shelf.source == "segment":
        return "It depends on traits that are stored about your household, because you agreed to that."
    if visit.household is None:
        return "It depends on what you clicked in this browser, because you agreed to that."
    return "It depends on what your household bought, and on your latest clicks, because you agreed to that."
