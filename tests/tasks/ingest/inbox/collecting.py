"""An installation with a running API that collects, and the official libraries that send to it."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from segment.analytics.client import Client
from sqlalchemy import insert, text

from infra.bundles.bundle import load
from infra.database.schema.schema import items, promotions
from infra.installation import Installation
from infra.keys.recorded_api_keys import NewKey, create_key
from tests.serving.api.server_process import ServerProcess, serving
from tests.serving.bundle_folders import write_bundle
from tests.tasks.ingest.inbox.api import Api

AGREED = {"consent": {"categoryPreferences": {"Personalization": True}}}
PACKAGES = ("@segment/analytics-next@1.84.3", "@segment/analytics-node@3.1.0")
_APPLICATION = "serving.api.app:app"
_FOLDER = Path(sys.prefix) / "segment_libraries"


@dataclass
class Collecting:
    """A running collector."""

    api: Api
    server: ServerProcess
    write_key: str
    """The key of pages."""
    server_key: str
    """A server's key, whose source is `server`."""
    read_key: str
    champion_items: Sequence[str]
    variables: Mapping[str, str]
    more: ExitStack
    errors: list[Any] = field(default_factory=list)

    def python(self, **options: Any) -> Client:
        """The official library for Python."""
        given = {"gzip": True, "upload_interval": 0.05, "upload_size": 100, "timeout": 10} | options
        host = self.server.address
        return Client(self.server_key, host=host, on_error=lambda error, _: self.errors.append(error), **given)

    @contextmanager
    def killed(self) -> Iterator[None]:
        """Kill the collector; at the end of the block another one is on the same port."""
        self.server.process.kill()
        self.server.process.wait()
        yield
        port = int(self.server.address.rpartition(":")[2])
        log = self.server.log.with_suffix(".again")
        self.server = self.more.enter_context(serving(_APPLICATION, self.variables, log, port=port))

    def accepted(self) -> list[str]:
        """Move what waits; the message ids of the source's events in the lake."""
        self.api.move()
        rows = [row for row in self.api.lake() if row["source"] in ("web", "server")]
        return sorted(row["event_id"].removeprefix(f"{row['source']}:") for row in rows)


@contextmanager
def collecting(
    installation: Installation, folder: Path, origins: str = "", stock: Callable[[Api], None] | None = None
) -> Iterator[Collecting]:
    """Start the API of an installation with a champion, and a key for pages; `stock` completes the catalogue before."""
    new = NewKey("web", ["collect"]), NewKey("server", ["collect"], kind="server"), NewKey("shop", ["read"])
    key, server_key, reader = (str(create_key(installation.engine, one, "ann")["key"]) for one in new)
    sold = _promote(installation, folder / "bundle")
    if stock is not None:
        stock(Api(installation))
    variables = {"TAILORBIRD_SETTINGS": "none", "TAILORBIRD_API_ORIGINS": origins}
    with ExitStack() as more:
        server = more.enter_context(serving(_APPLICATION, variables, folder / "log"))
        yield Collecting(Api(installation), server, key, server_key, reader, sold, variables, more)


def _promote(installation: Installation, folder: Path) -> list[str]:
    """Make a bundle the champion, as `decide` records it; returns its items."""
    digest = write_bundle(folder)
    row = {"previous_promotion_id": 0, "model_version": 3, "kind": "als", "dataset_version": "v1", "metrics": {}}
    row |= {"bundle": str(folder), "digest": digest, "actor": "ann", "reason": "better"}
    names: list[str] = load(folder, digest).model.items.tolist()
    sold = [{"item_id": name, "attributes": {}, "available": True, "batch_id": "b"} for name in [*names, "cup", "pan"]]
    with installation.engine.begin() as connection:
        connection.execute(insert(promotions).values(row))
        connection.execute(insert(items), sold)
        connection.execute(text("ANALYZE items"))
    return names


def library_folder() -> Path:
    """The folder with the libraries for browsers and Node, installed once; skips the test without npm or network."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("no Node on this machine: apt-get install nodejs npm")
    ready = _FOLDER / "ready.json"
    if not ready.exists() or json.loads(ready.read_text()) != list(PACKAGES):
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--silent", "--prefix", str(_FOLDER)]
        done = subprocess.run([npm, "install", *options, *PACKAGES], capture_output=True, timeout=120)
        if done.returncode:
            pytest.skip("npm cannot install Segment's libraries: no network")
        ready.write_text(json.dumps(PACKAGES))
    return _FOLDER / "node_modules"


def run_node(script: str, variables: Mapping[str, str] = MappingProxyType({})) -> None:
    """Run a script that may load the libraries."""
    environment = {**os.environ, **variables, "NODE_PATH": str(library_folder())}
    node = str(shutil.which("node"))
    subprocess.run([node, "-e", script], env=environment, check=True, timeout=60, capture_output=True)


@contextmanager
def pages(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP on a free port; yields the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
