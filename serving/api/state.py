"""What endpoints use: the state of a server with the parts that its start opens, a checked call, and its reply."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

from starlette.requests import Request
from starlette.responses import Response

from infra.configuration.placements import configured
from infra.configuration.settings import Settings
from infra.keys.api_keys import ApiKey, Scope
from infra.keys.credentials import Pseudonyms
from models.lists.rules.placement_config import Placement
from serving.api.gate.keyring import Keyring, TokenBucket
from serving.api.gate.request_log import RequestLog
from serving.events.impressions import ShownAnswer
from serving.events.message import Message, Receipt

if TYPE_CHECKING:
    from serving.answers.service import AnswerService
    from serving.api.gate.routes import Head
    from serving.collector.bodies import CallIntake
    from serving.operations.privacy_requests import PrivacyRequests
    from serving.operations.report_reader import ReportReader
    from serving.operations.rule_changes import Previews, RuleChanges
    from serving.operations.sign_ins import SignIns

HOME: Final = "home"
Kind = Literal["user", "similarity", "co_purchase"]
"""Lists for users, of similar items, and of items that go together."""
USERS: Final = "user"


class Events(Protocol):
    """Stores messages durably."""

    async def write(self, *messages: Message) -> list[Receipt]:
        """Return when all messages are durable."""


class Impressions(Protocol):
    """Logs answers without delaying them."""

    def log(self, shown: ShownAnswer) -> None:
        """Log an answer; return at once."""


@dataclass(frozen=True)
class Operators:
    """The parts of the operators' endpoints and pages."""

    changes: "RuleChanges"
    previews: "Previews"
    reports: "ReportReader"
    sign_ins: "SignIns"
    privacy: "PrivacyRequests"


@dataclass(frozen=True)
class Parts:
    """What the start of the process opens, and its end closes."""

    answers: "AnswerService"
    events: Events
    impressions: Impressions
    readiness: Callable[[], Mapping[str, bool]]
    """What has to be loaded before requests are answered, and whether it is."""
    calls: "CallIntake | None" = None
    """Takes the calls of Segment's libraries; None if this server stores nothing."""
    operators: "Operators | None" = None
    """What operators use; None on a server without a database."""


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

    @cached_property
    def default_placements(self) -> Mapping[str, str]:
        """Return the default placement of each kind of list: `home` for users, else the first one of the file."""
        found: dict[str, str] = {}
        for name, placement in self.placements.items():
            found.setdefault(kind_of(placement), name)
        return found | ({USERS: HOME} if HOME in self.placements else {})


def kind_of(placement: Placement) -> Kind:
    """Return what the lists of a placement are for."""
    return USERS if placement.method is None else placement.method


def state_of(settings: Settings, pseudonyms: Pseudonyms, own: ApiKey) -> State:
    """Return the state of a server before its parts are opened; `own` is a key that no database records."""
    return State(
        Keyring(None, settings.api_requests_per_second / settings.api_workers, [own]),
        pseudonyms,
        configured(settings),
        RequestLog(settings.api_log),
        frozenset(origin.strip().encode() for origin in settings.api_origins.split(",") if origin.strip()),
        settings.api_concurrency,
        tuple(name.strip() for name in settings.user_traits.split(",") if name.strip()),
    )


JSON: Final = b"application/json"
HTML: Final = b"text/html; charset=utf-8"
CALL: Final = "tailorbird.call"
"""The entry of an ASGI scope that holds the call."""
Headers = tuple[tuple[bytes, bytes], ...]


class Incoming(NamedTuple):
    """A request whose key its endpoint finds, such as in the body."""

    head: "Head"
    read: Callable[[int], Awaitable[bytes]]
    """Returns the body, of so many bytes at most. Raises ProblemError and ClientGoneError as `read_body`."""
    scheme: str
    admit: Callable[[bytes, Scope], Awaitable[ApiKey]]
    """Returns the key of an Authorization header, if it has the scope. Raises ProblemError."""
    bucket: Callable[[], TokenBucket | None]
    """Returns what the admitted key may still send."""


class Call(NamedTuple):
    """A checked request."""

    state: State
    value: str
    """The decoded variable of the path; empty without one."""
    query: bytes
    request_id: str
    bucket: TokenBucket | None = None
    """What the key may still send; None for paths without a key."""
    incoming: Incoming | None = None
    """None if the gate has checked the key."""
    key: ApiKey | None = None
    """The key that the gate has checked."""


class Reply(NamedTuple):
    """An answer before the headers that all answers have."""

    body: bytes
    status: int = 200
    media_type: bytes = JSON
    headers: Headers = ()


Handler = Callable[[Call], Awaitable[Reply]]
"""A hot endpoint, which the gate calls directly."""


def call_of(request: Request) -> Call:
    """Return the call that the gate put into the scope."""
    call: Call = request.scope[CALL]
    return call


def response(reply: Reply) -> Response:
    """Return a reply as FastAPI sends it."""
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    return Response(reply.body, reply.status, headers, reply.media_type.decode())
