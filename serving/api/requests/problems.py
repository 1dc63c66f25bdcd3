"""Errors of the API in the form of RFC 9457. No detail holds an id, a key or a traceback."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import orjson

MEDIA_TYPE: Final = "application/problem+json"


class Fault(NamedTuple):
    """One fault of a request: a parameter, or a pointer into the body such as `/items/0/price`."""

    place: str
    detail: str


@dataclass(frozen=True)
class Problem:
    """What went wrong, and what the caller can do."""

    status: int
    kind: str
    detail: str
    faults: Sequence[Fault] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Return the phrase of the status."""
        return HTTPStatus(self.status).phrase

    def document(self, request_id: str) -> dict[str, Any]:
        """Return the problem as JSON describes it."""
        stated: dict[str, Any] = {
            "type": f"urn:tailorbird:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
        }
        if self.faults:
            stated["faults"] = [{"place": fault.place, "detail": fault.detail} for fault in self.faults[:20]]
        return stated

    def body(self, request_id: str) -> bytes:
        """Return the problem as bytes of JSON."""
        return orjson.dumps(self.document(request_id))


class ProblemError(Exception):
    """Ends a request with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.kind)
        self.problem = problem


class RefusedRequestError(ProblemError):
    """Ends a request whose values are refused."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        detail = f"{faults[0].place}: {faults[0].detail}"
        super().__init__(Problem(422, "invalid-request", detail, faults))


def unknown_placement(known: Sequence[str]) -> ProblemError:
    """Return the error of a placement that does not exist."""
    detail = f"There is no such placement; there are {', '.join(known)}."
    return ProblemError(Problem(404, "unknown-placement", detail))


def refuse_unknown_traits(traits: Iterable[str], allowed: Sequence[str]) -> None:
    """Raise RefusedRequestError for traits that are not allowed."""
    if unknown := set(traits) - set(allowed):
        known = ", ".join(allowed) or "none"
        detail = f"{len(unknown)} traits are not on the allow-list TAILORBIRD_USER_TRAITS, which has {known}."
        raise RefusedRequestError([Fault("/traits", detail)])


NO_ROUTE: Final = Problem(404, "unknown-path", "There is no such path. /openapi.json describes all paths.")
_MIXPANEL: Final = "Read Mixpanel's events and profiles with `tailorbird ingest mixpanel`, or send "
_POSTHOG: Final = "This server takes no calls of PostHog's libraries. Send "
_SEGMENT: Final = "live events by a library of Segment, with this server as its host: docs/collector.md."
OTHER_LIBRARIES: Final[Mapping[bytes, Problem]] = {
    **dict.fromkeys(
        (b"/track", b"/engage", b"/groups", b"/import", b"/record"), Problem(404, "other-library", _MIXPANEL + _SEGMENT)
    ),
    **dict.fromkeys(
        (b"/batch", b"/capture", b"/decide", b"/e", b"/flags", b"/i/v0/ai", b"/i/v0/e", b"/s"),
        Problem(404, "other-library", _POSTHOG + _SEGMENT),
    ),
}
"""What to do instead, by the paths to which these libraries send; they drop a call after 404."""
NO_KEY: Final = Problem(
    401,
    "key-required",
    "Send a valid API key as `Authorization: Bearer KEY`. `tailorbird keys create` makes one.",
    headers={"www-authenticate": 'Bearer realm="tailorbird"'},
)
KEYS_UNKNOWN: Final = Problem(
    503, "keys-unavailable", "The server cannot check keys yet. Repeat the request soon.", headers={"retry-after": "2"}
)
OVERLOADED: Final = Problem(
    503,
    "overloaded",
    "The server has more requests than it can answer. Repeat the request.",
    headers={"retry-after": "1"},
)
INTERNAL: Final = Problem(
    500, "internal-error", "A defect ended the request; the server's log names it under the request id."
)
PATH_TOO_LONG: Final = Problem(414, "path-too-long", "The path or the query is too long. Send many items in a body.")
HEADERS_TOO_LARGE: Final = Problem(431, "headers-too-large", "The headers are larger than the server accepts.")
BODY_TOO_SLOW: Final = Problem(408, "body-too-slow", "The body did not arrive in time.")
UNREADABLE: Final = Problem(400, "unreadable-body", "The body is no valid JSON.")
NOT_STORED: Final = Problem(
    501, "not-stored", "This server runs from a bundle folder and stores nothing. Send it to a server with a database."
)
DATABASE_AWAY: Final = Problem(
    503,
    "database-away",
    "The database does not answer; nothing was changed. Repeat the request soon.",
    headers={"retry-after": "5"},
)
NOT_JSON: Final = Problem(
    415, "unsupported-media-type", "Send the body as `Content-Type: application/json`, in UTF-8 and not compressed."
)


def body_too_large(most: int) -> Problem:
    """Return the problem of a body beyond the limit."""
    return Problem(413, "body-too-large", f"A body may have {most} bytes. Send several requests.")


def scope_missing(scope: str) -> Problem:
    """Return the problem of a key without the scope of the path."""
    return Problem(403, "scope-required", f"The path needs a key with the scope {scope}.")


def unknown_items(places: Iterable[int]) -> Problem:
    """Return the problem of messages about unknown items, by their places in the request."""
    detail = "The catalogue has no such item, and nothing was stored. `PUT /v1/items/{item}` adds an item."
    return Problem(404, "unknown-item", detail, [Fault(f"message {place}", "Unknown item.") for place in places])


def wrong_method(allowed: Sequence[str]) -> Problem:
    """Return the problem of a path that has other methods."""
    methods = ", ".join(allowed)
    return Problem(405, "method-not-allowed", f"The path allows {methods}.", headers={"allow": methods})


def rate_exceeded(seconds: int) -> Problem:
    """Return the problem of a key that sent too many requests."""
    return Problem(
        429,
        "rate-exceeded",
        f"The key sent more requests than it may. Repeat the request after {seconds} s.",
        headers={"retry-after": str(seconds)},
    )
