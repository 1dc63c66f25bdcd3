"""Measures the pages of the storefront and of operators on the running installation of `make demo`.

Run as `python -m benchmarks.serve.shop_pages`. It opens a shop of its own with `tailorbird shop`, and asks for each
kind of page at a constant rate: as a visitor without an answer about consent, as households that agreed, and at the
API as an operator with and without a draft. Nothing is stored. The latency of a page counts from the moment at which
it was due, until its last byte. The load comes from the same processors. `p99_ms_page` is the 99th percentile of all
pages together.

`first_ms_…` is the very first page of its kind, and `first_home_ms` the largest of the first pages of each visitor.
With `--restart` all services are stopped and started before, so that these are the first pages after `tailorbird up`.
With `--answers N` that many answers of the last day are stored meanwhile, under the source `benchmark`.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Final

import httpx
import numpy as np
from sqlalchemy import Engine, text

from benchmarks.results import FOLDER, publish
from benchmarks.serve.load import Latency, Load, LoadError, latency
from benchmarks.serve.servers import Ready, free_port, running
from benchmarks.serve.shop_pages.pages import SHOP_HOME, cookies_of, operator_pages, visitor_pages
from benchmarks.serve.traffic import traffic
from infra.configuration.settings import Settings
from infra.configuration.settings import load as load_settings
from infra.installation import current
from infra.services.endpoints import ServicesDownError, endpoints
from models.errors import TailorbirdError

SEED: Final = 7
_SOURCE: Final = "benchmark"
_RATE, _OPERATOR_RATE = 10.0, 2.0
"""Pages a second."""
_ADD: Final = """
    INSERT INTO served_answers (recommendation_id, placement, source, shown_at)
    SELECT :source || '-' || number, placement, :source, now() - number * interval '1 day' / :number
    FROM generate_series(1, :number) AS number
    JOIN (SELECT placement, row_number() OVER () AS place, count(*) OVER () AS most FROM placements) AS live
        ON place = number % most + 1"""
_REMOVE: Final = (
    "DELETE FROM served_answers WHERE source = :source",
    "DELETE FROM answer_counts WHERE source = :source",
)


def main() -> None:
    """Measure all pages, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=4, help="of each page and visitor; twice as many for operators")
    parser.add_argument("--answers", type=int, default=0, help="answers that are stored meanwhile, and removed again")
    parser.add_argument("--restart", action="store_true", help="stop and start all services before")
    given = parser.parse_args()
    settings = load_settings()
    try:
        if given.restart:
            _restart(settings)
        with _more_answers(current().engine, given.answers):
            figures = {"answers": float(given.answers)} | _measured(settings, given.seconds)
    except ServicesDownError as error:
        sys.exit(f"{error} The benchmark needs the installation of `make demo`.")
    except (TailorbirdError, LoadError) as error:
        sys.exit(str(error))
    publish("shop_pages", figures, SEED)


def _restart(settings: Settings) -> None:
    from infra.supervisor import startup

    startup.stop(settings, print)
    startup.start(settings, print)


def _measured(settings: Settings, seconds: int) -> dict[str, float]:
    asked = traffic(current().engine, "", np.random.default_rng(SEED))
    command = [sys.executable, "-m", "flows", "shop", "--port", str(port := free_port())]
    variables = dict(os.environ) | {"TAILORBIRD_VAR": str(settings.var)}
    figures = dict[str, float]()
    everything: list[float] = []
    with running(command, port, Ready("/livez"), FOLDER / "log" / "shop.log", variables) as server:
        pages = visitor_pages(server.address, asked, cookies_of(settings, asked))
        figures["first_home_ms"] = max(_first_ms(load) for load in pages[SHOP_HOME])
        figures |= {f"first_ms_{name}": _first_ms(loads[0]) for name, loads in pages.items() if name != SHOP_HOME}
        office = operator_pages(endpoints(settings).api_page, asked, settings)
        figures |= {f"first_ms_{name}": _first_ms(loads[0]) for name, loads in office.items()}
        for name, loads in {**pages, **office}.items():
            own = (seconds, _RATE) if name in pages else (2 * seconds, _OPERATOR_RATE)
            taken = _taken(loads, *own)
            figures |= {f"p50_ms_{name}": taken.quantile_ms(0.5), f"p99_ms_{name}": taken.quantile_ms(0.99)}
            figures[f"meant_{name}"] = taken.meant / len(taken.seconds)
            everything += taken.seconds
        figures["peak_mb"] = server.peak_mb()
    figures["p99_ms_page"] = Latency(sorted(everything)).quantile_ms(0.99)
    return figures


def _first_ms(load: Load) -> float:
    """Return the latency of one page."""
    asked = httpx.Request(load.method, f"{load.address}{load.paths[0]}", headers=load.headers, content=load.body)
    began = perf_counter()
    with httpx.Client(timeout=30) as client:
        answer = client.send(asked)
    taken = perf_counter() - began
    if not answer.is_success:
        raise LoadError(f"{load.paths[0]} answered {answer.status_code}.")
    return taken * 1000


def _taken(loads: Sequence[Load], seconds: int, rate: float) -> Latency:
    """Return the latencies of a kind of page for all its loads, one after the other."""
    parts = [latency(load, rate, seconds, 1.0) for load in loads]
    return Latency(sorted(one for part in parts for one in part.seconds), sum(part.meant for part in parts))


@contextmanager
def _more_answers(engine: Engine, number: int) -> Iterator[None]:
    """Store that many answers of the last 24 hours meanwhile, in all placements with lists."""
    if not number:
        yield
        return
    _run(engine, number, *_REMOVE, _ADD)  # a benchmark that was killed has left some
    try:
        yield
    finally:
        _run(engine, number, *_REMOVE)


def _run(engine: Engine, number: int, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement), {"source": _SOURCE, "number": number})


if __name__ == "__main__":
    main()
