"""Fills a Redis of its own with lists over the API, and finds them in its dump."""

import re
import shutil
import socket
import subprocess
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import httpx
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

_DIGEST: Final = re.compile(rb"\{([0-9a-f]{32})\}")


@contextmanager
def redis_server() -> Iterator[str | None]:
    """Yield the address of a Redis on a free port; None where it is not installed."""
    if shutil.which("redis-server") is None:
        print("Redis is not installed: lists in it are not measured.")
        yield None
        return
    with socket.socket() as free, TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder, "--rdbcompression", "no")
        server = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)  # noqa: S607
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.wait()


def fill(api: str, key: str, user_ids: Iterable[str]) -> None:
    """Ask for the lists of users, which puts them into the cache."""
    with httpx.Client(base_url=api, headers={"Authorization": f"Bearer {key}"}) as client:
        for user_id in user_ids:
            client.get(f"/v1/users/{user_id}/recommendations")


def people_in(url: str, keys: Collection[str]) -> int:
    """Return how many of the users have a list in a dump of Redis, which names users by digests only."""
    client = redis.Redis.from_url(url, retry=Retry(ConstantBackoff(0.1), 50))
    client.save()
    dump = Path(str(client.config_get("dir")["dir"])) / "dump.rdb"
    found = set(_DIGEST.findall(dump.read_bytes()))
    return sum(_digest(key) in found for key in keys)


def _digest(key: str) -> bytes:
    """Return the BLAKE2b digest of the word `list` and a key, each behind its length."""
    parts = b"".join(len(part).to_bytes(4, "big") + part for part in (b"list", key.encode()))
    return blake2b(parts, digest_size=16).hexdigest().encode()
