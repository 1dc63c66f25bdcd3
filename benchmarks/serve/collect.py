"""Measures the collector on a PostgreSQL of its own: every answer means that the events are durable there.

Run as `python -m benchmarks.serve.collect`. First 40,000 events in requests of 100 over 8 connections, then single
`track` requests over 64 connections, then requests of 100 at half of the measured rate for the latency. A tenth of
the requests is sent twice. Then the inbox moves into the lake, and every event is counted there. The load comes from
this process on the same processors.
"""

import argparse
import base64
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson
import pyarrow.parquet as pq
from sqlalchemy import text

from benchmarks.installation import fresh
from benchmarks.results import publish
from benchmarks.serve.load import Latency, Load, send
from benchmarks.serve.servers import Ready, Server, free_port, running, uvicorn
from infra.installation import Installation, current
from infra.keys.recorded_api_keys import NewKey, create_key
from tasks.ingest.inbox.move_inbox import NOW, move_inbox

SEED: Final = 7
_SIZE: Final = 100
_CONNECTIONS, _SINGLE_CONNECTIONS = 8, 64
_SOURCE: Final = "benchmark"
_UNLIMITED: Final = 1_000_000.0
_CONSENT: Final = {"consent": {"categoryPreferences": {"Personalization": True}}}


def main() -> None:
    """Measure, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=40_000, help="events in requests of 100")
    parser.add_argument("--singles", type=int, default=6_000, help="requests with one event")
    given = parser.parse_args()
    with fresh("collect") as var:
        publish("collect", _measured(current(), var, given.events, given.singles), SEED)


def _call(name: str, number: int) -> dict[str, object]:
    """Return a click as a library sends it."""
    product = {"product_id": f"item {number % 500}", "name": "A cup of stoneware", "price": 12.5, "currency": "EUR"}
    return {
        "type": "track",
        "event": "Product Clicked",
        "messageId": f"{name}-{number}",
        "userId": f"user {number % 5000}",
        "anonymousId": f"device {number % 5000}",
        "timestamp": "2026-11-01T10:00:00.000Z",
        "properties": product,
        "context": {"library": {"name": "analytics-python", "version": "2.4.0"}, **_CONSENT},
        "integrations": {},
    }


def batches(name: str, count: int, size: int) -> list[bytes]:
    """Return bodies with `size` calls each."""
    return [
        orjson.dumps({"batch": [_call(name, number) for number in range(start, start + size)]})
        for start in range(0, count, size)
    ]


def singles(name: str, count: int) -> list[bytes]:
    """Return bodies with one call each."""
    return [orjson.dumps(_call(name, number)) for number in range(count)]


def _measured(installation: Installation, var: Path, events: int, number: int) -> dict[str, float]:
    key = str(create_key(installation.engine, NewKey(_SOURCE, ["collect"], _UNLIMITED), "benchmarks.collect")["key"])
    many, half, single = batches("many", events, _SIZE), batches("half", events // 4, _SIZE), singles("one", number)
    port = free_port()
    command, log = uvicorn("serving.api.app:app", port, 1), var / "log" / "api.log"
    with running(command, port, Ready("/livez"), log, os.environ.copy()) as server:
        _send(server, "/v1/batch", key, batches("warm", 2_000, _SIZE), _CONNECTIONS)
        batched = _send(server, "/v1/batch", key, many, _CONNECTIONS)
        alone = _send(server, "/v1/track", key, single, _SINGLE_CONNECTIONS)
        paced = _send(server, "/v1/batch", key, half, _CONNECTIONS, _per_second(batched) / 2)
        for path, bodies in (("/v1/batch", many[::10]), ("/v1/track", single[::10])):
            _send(server, path, key, bodies, _CONNECTIONS)
    expected = events + events // 4 + number + 2_000
    return {
        "events_per_s": _per_second(batched) * _SIZE,
        "single_per_s": _per_second(alone),
        "p99_ms": paced.quantile_ms(0.99),
        **arrived(installation, expected),
    }


def _send(
    server: Server, path: str, key: str, bodies: Sequence[bytes], connections: int, rate: float = math.inf
) -> Latency:
    login = base64.b64encode(f"{key}:".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    return send([Load(server.address, [path], headers, body.decode(), connections) for body in bodies], rate)


def _per_second(sent: Latency) -> float:
    return len(sent.seconds) / sent.took


def arrived(installation: Installation, expected: int) -> dict[str, float]:
    """Move the inbox, and count the events of the lake and of the ledger."""
    move_inbox(installation, "calls", NOW)
    found: Counter[str] = Counter()
    for file in installation.lake.event_files():
        found.update(pq.read_table(file, columns=["event_id"], partitioning=None)["event_id"].to_pylist())
    sums = "SELECT sum(read), sum(accepted + quarantined + duplicate + suppressed + routed) FROM ingest_batches"
    with installation.engine.connect() as connection:
        read, added = connection.execute(text(sums)).one()
    return {
        "lost": float(expected - len(found)),
        "doubled": float(sum(found.values()) - len(found)),
        "unaccounted": float(read - added),
    }


if __name__ == "__main__":
    main()
