"""Requests of Segment's official libraries, byte by byte as their sources write them.

Those for phones, .NET, Go, Java, Ruby, PHP and Rust do not run here: their code was read, and what it sends is kept.
"""

import base64
import gzip
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import urlsplit

from models.primitives.json_types import JsonObject
from tests.tasks.ingest.inbox.collecting import AGREED

BERLIN = timezone(timedelta(hours=2))


def _iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _nanoseconds(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f") + "789Z"


def _ticks(at: datetime) -> str:
    return at.astimezone(BERLIN).strftime("%Y-%m-%dT%H:%M:%S.%f") + "7+02:00"


def _local(at: datetime) -> str:
    return at.astimezone(BERLIN).replace(tzinfo=None).isoformat()


def _seconds(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S+00:00")


def _joined(events: Sequence[JsonObject], ending: str) -> str:
    """Batches of the library for Kotlin, and those that follow it."""
    return '{"batch":[' + ",".join(json.dumps(event, separators=(",", ":")) for event in events) + f"],{ending}}}"


def _lines(events: Sequence[JsonObject], ending: str) -> str:
    """A file of the library for Swift."""
    lines = [("," if place else "") + json.dumps(event) for place, event in enumerate(events)]
    return "\n".join(['{ "batch": [', *lines, f"],{ending}}}", ""])


def _document(events: Sequence[JsonObject], ending: str) -> str:
    return json.dumps({"batch": list(events), **json.loads(f"{{{ending}}}")})


def _single(events: Sequence[JsonObject], _ending: str) -> str:
    (event,) = events
    return json.dumps({name: value for name, value in event.items() if name != "type"})


def _original(events: Sequence[JsonObject], ending: str) -> str:
    """A batch of RudderStack's library, whose calls have the time of the act under another name."""
    renamed = ({"originalTimestamp" if name == "timestamp" else name: one[name] for name in one} for one in events)
    return _document(list(renamed), ending)


@dataclass(frozen=True)
class Library:
    """How a library sends calls."""

    name: str
    path: str = "/v1/batch"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[Sequence[JsonObject], str], str] = _document
    time: Callable[[datetime], str] = _iso
    ending: str = '"sentAt":"SENT"'
    """The members of a batch after its calls."""
    more: Mapping[str, object] = field(default_factory=dict)
    """Members of each call that only this library has."""
    batch_context: bool = False
    """Whether the application states the consent once, in the context of the batch."""
    basic: bool = False
    """Whether the key is the user of a basic login."""
    packed: bool = False
    chunked: bool = False
    single: bool = False
    """Whether a request holds one call."""

    def request(self, host: str, key: str, clicks: Sequence[str], clicked_at: datetime) -> bytes:
        """A request with a click on the cup for each of these ids."""
        occurred = self.time(clicked_at)
        library: JsonObject = {"library": {"name": self.name, "version": "1"}}
        context = library if self.batch_context else {**library, **AGREED}
        own = {"userId": f"user of {self.name}", "timestamp": occurred, "context": context, "integrations": {}}
        own |= {"type": "track", "event": "Product Clicked", "properties": {"product_id": "cup"}}
        events = [{**own, "messageId": one, **self.more} for one in clicks]
        ending = self.ending.replace("SENT", self.time(datetime.now(UTC))).replace("KEY", key)
        ending = ending.replace("AGREED", json.dumps({**library, **AGREED}))
        content = self.body(events, ending).encode()
        head = {"Host": host, **self.headers}
        if self.basic:
            head["Authorization"] = "Basic " + base64.b64encode(f"{key}:".encode()).decode()
        if self.packed:
            head["Content-Encoding"], content = "gzip", gzip.compress(content)
        if self.chunked:
            head["Transfer-Encoding"] = "chunked"
            half = len(content) // 2
            content = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (content[:half], content[half:], b""))
        else:
            head["Content-Length"] = str(len(content))
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
        return "\r\n".join(lines).encode() + content


_METADATA = {"_metadata": {"bundled": [], "unbundled": [], "bundledIds": []}, "anonymousId": "3f0c0c1e-8d3b"}
_KEY_IN_BODY = '"sentAt":"SENT","writeKey":"KEY"'
_JSON = {"Content-Type": "application/json"}
_UTF8 = {"Content-Type": "application/json; charset=utf-8"}
_TEXT = {"Content-Type": "text/plain"}
LIBRARIES = (
    Library(
        "analytics-kotlin",
        "/v1/b",
        {**_TEXT, "User-Agent": "analytics-kotlin/1.22.0", "Accept": "text/html, image/gif, image/jpeg, *; q=.2"},
        _joined,
        ending=_KEY_IN_BODY,
        more=_METADATA,
        packed=True,
        chunked=True,
    ),
    Library(
        "analytics-swift",
        "/v1/b",
        {**_UTF8, "User-Agent": "analytics-ios/1.9.1", "Accept-Encoding": "gzip", "Accept": "*/*"},
        _lines,
        ending=_KEY_IN_BODY,
        more=_METADATA,
    ),
    Library("analytics-react-native", "/v1/b", _UTF8, ending=_KEY_IN_BODY, more=_METADATA),
    Library(
        "analytics_flutter",
        "/v1/b",
        {**_UTF8, "User-Agent": "analytics-flutter/1.1.7", "Accept-Encoding": "gzip"},
        time=_local,
        ending=_KEY_IN_BODY,
        more={**_METADATA, "integrations": None},
    ),
    Library(
        "Analytics-CSharp",
        "/v1/b",
        {"Accept": "text/plain", "Connection": "close"},  # and no type of the content
        _joined,
        time=lambda at: at.strftime("%Y-%m-%dT%H:%M:%S.%f") + "7Z",
        ending=_KEY_IN_BODY,
        more=_METADATA,
        packed=True,
    ),
    Library(
        "Analytics.NET",
        "/v1/import",
        {**_JSON, "User-Agent": "Analytics.NET/3.8.1", "Expect": "100-continue"},
        time=_ticks,
        ending='"messageId":"b1","sentAt":"SENT"',
        more={"anonymousId": None},
        basic=True,
        packed=True,
    ),
    Library(
        "analytics-go",
        headers={**_JSON, "User-Agent": "analytics-go (version: 3.0.0)", "Accept-Encoding": "gzip"},
        time=_nanoseconds,
        ending='"messageId":"b2","sentAt":"SENT","context":AGREED',
        batch_context=True,
        basic=True,
    ),
    Library(
        "analytics-java",
        "/v1/import",
        {"Content-Type": "application/json; charset=UTF-8", "User-Agent": "analytics-java/3.5.1"},
        ending='"sentAt":"SENT","context":{"library":{"name":"analytics-java"}},"sequence":1,"writeKey":"KEY"',
        basic=True,
    ),
    Library(
        "analytics-ruby",
        "/v1/import",
        {**_JSON, "Accept": "application/json", "User-Agent": "Ruby"},
        basic=True,
    ),
    Library(
        "analytics-php",
        headers={**_JSON, "User-Agent": "analytics-php/3.8.1", "Expect": "100-continue"},
        time=_seconds,
        basic=True,
        packed=True,
    ),
    Library(
        "rudder-sdk-node",
        "/v1/batch",
        {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json, text/plain, */*"},
        _original,
        ending='"timestamp":"SENT","sentAt":"SENT"',
        basic=True,
        packed=True,
    ),
    Library("analytics-rust", "/v1/track", _JSON, _single, basic=True, single=True),
)
"""The libraries, by the name of their repository."""


def send(library: Library, address: str, key: str, clicks: Sequence[str], clicked_at: datetime) -> str:
    """Send a click for each id over a connection of its own; return the status line of the answer."""
    place = urlsplit(address)
    host = f"{place.hostname}:{place.port}"
    parts = [[one] for one in clicks] if library.single else [list(clicks)]
    for part in parts:
        request = library.request(host, key, part, clicked_at)
        with socket.create_connection((place.hostname, place.port), 30) as connection:
            head, _, body = request.partition(b"\r\n\r\n")
            connection.sendall(head + b"\r\n\r\n")
            if b"100-continue" in head:
                assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
            connection.sendall(body)
            answer = connection.recv(4096).decode()
        status = answer.partition("\r\n")[0]
        if not status.startswith("HTTP/1.1 200"):
            break
    return status
