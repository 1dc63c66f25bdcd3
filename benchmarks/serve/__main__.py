"""Measures the API on the installation of `make demo`: throughput, latency, start and memory.

Run as `python -m benchmarks.serve`. On the same server and workers it first measures a bare Starlette application, and
at the end `mlflow models serve` of the same champion. `live` is the question that MLflow's server gets: a known user's
list, scored now; `context` adds a basket of two items. Keys, limits, impressions and metrics are switched on. Each way
is warmed up and saturated; then latency is measured at a constant rate of half of that, from the moment at which each
request was due, once the impressions of the saturation have moved into the lake. The load comes from another process on
the same processors, so all figures are of this machine under its own load: compare shares, not rates, and latencies
with those of Starlette (`p99_ms_hello`). A server starts when its process does, and is ready with its first live
answer.
"""

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import numpy as np
from sqlalchemy import Engine, text

from benchmarks.results import FOLDER, publish
from benchmarks.serve.load import Load, latency, saturation
from benchmarks.serve.servers import Ready, Server, api, free_port, running, uvicorn
from benchmarks.serve.traffic import LIVE, PLACEMENT, Traffic, traffic
from infra.configuration.placements import placements_file
from infra.configuration.settings import load as load_settings
from infra.installation import current
from infra.keys.recorded_api_keys import NewKey, create_key, revoke_key
from infra.overview.situation import NoChampionError, require_champion
from infra.services.endpoints import ServicesDownError
from models.errors import TailorbirdError

SEED: Final = 7
_FIRST_PAGE: Final = Ready("/")
_WARM_UP: Final = 3
"""Seconds."""
_UNCACHED: Final = {"TAILORBIRD_CACHE_SECONDS": "0.001"}
_UNLIMITED: Final = 1_000_000.0
_WAITING: Final = text("SELECT coalesce(sum(messages), 0) FROM event_inbox WHERE kind = 'answers'")
_PATIENCE: Final = 20.0
"""Seconds without progress after which no reconciler seems to run."""
Figures = dict[str, float]


def main() -> None:
    """Measure all ways, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement")
    parser.add_argument("--workers", type=int, default=2, help="processes of each server")
    given = parser.parse_args()
    try:
        figures = _measured(given.seconds, given.workers)
    except (NoChampionError, ServicesDownError) as error:
        sys.exit(f"{error} The benchmark needs the installation of `make demo`.")
    except TailorbirdError as error:
        sys.exit(str(error))
    publish("serve", figures, SEED)


def _measured(seconds: int, workers: int) -> Figures:
    installation = current()
    engine = installation.engine
    folder = Path(require_champion(engine, installation.settings)["bundle"])
    key = create_key(engine, NewKey("benchmarks.serve", ["read"], _UNLIMITED, timedelta(hours=1)), "benchmarks.serve")
    try:
        sent = traffic(engine, str(key["key"]), np.random.default_rng(SEED))
        figures = _hello(seconds, workers) | _api(sent, seconds, workers)
    finally:
        revoke_key(engine, str(key["key_id"]), "benchmarks.serve")
    return _with_ratios(figures | _mlflow(folder, sent, seconds, workers))


def _hello(seconds: int, workers: int) -> Figures:
    with _served("hello", uvicorn("benchmarks.serve.hello:app", port := free_port(), workers), port) as server:
        return _measured_both("hello", Load(server.address, ["/"], meant=b"hello"), seconds)


def _api(sent: Traffic, seconds: int, workers: int) -> Figures:
    figures: Figures = {}
    first = Ready(sent.context("").paths[0], sent.headers, LIVE)
    with _served("api", api(port := free_port(), workers), port, first) as server:
        figures["start_s"] = server.seconds
        figures |= _measured_both("cached", sent.cached(server.address), seconds)
        figures |= _measured_both("context", sent.context(server.address), seconds)
        figures |= {"peak_mb_per_worker": server.peak_mb(), "own_mb_per_worker": server.own_mb()}
    with _served("api", api(port := free_port(), workers), port, first, _UNCACHED) as server:
        figures |= _measured_both("table", sent.table(server.address), seconds)
    with (
        _live_placement() as placements,
        _served("api", api(port := free_port(), workers), port, first, placements) as server,
    ):
        figures |= _measured_both("live", sent.live(server.address), seconds)
    return figures


@contextmanager
def _live_placement() -> Iterator[dict[str, str]]:
    """Yield the variables of an API whose placement is scored at each request, under its present rules otherwise."""
    present = placements_file(load_settings()).expanduser().read_text()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "placements.toml"
        file.write_text(present.replace(f"[{PLACEMENT}]", f"[{PLACEMENT}]\nlive = true"))
        yield {"TAILORBIRD_PLACEMENTS": str(file)}


def _measured_both(way: str, load: Load, seconds: int) -> Figures:
    """Measure both; `meant` is the share of the answers that were not those of an overloaded server."""
    saturation(load, _WARM_UP)  # fills caches, opens connections, and compiles plans in every worker
    rate = saturation(load, seconds)
    _await_moved(current().engine, load_settings().inbox_rows)  # below saturation there is no such backlog
    taken = latency(load, rate / 2, seconds)
    return {
        f"rps_{way}": rate,
        f"p50_ms_{way}": taken.quantile_ms(0.5),
        f"p99_ms_{way}": taken.quantile_ms(0.99),
        f"meant_{way}": taken.meant / len(taken.seconds),
    }


def _await_moved(engine: Engine, most: int) -> None:
    """Return when at most this number of answers waits in the inbox, or when nothing moves."""
    least, since = math.inf, monotonic()
    while (waiting := _waiting(engine)) > most and monotonic() - since < _PATIENCE:
        if waiting < least:
            least, since = waiting, monotonic()
        sleep(0.5)


def _waiting(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(_WAITING).scalar_one())


def _mlflow(folder: Path, sent: Traffic, seconds: int, workers: int) -> Figures:
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local"]
    port = free_port()
    command += f"--host 127.0.0.1 --port {port} --workers {workers}".split()
    with _served("mlflow", command, port, Ready("/health")) as server:
        return {"rps_mlflow": saturation(sent.mlflow(server.address), seconds)}


def _served(
    name: str, command: list[str], port: int, ready: Ready = _FIRST_PAGE, more: Mapping[str, str] | None = None
) -> AbstractContextManager[Server]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # MLflow looks for uvicorn there
    variables = dict(os.environ) | {"TAILORBIRD_VAR": str(load_settings().var), "PATH": path} | dict(more or {})
    return running(command, port, ready, FOLDER / "log" / f"{name}.log", variables)


def _with_ratios(figures: Figures) -> Figures:
    shares = {
        f"share_{way}": figures[f"rps_{way}"] / figures["rps_hello"] for way in ("cached", "table", "live", "context")
    }
    mlflow = figures["rps_mlflow"]
    ratios = {
        "ratio_to_mlflow_serve": figures["rps_cached"] / mlflow,
        "ratio_live_to_mlflow_serve": figures["rps_live"] / mlflow,
    }
    return {**figures, **shares, **ratios}


if __name__ == "__main__":
    main()
