"""Interfaces of the parts that answers are built from."""

from typing import NamedTuple, Protocol

from serving.answers.answer import Listing
from serving.answers.request import ListRequest, RankRequest
from serving.stores.lists import Standing


class Hidden(NamedTuple):
    """What a placement's rules hide because of events, such as what the user bought."""

    items: frozenset[str]
    complete: bool
    """False if it could not be read now."""


class LiveScorer(Protocol):
    """Scores lists at the time of the request, under the placement's rules.

    Lists hold `offset + k` items if so many are allowed, and the request's filters are applied. `standing` is that of
    the visitor's user. A request without consent comes without user and session, and may still have a context. Methods
    return None if the model cannot score the request, and raise LiveUnavailableError if the scorer is overloaded.
    """

    def wanted(self, request: ListRequest) -> bool:
        """Return, without waiting, whether the request asks for what no batch knows.

        That is a context, recent clicks of the session, or a placement with live lists.
        """

    async def hidden(self, request: ListRequest) -> Hidden:
        """Return what the placement hides from the visitor, for lists that are made without the scorer."""

    async def recommend(self, request: ListRequest, standing: Standing) -> Listing | None:
        """Return the visitor's list."""

    async def similar(self, item: str, request: ListRequest, standing: Standing) -> Listing | None:
        """Return items that are similar to an item."""

    async def goes_with(self, items: tuple[str, ...], request: ListRequest, standing: Standing) -> Listing | None:
        """Return items that go with all items of a basket."""

    async def rank(self, request: RankRequest, standing: Standing) -> Listing | None:
        """Return the given items in the visitor's order; items that the rules do not allow are left out."""


class LiveUnavailableError(Exception):
    """The live scorer cannot take more requests now."""
