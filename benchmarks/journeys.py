"""Counts the files that a reader opens to follow one row, one list and one request through the product.

A file counts if one of its functions starts on the way from (a) opening a CSV of purchases to the return of its commit,
(b) the call of `score` for one placement and two users to its return, (c) the bytes of a request for recommendations,
which no cache has, to those of its answer. All three run once before, on other rows.
Run as `python -m benchmarks.journeys [--list]`.
"""

import argparse
import http.client
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

from benchmarks.installation import installed, promote

_ROOT: Final = Path(__file__).resolve().parents[1]
_ROOMS: Final = ("flows", "serving", "tasks", "expectations", "infra", "models")
_USERS, _ITEMS, _WEEKS = 2, 12, 10
_MAPPING: Final = """
location = "{folder}"
consent = "given"
consent_note = "made up"

[events]
file = "purchases*.csv"
user_id = "customer"
item_id = "article"
occurred_at = "time"
constants.event_type = "purchase"

[items]
file = "articles.csv"
item_id = "article"
title = "name"
"""
_PLACEMENTS: Final = """
[first]
k = 5

[second]
k = 5
"""


class Journey:
    """The files of the product in which a function has started."""

    def __init__(self) -> None:
        self._rooms = tuple(f"{_ROOT / room}{os.sep}" for room in _ROOMS)
        self._started = set[str]()
        self._active = False

    def profile(self, frame: FrameType, event: str, _: Any) -> None:
        """Note the file of a function that starts."""
        if self._active and event == "call":
            self._started.add(frame.f_code.co_filename)

    @contextmanager
    def counted(self) -> Iterator[list[str]]:
        """Yield a list that has the files, by their names in the checkout, after the block."""
        found: list[str] = []
        self._started.clear()
        self._active = True
        try:
            yield found
        finally:
            self._active = False
            inside = [name for name in self._started if name.startswith(self._rooms) and name.endswith(".py")]
            found += sorted(str(Path(name).relative_to(_ROOT)) for name in inside)


def _write(file: Path, weeks: range) -> Path:
    """Write purchases of these weeks: each user buys some items of the same six again and again."""
    lines = ["customer,article,time"]
    for week in weeks:
        for user in range(_USERS):
            month, day = 1 + week // 4, 1 + 7 * (week % 4)
            moments = [f"2026-{month:02}-{day:02}T1{nth}:00:00Z" for nth in range(3)]
            lines += [f"u{user},i{(6 * user + nth + week) % _ITEMS},{at}" for nth, at in enumerate(moments)]
    file.write_text("\n".join(lines) + "\n")
    return file


def _ingest_items(mapping: Path, file: Path) -> None:
    from tasks.ingest.reference.ingest_reference import ingest_items

    file.write_text("\n".join(["article,name", *(f"i{item},Article {item}" for item in range(_ITEMS))]) + "\n")
    ingest_items.fn(str(mapping), str(file))


def _ingest(mapping: Path, file: Path) -> None:
    from tasks.ingest.events.ingest_events import ingest_events

    entry = ingest_events.fn(str(mapping), str(file))
    assert entry["accepted"], entry


def _promote() -> None:
    from models import catalog
    from models.recommenders.baselines.most_popular import popularity
    from tasks.datasets.build_dataset import build_dataset, split_by
    from tasks.datasets.load_dataset import open_dataset

    manifest = build_dataset.fn(split_by(validation_days=14, test_days=14))
    data = open_dataset(manifest["version"]).training_data(manifest["as_of"])
    model = catalog.model_type("own_frequency").fit(data, catalog.config("own_frequency", None), 7)
    promote(model, popularity(data), manifest["version"])


def _score(placement: str) -> None:
    from tasks.scoring.score_placement import score_placement

    batch = score_placement.fn(placement)
    assert batch["users"] == _USERS, batch


@contextmanager
def _served() -> Iterator[Callable[[int], None]]:
    """Serve in a thread of this process; yield a function that asks for so many items of a user's stored list."""
    from uvicorn import Config, Server

    from infra.installation import current
    from infra.keys.recorded_api_keys import NewKey, create_key
    from serving.api.startup.installation import of_installation
    from serving.http import API_PROTOCOL

    key = create_key(current().engine, NewKey("journeys", ["read"]), "benchmark")["key"]
    server = Server(Config(of_installation, factory=True, port=0, loop="uvloop", http=API_PROTOCOL, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]

    def ask(k: int) -> None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        path = f"/v1/users/u1/recommendations?k={k}&placement=second"
        client.request("GET", path, headers={"X-API-Key": str(key)})
        answer: dict[str, Any] = json.loads(client.getresponse().read())
        client.close()
        assert (answer["source"], len(answer["items"])) == ("table", k), answer

    try:
        yield ask
    finally:
        server.should_exit = True
        thread.join()


def _common(journey: Journey, steps: list[Callable[[], None]]) -> list[str]:
    """Return the files of every step, without those of what runs beside one of them."""
    files: list[set[str]] = []
    for step in steps:
        with journey.counted() as found:
            step()
        files.append(set(found))
    return sorted(set.intersection(*files))


def main() -> None:
    """Print the number of files of each journey, and with --list their names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the files, too")
    given = parser.parse_args()
    found: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, journey = Path(name), Journey()
        server = installed(folder / "var")
        os.environ["TAILORBIRD_PLACEMENTS"] = str(folder / "placements.toml")
        (folder / "placements.toml").write_text(_PLACEMENTS)
        mapping = folder / "small.toml"
        mapping.write_text(_MAPPING.format(folder=folder))
        sys.setprofile(journey.profile)
        threading.setprofile(journey.profile)
        try:
            _ingest_items(mapping, folder / "articles.csv")
            _ingest(mapping, _write(folder / "purchases-1.csv", range(_WEEKS)))
            with journey.counted() as found["ingest"]:
                _ingest(mapping, _write(folder / "purchases-2.csv", range(_WEEKS, _WEEKS + 2)))
            _promote()
            _score("first")
            with journey.counted() as found["score"]:
                _score("second")
            with _served() as ask:
                ask(1)
                found["request"] = _common(journey, [partial(ask, k) for k in (2, 3, 4, 5)])
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
            server.destroy()
    print(json.dumps({step: len(files) for step, files in found.items()}))
    for step, files in found.items() if given.list else ():
        print(f"\n{step}\n" + "\n".join(files))


if __name__ == "__main__":
    main()
