"""One request on its way through the fallback chain."""

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final

from models.lists.rules.layer.rule_layer import NO_RULES, RuleLayer
from serving.answers.answer import Listing
from serving.answers.interfaces import Hidden
from serving.answers.request import ListRequest
from serving.answers.selection import Selection
from serving.stores.lists import NOBODY, Standing

Hides = Callable[[ListRequest], Awaitable[Hidden]]
Live = Callable[["Search"], Awaitable[Listing | None]]
LIVE_SECONDS: Final = 0.25
"""The time that an answer waits for live scores."""


@dataclass(slots=True)
class Search:
    """What is known of a request when the chain starts. Stages only read it, but for `degraded`."""

    key: Hashable
    """Identifies requests with the same answer."""
    request: ListRequest
    """Without user and session, unless personal answers are allowed."""
    selection: Selection
    user_key: str | None
    """The user who asked, also if the answer may not be personal."""
    rules: RuleLayer = NO_RULES
    """The rules of operators by which the selection was made."""
    standing: Standing = NOBODY
    read_at: float = 0.0
    """When the standing was read, by the database's clock."""
    table: Listing | None = None
    """The published list; None if there is none, if it may not be shown, or before `load_table`."""
    load_table: Callable[[], Awaitable[Listing | None]] | None = None
    """Reads the published list, if the chain needs it."""
    live: Live | None = None
    """Asks the live scorer; None if there is none."""
    hides: Hides | None = None
    """Asks what the placement's rules hide because of events; None without a live scorer."""
    live_seconds: float = LIVE_SECONDS
    """The time that the live scorer has."""
    asks_live: bool = False
    """Whether the request asks for what no batch knows."""
    live_helps: bool = True
    """Whether anything is known that live scores could use."""
    personal: bool = False
    """Whether the answer may depend on what is stored about the user."""
    degraded: bool = False
    """Whether a dependency did not answer."""
    letters: int = 0
    """The letters of the items that the request is about."""
    allows_best_sellers: bool = True
    """False for lists that hold only what is due."""

    @property
    def most(self) -> int:
        """Return how many visible items the request needs."""
        return self.request.offset + self.request.k
