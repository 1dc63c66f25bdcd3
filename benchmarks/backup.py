"""Measures a backup of the demo under traffic, and its restore after everything was deleted.

Run as `python -m benchmarks.backup`. While a client sends views and asks for lists, a backup is stored, and another
one. Then the installation is deleted and restored. `lost` counts the views that were acknowledged before the backup
began and are missing afterwards, and `same_lists` is the share of published lists that are equal.
"""

import os
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import numpy as np
import pandas as pd

from benchmarks.installation import Shop, opened_shop
from benchmarks.results import FOLDER, publish
from infra.configuration.settings import load
from infra.services.endpoints import endpoints

SEED: Final = 7
NAME: Final = "backup-var"
SECONDS_BEFORE: Final = 10
"""The time of traffic before the first backup."""
_MODELS: Final = ("--model=most_popular", "--model=own_and_popular")
_LISTS: Final = (
    "SELECT user_key || placement AS list, rank, item_id FROM current_recommendations ORDER BY 1, 2",
    "SELECT for_item_id || placement AS list, rank, item_id FROM current_item_recommendations ORDER BY 1, 2",
)
_KEPT: Final = "SELECT message_id FROM event_inbox WHERE kind = 'event'"
"""Moved messages stay there for a day."""


@dataclass
class Client:
    """Sends views and asks for lists, one after the other, until it is stopped."""

    address: str
    key: str
    users: list[str]
    items: list[str]
    acknowledged: list[str] = field(default_factory=list)
    failed: int = 0

    def run(self, stopped: threading.Event) -> None:
        """Go on until `stopped` is set."""
        random = np.random.default_rng(SEED)
        with httpx.Client(base_url=self.address, headers={"Authorization": f"Bearer {self.key}"}) as client:
            while not stopped.wait(0.05):
                user, item = random.choice(self.users), random.choice(self.items)
                name = f"benchmark-{len(self.acknowledged)}-{random.integers(1 << 40)}"
                view = {"kind": "view", "item_id": item, "user": user, "message_id": name}
                if self._done(client.post("/v1/feedback", json=view)):
                    self.acknowledged.append(name)
                self._done(client.get(f"/v1/users/{user}/recommendations"))

    def _done(self, answer: httpx.Response) -> bool:
        self.failed += not answer.is_success
        return answer.is_success


def lists(shop: Shop) -> dict[str, tuple[str, ...]]:
    """Return all published lists by their user or item and their placement."""
    rows = pd.concat([shop.query(query) for query in _LISTS])
    return {str(name): tuple(items) for name, items in rows.groupby("list")["item_id"]}


def size_mb(folder: Path) -> float:
    """Return the size of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def timed(shop: Shop, *arguments: str) -> float:
    """Run a command; return its seconds."""
    started = time.perf_counter()
    shop.run(*arguments)
    return time.perf_counter() - started


def measured(shop: Shop, var: Path, place: Path) -> dict[str, float]:
    """Back up, delete and restore; return all figures."""
    figures: dict[str, float] = {}
    key = shop.run_json("keys", "create", "benchmark", "--scope", "read", "--scope", "write", "--days", "1")[0]["key"]
    users = [*shop.query("SELECT user_id FROM identity.users ORDER BY user_id")["user_id"]]
    items = [*shop.query("SELECT DISTINCT item_id FROM current_recommendations ORDER BY 1 LIMIT 500")["item_id"]]
    client, stopped = Client(endpoints(load()).api_page, key, users, items), threading.Event()
    thread = threading.Thread(target=client.run, args=[stopped])
    thread.start()
    try:
        time.sleep(SECONDS_BEFORE)
        committed, began = [*client.acknowledged], time.perf_counter()
        figures["backup_s"] = timed(shop, "backup", str(place))
        figures["requests_per_s_meanwhile"] = (len(client.acknowledged) - len(committed)) / (
            time.perf_counter() - began
        )
        figures["backup_mb"], figures["stored_mb"] = (
            shop.run_json("backup", "list", str(place))[0]["bytes"] / 1e6,
            size_mb(place),
        )
        committed = [*client.acknowledged]
        figures["second_backup_s"] = timed(shop, "backup", str(place))
        figures["second_stored_mb"] = size_mb(place) - figures["stored_mb"]
    finally:
        stopped.set()
        thread.join()
    figures["failed_requests"] = float(client.failed)
    figures["verify_s"] = timed(shop, "backup", "verify", str(place))
    before, key = lists(shop), shop.run("backup", "key").strip()
    shop.run("down")
    for folder in {(var / "postgres").resolve(), var}:
        shutil.rmtree(folder)
    os.environ["TAILORBIRD_SECRET_BACKUP_KEY"] = key
    restored = Shop(var, {})
    figures["restore_s"] = timed(restored, "restore", str(place))
    after, kept = lists(restored), set(restored.query(_KEPT)["message_id"])
    figures["same_lists"] = float(np.mean([after.get(name) == items for name, items in before.items()]))
    figures["lists"] = float(len(before))
    figures["events_before"] = float(len(committed))
    figures["lost"] = float(len(set(committed) - kept))
    figures["up_s"] = timed(restored, "up")
    return figures


def main() -> None:
    """Run the demo in an installation of its own, measure, and delete it."""
    place = FOLDER.absolute() / "backups"
    shutil.rmtree(place, ignore_errors=True)
    with opened_shop(NAME) as shop:
        var = FOLDER.absolute() / NAME
        os.environ |= {"TAILORBIRD_SETTINGS": "none", "TAILORBIRD_VAR": str(var)}
        shop.run("demo", "--approve", *_MODELS)
        publish("backup", measured(shop, var, place), SEED)
    with suppress(OSError):
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
