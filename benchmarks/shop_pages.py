"""Measures the pages of the storefront on the running installation of `make demo`.

Run as `python -m benchmarks.shop_pages`. It opens a shop of its own with `tailorbird shop`, and asks for each kind of
page at a constant rate, as a visitor without an answer about consent and as households that agreed. The latency of a
page counts from the moment at which it was due, until its last byte. The load comes from the same processors.
`p99_ms_page` is the 99th percentile of all pages together.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

import numpy as np

from benchmarks.results import FOLDER, publish
from benchmarks.serve.constant_rate import Latency, latency
from benchmarks.serve.load import Load, LoadError
from benchmarks.serve.servers import Ready, free_port, running
from benchmarks.serve.traffic import Traffic, traffic
from infra.configuration.settings import load as load_settings
from infra.installation import current
from infra.keys.credentials import secret
from infra.services.endpoints import ServicesDownError
from models.errors import TailorbirdError
from serving.shop.visits.cookie import COOKIE, written
from serving.shop.visits.visit import Visit

SEED: Final = 7
_HOUSEHOLDS: Final = 4
_PRODUCTS: Final = 50
_SEARCHES: Final = ("milk", "white+bread", "ch", "soft+drinks", "eggs")
_SHELVES: Final = b'class="shelf"'
_CARDS: Final = b'class="cards"'


def main() -> None:
    """Measure all pages, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=4, help="of each page and visitor")
    parser.add_argument("--rate", type=float, default=10, help="pages a second")
    given = parser.parse_args()
    try:
        figures = _measured(given.seconds, given.rate)
    except ServicesDownError as error:
        sys.exit(f"{error} The benchmark needs the installation of `make demo`.")
    except (TailorbirdError, LoadError) as error:
        sys.exit(str(error))
    publish("shop_pages", figures, SEED)


def _measured(seconds: int, rate: float) -> dict[str, float]:
    settings = load_settings()
    asked = traffic(current().engine, "", np.random.default_rng(SEED))
    cookies = [written(visit, secret(settings, "shop-cookies").encode()) for visit in _visits(asked)]
    command = [sys.executable, "-m", "flows", "shop", "--port", str(port := free_port())]
    variables = dict(os.environ) | {"TAILORBIRD_VAR": str(settings.var)}
    figures: dict[str, float] = {"rate": rate}
    everything: list[float] = []
    with running(command, port, Ready("/livez"), FOLDER / "log" / "shop.log", variables) as server:
        for name, (paths, shown) in _pages(asked).items():
            taken = _taken(server.address, paths, cookies, shown, seconds, rate)
            figures |= {f"p50_ms_{name}": taken.quantile_ms(0.5), f"p99_ms_{name}": taken.quantile_ms(0.99)}
            figures[f"meant_{name}"] = taken.meant / len(taken.seconds)
            everything += taken.seconds
        figures["peak_mb"] = server.peak_mb()
    figures["p99_ms_page"] = Latency(sorted(everything), 0).quantile_ms(0.99)
    return figures


def _visits(asked: Traffic) -> list[Visit]:
    """Return an anonymous visit and those of households, all with two products in the basket."""
    nobody = Visit.new().added(asked.baskets[0])
    households = dict.fromkeys(asked.users)
    agreed = [nobody.agreeing().signed_in(user) for user in list(households)[:_HOUSEHOLDS]]
    return [nobody, *agreed]


def _pages(asked: Traffic) -> Mapping[str, tuple[Sequence[str], bytes]]:
    """Return the paths of each kind of page, and what its answers hold."""
    items = list(dict.fromkeys(item for pair in asked.baskets for item in pair))[:_PRODUCTS]
    return {
        "home": (["/"], _SHELVES),
        "product": ([f"/products/{quote(item, safe='')}" for item in items], _SHELVES),
        "search": ([f"/search?q={words}" for words in _SEARCHES], _CARDS),
        "basket": (["/basket"], _SHELVES),
    }


def _taken(
    address: str, paths: Sequence[str], cookies: Sequence[str], shown: bytes, seconds: int, rate: float
) -> Latency:
    """Return the latencies of a kind of page for all visitors, one after the other."""
    parts = [
        latency(Load(address, paths, {"Cookie": f"{COOKIE}={cookie}"}, connections=8, meant=shown), rate, seconds, 1.0)
        for cookie in cookies
    ]
    return Latency(sorted(one for part in parts for one in part.seconds), sum(part.meant for part in parts))


if __name__ == "__main__":
    main()
