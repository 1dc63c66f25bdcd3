"""Sends small HTTP requests to servers, without importing their clients (1 s each)."""

import json
import socket
import struct
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any

from infra.configuration import addresses

# Requests to loopback must not use a proxy from the environment.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_ANY = urllib.request.build_opener()
_UNREACHABLE = (OSError, HTTPException)
"""Nothing listens, or a server of another kind."""


def is_healthy(url: str, seconds: float = 2) -> bool:
    """Return whether an address answers with success."""
    try:
        with _open(url, seconds) as answer:
            return bool(answer.status < 400)
    except _UNREACHABLE:
        return False


def is_listening(url: str, seconds: float) -> bool:
    """Return whether a server listens: a refusal, or silence after it accepted the connection, counts too."""
    try:
        _open(url, seconds).close()
    except (urllib.error.HTTPError, TimeoutError):
        return True
    except _UNREACHABLE:
        return False
    return True


def is_postgres(url: str, seconds: float = 0.2) -> bool:
    """Return whether PostgreSQL answers at a URL: its reply to a request for encryption needs no password."""
    place = addresses.database(url)
    with socket.create_connection((place.host or "127.0.0.1", place.port or 5432), timeout=seconds) as line:
        line.sendall(struct.pack("!ii", 8, 80877103))
        return line.recv(1) in {b"S", b"N"}


def request_json(method: str, url: str, headers: Mapping[str, str], body: Any = None, seconds: float = 30) -> Any:
    """Send a request; return the JSON answer, or None for HTTP 404. Raises HTTPError for any other refusal."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with _open(url, seconds, data, {"Content-Type": "application/json", **headers}, method) as answer:
            text = answer.read()
            return json.loads(text) if text else {}
    except urllib.error.HTTPError as refusal:
        if refusal.code == 404:
            return None
        raise


def fetch_text(url: str, seconds: float = 5) -> str:
    """Return the text at a web address. Raises OSError if there is none."""
    with _open(url, seconds) as answer:
        return str(answer.read().decode(errors="replace"))


def open_answer(url: str, authorization: str, data: bytes | None, seconds: float) -> HTTPResponse:
    """Send a request and return the answer, which may be gzip and whose body is not read yet.

    The authorization is not sent on to another address. Raises HTTPError for a refusal, OSError or HTTPException.
    """
    request = urllib.request.Request(url, data, {"Accept-Encoding": "gzip"})  # noqa: S310 -- http(s) only
    request.add_unredirected_header("Authorization", authorization)
    answer: HTTPResponse = _opener(url).open(request, timeout=seconds)
    return answer


def basic_auth(login: str) -> str:
    """Return the Authorization header for user:password."""
    return f"Basic {b64encode(login.encode()).decode()}"


def _open(
    url: str, seconds: float, data: bytes | None = None, headers: Mapping[str, str] | None = None, method: str = "GET"
) -> Any:
    """Open an http(s) address that may contain a login, which urllib would read as a part of the host."""
    given = addresses.web(url, "An address")
    request = urllib.request.Request(given.address, data, dict(headers or {}), method=method)  # noqa: S310 -- http(s) only
    if given.login:
        request.add_unredirected_header("Authorization", basic_auth(given.login))
    return _opener(given.address).open(request, timeout=seconds)


def _opener(address: str) -> urllib.request.OpenerDirector:
    local = "://127.0.0.1" in address or "://localhost" in address
    return _DIRECT if local else _ANY
