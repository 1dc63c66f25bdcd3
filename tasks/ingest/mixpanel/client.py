"""Downloads events and profiles from Mixpanel's API, with its limits, and again after faults that pass."""

import gzip
import hashlib
import json
import os
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlencode

from infra.configuration import addresses
from infra.services.http_client import basic_auth, open_answer
from models.errors import TailorbirdError
from models.ingest.mixpanel import Region
from models.ingest.segment.interactions import allowed
from tasks.orchestration.run_artifacts import announce

USERNAME, SECRET = "MIXPANEL_USERNAME", "MIXPANEL_SECRET"
ENDPOINT: Final = "MIXPANEL_ENDPOINT_URL"
Api = Literal["export", "query"]
_HOSTS: Final[dict[Region, dict[Api, str]]] = {
    "us": {"export": "https://data.mixpanel.com", "query": "https://mixpanel.com"},
    "eu": {"export": "https://data-eu.mixpanel.com", "query": "https://eu.mixpanel.com"},
    "in": {"export": "https://data-in.mixpanel.com", "query": "https://in.mixpanel.com"},
}
_DELAYS_S: Final = (5, 20, 60, 120, 300, 600, 1200, 1800)
"""The pauses after a refusal by the rate limit or a fault of the server or the network: more than an hour in all."""
_LONGEST_PAUSE_S: Final = 3600.0
_SECONDS: Final = 600
"""How long an answer may be silent: a large export needs minutes before its first byte."""
_ADVICE: Final = {
    400: "Check the days and the id of the project",
    401: f"Check {USERNAME} and {SECRET}: the name and the secret of a service account",
    402: "The plan of the project has no export API",
    403: "Give the service account a role in the project, and check the region: --region us, eu or in",
    404: "Check the region: --region us, eu or in",
}
T = TypeVar("T")
PER_SECOND: Final = 3
PER_HOUR: Final = 60
"""Mixpanel's limits of queries, for the export and for profiles. Requests follow each other, so none are concurrent."""
_HOUR: Final = 3600.0
_WORTH_A_MESSAGE: Final = 60.0
_FAST: Final = 1
"""The level of gzip: the file is read once and removed."""
_MOST_BYTES: Final = 256 << 20
"""The most bytes of one page of profiles."""


@dataclass
class RateLimit:
    """Delays requests. It knows only those of this process; Mixpanel itself refuses what exceeds its limits."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _sent: deque[float] = field(default_factory=lambda: deque(maxlen=PER_HOUR))

    def wait(self) -> None:
        """Sleep until another request is allowed, and count it."""
        while (delay := self._delay()) > 0:
            if delay >= _WORTH_A_MESSAGE:
                announce(f"Mixpanel's limit of queries is reached; the next one follows in {delay:,.0f} s")
            self.sleep(delay)
        self._sent.append(self.clock())

    def _delay(self) -> float:
        windows = ((PER_SECOND, 1.0), (PER_HOUR, _HOUR))
        full = [(self._sent[-most], seconds) for most, seconds in windows if len(self._sent) >= most]
        return max((sent + seconds - self.clock() for sent, seconds in full), default=0.0)


class MixpanelError(TailorbirdError):
    """Mixpanel refuses a request, or does not answer."""


class _PassingError(Exception):
    """A fault that may pass by itself; Mixpanel may state after how many seconds."""

    def __init__(self, what: str, seconds: float | None = None) -> None:
        super().__init__(what)
        self.seconds = seconds


@dataclass(frozen=True)
class MixpanelClient:
    """Sends one request at a time as a service account."""

    region: Region
    login: str = field(repr=False)
    limit: RateLimit = field(default_factory=RateLimit)

    def attempt(self, action: Callable[[], T]) -> T:
        """Return the result of requests, repeated after faults that pass. Raises MixpanelError if they remain."""
        for delay in _DELAYS_S:
            try:
                return action()
            except _PassingError as fault:
                pause = min(delay if fault.seconds is None else fault.seconds, _LONGEST_PAUSE_S)
                announce(f"{fault}; trying again in {pause:,.0f} s")
                self.limit.sleep(pause)
        try:
            return action()
        except _PassingError as fault:
            raise MixpanelError(f"{fault}, {len(_DELAYS_S) + 1} times. Run the same command later.") from None

    def answer(
        self, api: Api, path: str, query: Mapping[str, str | int], form: Mapping[str, str | int] | None = None
    ) -> HTTPResponse:
        """Return an answer, whose body is not read yet; a `form` is sent as POST.

        Raises MixpanelError for a refusal, and another error for a fault that may pass.
        """
        own = os.environ.get(ENDPOINT)
        host = addresses.web(own, ENDPOINT).address.rstrip("/") if own else _HOSTS[self.region][api]
        address = f"{host}{path}?{urlencode(query)}"
        self.limit.wait()
        try:
            return open_answer(address, basic_auth(self.login), urlencode(form).encode() if form else None, _SECONDS)
        except HTTPError as refusal:
            with refusal:
                raise _fault(refusal) from None
        except (HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            raise _PassingError(f"{host} cannot be reached ({reason})") from None


def blocks(answer: HTTPResponse, size: int = 1 << 18) -> Iterator[bytes]:
    """Yield the body of an answer, unpacked. Raises _PassingError if it ends before its end."""
    packed = answer.headers.get("Content-Encoding") == "gzip"
    unpacker = zlib.decompressobj(wbits=31)
    try:
        while block := answer.read(size):
            while packed and block and not unpacker.eof:
                yield unpacker.decompress(block, size)
                block = unpacker.unconsumed_tail
            if not packed:
                yield block
        if (packed and not unpacker.eof) or answer.length:
            raise _PassingError("The answer of Mixpanel broke off")
    except (HTTPException, OSError, zlib.error) as error:
        raise _PassingError(f"The answer of Mixpanel broke off ({type(error).__name__})") from None


def client_of(region: Region) -> MixpanelClient:
    """Return a client with the service account of the environment. Raises MixpanelError if there is none."""
    name, secret = os.environ.get(USERNAME), os.environ.get(SECRET)
    if not name or not secret:
        raise MixpanelError(
            f"Set {USERNAME} and {SECRET} to the name and the secret of a service account of the project, then run "
            "`tailorbird up` once, so that scheduled runs have them too."
        )
    return MixpanelClient(region, f"{name}:{secret}", _LIMIT)


_LIMIT: Final = RateLimit()
"""The requests of this process."""


def _fault(refusal: HTTPError) -> Exception:
    status = refusal.code
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _PassingError("Mixpanel's limit of queries is reached (HTTP 429)", _seconds(refusal))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _PassingError(f"Mixpanel has a fault (HTTP {status})", _seconds(refusal))
    advice = _ADVICE.get(status, "Check the project, the region and the service account")
    return MixpanelError(f"Mixpanel refused the request (HTTP {status}). {advice}.")


def _seconds(refusal: HTTPError) -> float | None:
    """Return the pause that `Retry-After` asks for; a date in it counts as none."""
    try:
        return max(0.0, float(refusal.headers["Retry-After"]))
    except (TypeError, ValueError):
        return None


@dataclass(frozen=True)
class Download:
    """A file of lines, gzip."""

    path: Path
    digest: str
    """The SHA-256 of its unpacked content: the same content is the same batch, however it was packed."""
    empty: bool


def download_day(client: MixpanelClient, project: int, day: date, path: Path) -> Download:
    """Download the events of a day, as often as the answer breaks off."""
    dates = {"from_date": day.isoformat(), "to_date": day.isoformat()}
    query: dict[str, str | int] = {"project_id": project, **dates, "time_in_ms": "true"}

    def lines() -> Iterator[bytes]:
        with client.answer("export", "/api/2.0/export", query) as answer:
            last = b""
            for block in blocks(answer):
                yield block
                last = _last_line(last + block)
        _check_end(last)

    return client.attempt(lambda: _written(path, lines()))


def download_profiles(
    client: MixpanelClient, project: int, traits: Iterable[str], consent: Iterable[str], path: Path
) -> Download:
    """Download all profiles, page by page, each as a line with the allowed `traits`, `consent` and `$last_seen`."""
    names = [*dict.fromkeys([*allowed([*traits]), *consent, "$last_seen"])]

    def lines() -> Iterator[bytes]:
        page, session = 0, None
        while True:
            form: dict[str, str | int] = {"output_properties": json.dumps(names)}
            if session is not None:
                form |= {"session_id": session, "page": page}
            answer = client.attempt(partial(_page, client, project, form))
            results, session = answer["results"], answer["session_id"]
            yield b"".join(_profile(one) for one in results)
            page += 1
            if len(results) < int(answer["page_size"]):
                return

    return _written(path, lines())


def _page(client: MixpanelClient, project: int, form: dict[str, str | int]) -> dict[str, Any]:
    with client.answer("query", "/api/query/engage", {"project_id": project}, form) as received:
        text = bytearray()
        for block in blocks(received):
            text += block
            if len(text) > _MOST_BYTES:
                raise MixpanelError(f"A page of profiles has more than {_MOST_BYTES >> 20} MiB. Name fewer traits.")
    try:
        answer = json.loads(text)
        usable = answer["status"] == "ok" and isinstance(answer["results"], list) and int(answer["page_size"]) > 0
        usable = usable and "session_id" in answer
    except (ValueError, KeyError, TypeError, RecursionError):
        usable = False
    if not usable:
        raise _PassingError("Mixpanel answered no page of profiles")
    return dict(answer)


def _profile(result: Any) -> bytes:
    return json.dumps(result, separators=(",", ":"), sort_keys=True).encode() + b"\n"


def _written(path: Path, content: Iterator[bytes]) -> Download:
    """Write the content, in place of what an earlier attempt wrote."""
    digest, size = hashlib.sha256(), 0
    with gzip.open(path, "wb", compresslevel=_FAST) as file:
        for block in content:
            file.write(block)
            digest.update(block)
            size += len(block)
    return Download(path, digest.hexdigest(), not size)


def _last_line(text: bytes) -> bytes:
    """Return the last line of a text, whose end may be missing."""
    return text[text.rstrip(b"\n").rfind(b"\n") + 1 :]


def _check_end(line: bytes) -> None:
    """Raise _PassingError if the last line is no event: Mixpanel reports a fault there, after HTTP 200."""
    try:
        event = json.loads(line) if line.strip() else {"event": None}
    except (ValueError, RecursionError):
        event = None
    if not (isinstance(event, dict) and "event" in event):
        raise _PassingError("The export of Mixpanel ended with a line that is no event")
