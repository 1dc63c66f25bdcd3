"""Ten thousand events of the official libraries reach the lake once, whatever restarts and is killed."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page

from infra.database.engine import engine
from infra.installation import current
from infra.services.embedded_postgres import EmbeddedPostgres
from models.columns import LEDGER
from tests.tasks.ingest.inbox.collecting import (
    AGREED,
    SEND_NUMBERS,
    Collecting,
    NodeSender,
    PythonSender,
    Sender,
    collecting,
    pages,
)
from tests.tasks.ingest.inbox.pages_of_shop import load_library, opened_page
from tests.tasks.ingest.inbox.restartable import installed, restartable

EVENTS = {"python": 10_000, "node": 10_000, "browser": 1_000}


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with restartable(tmp_path_factory.mktemp("restarted")) as made:
        yield made


class BrowserSender:
    """The library for browsers, in a page that stays open."""

    def __init__(self, collector: Collecting, page: Page, address: str, name: str) -> None:
        self.collector, self.page, self.name = collector, page, name
        self.ids: set[str] = set()
        load_library(page, collector, address)

    def send(self, first: int, last: int) -> None:
        self.page.evaluate(
            f"""([first, last]) => ({SEND_NUMBERS})((number, messageId) => shop.track('Product Clicked',
                {{ product_id: 'cup' }}, {{ messageId, userId: 'user ' + number % 100,
                    context: {json.dumps(AGREED)} }}), '{self.name}', first, last)""",
            [first, last],
        )
        self.ids |= {f"{self.name}-{number}" for number in range(first, last)}

    def finish(self) -> None:
        end = time.monotonic() + 120
        while missing := self.ids - {row.message_id for row in self.collector.api.rows(_IDS)}:
            assert time.monotonic() < end, f"{len(missing)} calls are missing"
            self.page.wait_for_timeout(200)


_IDS = "SELECT message_id FROM event_inbox"


@contextmanager
def sender_of(library: str, collector: Collecting, folder: Path, address: str) -> Iterator[Sender]:
    if library == "python":
        yield PythonSender(collector, library, EVENTS[library])
    elif library == "node":
        yield NodeSender(collector, library)
    else:
        with opened_page(folder) as page:
            yield BrowserSender(collector, page, address, library)


@pytest.mark.faults
@pytest.mark.parametrize("library", EVENTS)
def test_thousands_of_events_with_duplicates_arrive_once(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    url = installed(server, tmp_path / "var", monkeypatch)

    @contextmanager
    def restarted() -> Iterator[None]:
        server.stop()
        yield
        time.sleep(3)
        server.start()

    (tmp_path / "pages").mkdir()
    with pages(tmp_path / "pages") as address, collecting(current(), tmp_path, address) as collector:
        with sender_of(library, collector, tmp_path / "pages", address) as sender:
            collector.storm(EVENTS[library], restarted(), sender)
        engine(url).dispose()
        assert collector.accepted() == sorted(f"{library}-{number}" for number in range(EVENTS[library]))
        counts = collector.api.ledger()
    assert counts["accepted"] == EVENTS[library]
    assert counts["read"] == sum(counts[name] for name in LEDGER if name != "read")
    current.cache_clear()
