"""Measures erasures, exports and searches for a person on the demo, and what an erasure costs in accuracy.

Run as `python -m benchmarks.privacy`. It erases 1 % of the people, then 10 %, then 1,000 in one request, and searches
every store for them in a way that shares no code with the product. Models in use are searched after a retraining.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import pandas as pd

from benchmarks.installation import CommandFailedError, Shop, opened_shop
from benchmarks.privacy import cached_lists, leftovers
from benchmarks.privacy.cached_lists import redis_server
from benchmarks.results import FOLDER, gained, publish, show
from infra.bundles.promoted import load_promoted
from infra.configuration.settings import load
from infra.installation import current
from infra.services.embedded_postgres import EmbeddedPostgres
from infra.services.endpoints import endpoints, export
from models import catalog
from models.datasets.dataset import Dataset
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.offline import Evaluation, evaluate
from models.primitives.json_types import JsonObject
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.protocols import Recommender
from tasks.datasets.load_dataset import open_dataset
from tasks.privacy.export_user import export_user
from tasks.privacy.find_user import search
from tasks.promotion.champion import require_champion

SEED: Final = 7
NAME: Final = "privacy-var"
SHARES: Final = (0.01, 0.1)
BATCH: Final = 1_000
SECONDS: Final = 10
"""After an erasure, until which its lists have left Redis. They would stay for minutes otherwise."""
BASELINES: Final = ("most_popular", "own_frequency")
_REASON: Final = ("--reason", "a measurement", "--actor", "benchmark")
_LISTS: Final = "SELECT user_key, placement, rank, item_id FROM current_recommendations ORDER BY 1, 2, 3"
_MODELS: Final = (*(f"--model={kind}" for kind in BASELINES), "--minutes", "0.05")


class Recipe(NamedTuple):
    """A model and its settings."""

    kind: str
    settings: JsonObject

    def fit(self, dataset: Dataset) -> Recommender:
        """Return the model that learned from what was known before the test weeks."""
        return catalog.fit(self.kind, dataset.training_data(dataset.cuts.test_from), self.settings, SEED)

    def evaluated(self, model: Recommender, dataset: Dataset) -> Evaluation:
        """Measure a model on the test weeks of the people of a data set."""
        data = dataset.training_data(dataset.cuts.test_from)
        return evaluate(model, data, dataset.holdout(data, dataset.cuts.as_of), popularity(data))


def erased(shop: Shop, people: pd.DataFrame, var: Path) -> float:
    """Erase people in one request; return the seconds of the command. Raises AssertionError if others are changed."""
    keys = set(people["user_key"])

    def lists() -> pd.DataFrame:
        rows = shop.query(_LISTS)
        return rows[~rows["user_key"].isin(keys)].reset_index(drop=True)

    before = lists()
    (var / "ids.csv").write_text("\n".join(people["user_id"]))
    started = time.perf_counter()
    with suppress(CommandFailedError):  # other work runs, such as a check for drift
        shop.run("privacy", "erase", "--file", str(var / "ids.csv"), *_REASON)
    while shop.run_json("privacy", "list")[0]["state"] != "done":
        time.sleep(2)
        started = time.perf_counter()
        with suppress(CommandFailedError):
            shop.run("privacy", "continue")
    seconds = time.perf_counter() - started
    (var / "ids.csv").unlink()
    print(f"Erased {len(people):,} people in {seconds:.0f} s.", flush=True)
    pd.testing.assert_frame_equal(lists(), before)
    return seconds


def reopened(version: str) -> Dataset:
    """Return a data set as it is stored now."""
    open_dataset.cache_clear()
    return open_dataset(version)


def stores(shop: Shop) -> dict[str, str]:
    """Return the URLs of all databases, for the superuser."""
    names = shop.query("SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'")
    server = EmbeddedPostgres(load().var)
    return {name: server.url(name).replace("postgresql+psycopg2", "postgresql") for name in names["datname"]}


def measured(shop: Shop, var: Path, redis: str | None) -> dict[str, float]:
    """Erase people step by step, and return all figures."""
    figures: dict[str, float] = {}
    champion, people = require_champion(current()), shop.query("SELECT * FROM identity.users ORDER BY user_key")
    manifest = load_promoted(champion, frozenset()).manifest
    recipe, version = Recipe(manifest.kind, manifest.parameters), champion["dataset_version"]
    before, total, gone = recipe.fit(reopened(version)), len(people), 0
    one = people.iloc[-1]["user_id"]
    for name, measure in (("export_s", lambda: export_user(current(), one, var / "copy.zip")),
                          ("verify_s", lambda: [*search(current(), one)])):  # fmt: skip
        started = time.perf_counter()
        measure()
        figures[name] = time.perf_counter() - started
    (var / "copy.zip").unlink()
    rows = []
    for share in SHARES:
        erased(shop, people.iloc[gone : round(share * total)], var)
        gone = round(share * total)
        dataset = reopened(version)
        earlier, later = recipe.evaluated(before, dataset), recipe.evaluated(recipe.fit(dataset), dataset)
        for when, evaluation in (("before", earlier), ("after", later)):
            figures[f"ndcg_{when}_retraining_{share:.0%}".replace("%", "_percent")] = evaluation.summary[METRIC]
        simple = (Recipe(kind, {}) for kind in BASELINES)
        measures = [*(one.evaluated(one.fit(dataset), dataset) for one in simple), earlier, later]
        cells = (f"{evaluation.summary[METRIC]:.4f}" for evaluation in measures)
        rows.append((f"{share:.0%}", *cells, gained(later, earlier, METRIC, SEED)))
    names = ("erased", *BASELINES, f"{recipe.kind} before retraining", "after", "gain")
    show("NDCG@10 for those who stay", names, rows)
    batch = people.iloc[gone : gone + BATCH]
    if redis:
        key = shop.run_json("keys", "create", "benchmark", "--actor", "benchmark", "--days", "1")[0]["key"]
        cached_lists.fill(current().endpoints.api_page, key, batch["user_id"])
        figures["lists_in_redis"] = cached_lists.people_in(redis, batch["user_key"])
    figures["seconds_per_1000_erasures"] = erased(shop, batch, var)
    gone += BATCH
    keys = set(people["user_key"].iloc[:gone])
    if redis:
        time.sleep(SECONDS)
        figures["lists_left_in_redis"] = cached_lists.people_in(redis, keys)
    figures["places_before_retraining"] = float(len(leftovers.places(var, stores(shop), keys)))
    shop.run("retrain", *_MODELS)
    shop.run("decide", "--approve", "--override", "--reason", "a measurement", "--reviewer", "benchmark")
    shop.run("score")
    shop.run("privacy", "continue")
    left = leftovers.places(var, stores(shop), keys)
    for place in left:
        print("left behind:", place)
    figures["left_behind"] = float(len(left))
    return figures


def main() -> None:
    """Run the demo in an installation of its own, measure, and delete it."""
    with redis_server() as redis, opened_shop(NAME, **({"TAILORBIRD_REDIS_URL": redis} if redis else {})) as shop:
        var = FOLDER.absolute() / NAME
        os.environ |= {"TAILORBIRD_SETTINGS": "none", "TAILORBIRD_VAR": str(var)}
        shop.run("demo", "--approve")
        export(endpoints(load()))
        publish("privacy", measured(shop, var, redis), SEED)


if __name__ == "__main__":
    main()
