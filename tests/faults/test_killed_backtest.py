"""A backtest that is killed in a retraining goes on, with the lists that live commands publish on the same days."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from infra.registry.client import Registry
from infra.services import state_file
from infra.supervisor.startup import BACKTESTS
from tests.flows.conftest import WEEK_PORTS, Shop, cut_shop
from tests.memory import postgres_in_memory
from tests.waiting import until

DAYS = ("2017-11-06", "2017-11-13", "2017-11-20")
MODEL = ("--model", "own_frequency")
WEEKS = ("backtest", "--from", DAYS[0], "--to", DAYS[-1], "--policy", "weekly", *MODEL)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Return an installation with PostgreSQL, Prefect and MLflow alone."""
    folder = tmp_path_factory.mktemp("past")
    shop = Shop(folder / "var", cut_shop(folder / "data", 1, 60, half=True), WEEK_PORTS)
    with postgres_in_memory(shop.var):
        shop.run("up", "--stores-only")
        assert alive(shop.var) == {"postgres", "prefect", "mlflow"}
        yield shop
        shop.run("down", "--force")


@pytest.fixture(scope="module")
def live(shop: Shop) -> list[Path]:
    """Live until the end of the first week, and return the lists of both days; then the second week comes in."""
    published = []
    for number, (begin, end) in enumerate(zip(("2000-01-01", *DAYS), DAYS, strict=False)):
        shop.run("ingest", "complete_journey", str(shop.data), "--from", begin, "--to", end)
        if number < len(DAYS) - 1:
            shop.run("retrain", "--no-search", *MODEL, TAILORBIRD_REVIEW="auto")
            shop.run("score", "home")
            published.append(shop.var / f"{end}.parquet")
            shop.run("export", "home", "--to", str(published[-1]))
    return published


def lists(file: Path) -> list[tuple[Any, ...]]:
    rows = pq.read_table(file, columns=["user_id", "rank", "item_id"]).to_pylist()
    return sorted(tuple(row.values()) for row in rows)


def alive(var: Path) -> set[str]:
    return {name for name, service in state_file.load(var).items() if service.alive}


def journal(shop: Shop) -> str:
    return "".join(file.read_text() for file in (shop.var / BACKTESTS).glob("*/weekly.json"))


def test_a_killed_backtest_goes_on_with_the_lists_that_live_commands_publish(
    shop: Shop, live: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = shop.begin(*WEEKS)
    until(lambda: "001 ingest" in journal(shop), seconds=300)
    time.sleep(3)  # in the retraining, which then goes on alone
    command.kill()
    assert "001 retrain" not in journal(shop)
    (child,) = (shop.var / BACKTESTS).glob("*/weekly")
    assert alive(child) == {"postgres", "prefect", "mlflow"}
    shop.run("down", "--force")
    assert alive(child) == set()
    shop.run("up", "--stores-only")

    command = shop.begin(*WEEKS, "--json")
    until(lambda: "001 score" in journal(shop), seconds=300)
    first, second = map(lists, sorted((shop.var / BACKTESTS).glob("*/weekly-*.parquet")))
    report = json.loads(command.ended()[1])

    assert first == lists(live[0])
    assert second == lists(live[1]) != first
    weekly, popularity, own = report["policies"]
    assert (weekly["policy"], weekly["retrainings"], popularity["policy"]) == ("weekly", 1, "popularity")
    assert 0 < popularity["ndcg"]["value"] < own["ndcg"]["value"]
    assert weekly["ndcg"]["low"] <= weekly["ndcg"]["value"] <= weekly["ndcg"]["high"]
    assert [row["from"] for row in report["periods"][:2]] == [*DAYS[:2]]
    shown = {artifact["key"]: artifact["data"] for artifact in shop.artifacts("backtest%")}
    assert "own frequency" in shown["backtest"]
    assert "](data:image/png;base64," in shown["backtest-plot"]
    for name, value in shop.services.environment.items():
        monkeypatch.setenv(name, value)
    files = Registry(shop.services.mlflow_tracking_uri).files(report["page"].split("/runs/")[1][:32], "backtest")
    assert set(files) == {"backtest.json", "backtest.png"}
    assert not any((shop.var / BACKTESTS).iterdir())


def test_a_backtest_that_cannot_be_lived_is_refused_with_the_next_step(shop: Shop, live: list[Path]) -> None:
    assert live
    late = shop.run("backtest", "--from", "2017-12-04", "--to", "2017-12-18", *MODEL, code=1)
    assert "There are no purchases from 2017-12-04 to 2017-12-11. Choose other days with --from and --to." in late
    items = shop.run("backtest", "--from", DAYS[0], "--to", DAYS[1], "--placement", "goes-well-with", *MODEL, code=1)
    assert "are about items; only lists for users can be compared" in items
