"""Holds what endpoints use: settings of the edge, and the parts that the start of the process opens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from models.lists.rules.placement_config import Placement
from serving.answers.answer import Answer
from serving.answers.request import ListRequest, RankRequest, Visitor
from serving.api.gate.keyring import Keyring
from serving.api.gate.request_log import RequestLog
from serving.api.requests.pseudonyms import Pseudonyms
from serving.events.impressions import ShownAnswer
from serving.events.message import Message, Receipt

HOME: Final = "home"


class Answers(Protocol):
    """Answers requests for lists, whatever is down."""

    async def recommend(self, request: ListRequest) -> Answer:
        """Return the visitor's list of a placement."""

    async def similar(self, item: str, request: ListRequest) -> Answer:
        """Return items that are similar to an item."""

    async def goes_with(self, items: tuple[str, ...], request: ListRequest) -> Answer:
        """Return items that go with all items of a basket."""

    async def rank(self, request: RankRequest) -> Answer:
        """Return the given items in the visitor's order."""

    async def popular(self, request: ListRequest) -> Answer:
        """Return best sellers."""

    async def trending(self, request: ListRequest) -> Answer:
        """Return items that gain most."""

    async def newest(self, request: ListRequest) -> Answer:
        """Return the newest items."""

    def hide(self, visitor: Visitor, item_id: str) -> None:
        """Hide an item from a visitor at once."""


class Events(Protocol):
    """Stores messages durably."""

    async def write(self, *messages: Message) -> list[Receipt]:
        """Return when all messages are durable."""


class Impressions(Protocol):
    """Logs answers without delaying them."""

    def log(self, shown: ShownAnswer) -> None:
        """Log an answer; return at once."""


@dataclass(frozen=True)
class Parts:
    """What the start of the process opens, and its end closes."""

    answers: Answers
    events: Events
    impressions: Impressions
    readiness: Callable[[], Mapping[str, bool]]
    """What has to be loaded before requests are answered, and whether it is."""


@dataclass
class State:
    """The state of one server process."""

    keyring: Keyring
    pseudonyms: Pseudonyms
    placements: Mapping[str, Placement]
    log: RequestLog = field(default_factory=RequestLog)
    origins: frozenset[bytes] = frozenset()
    """Origins of pages that may call the API from a browser."""
    most_active: int = 128
    """Requests that are answered at the same time; more are refused."""
    traits: tuple[str, ...] = ()
    """The allow-list of traits that callers may send."""
    is_stopping: bool = False
    parts: Parts = field(init=False)
    """Set before the first request."""

    def default_placement(self, subject: str, method: str | None = None) -> str | None:
        """Return `home` for users, else the first placement of that kind; None without one."""
        fitting = [
            name
            for name, placement in self.placements.items()
            if placement.subject == subject and placement.method == method
        ]
        return HOME if HOME in fitting else next(iter(fitting), None)
