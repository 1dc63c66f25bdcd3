"""Measures batch scoring from the champion's bundle to the published batch, beside the machine's limit and other ways.

Run as `python -m benchmarks.score`; `--users` for other sizes, `--ours` to leave the other ways out.
"""

import argparse
import json
import os
import sys
import time
from typing import Final

from sqlalchemy import text

from benchmarks.installation import fresh
from benchmarks.results import FOLDER, peak_mb, publish, run_apart, show
from benchmarks.score.peers import implicit_seconds, lightfm_seconds, product_seconds
from benchmarks.score.synthetic_shop import build, factors
from benchmarks.score.two_stage import two_stage_users_per_s
from infra.installation import Installation, current
from models.primitives.json_types import JsonObject
from tasks.scoring import batch_state

SEED: Final = 7
USERS: Final = 200_000
_TIMES: Final = 20
_FENCE: Final = text("SELECT nextval('recommendation_fence')")
_READ: Final = text("SELECT item_id FROM current_recommendations WHERE placement = 'seen' LIMIT 1000")


def main() -> None:
    """Measure, print and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--ours", action="store_true", help="Only ours, and the limit.")
    parser.add_argument("--placement", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.placement:
        _score(options.placement)
        return
    os.environ["TAILORBIRD_PLACEMENTS"] = str(FOLDER.absolute() / "score-var" / "placements.toml")
    with fresh("score-var"):
        figures = _measured(options.users, peers=not options.ours)
    name = "score" if options.users == USERS else f"score-{options.users}"
    publish(name, figures, SEED)


def _measured(users: int, *, peers: bool) -> dict[str, float]:
    installation, started = current(), time.perf_counter()
    build(installation, users, SEED)
    print(f"a shop of {users:,} users is there after {time.perf_counter() - started:.0f} s", file=sys.stderr)
    people, goods, _ = factors(users, SEED)
    seconds = {"the product alone (limit)": product_seconds(people, goods)}
    ours = {name: _ours(name) for name in ("seen", "capped")}
    seconds |= {f"ours, {name}": payload["seconds"] for name, payload in ours.items()}
    figures = {
        "users": float(users),
        "share_of_limit": seconds["the product alone (limit)"] / ours["seen"]["seconds"],
        "share_of_limit_with_caps": seconds["the product alone (limit)"] / ours["capped"]["seconds"],
        "users_per_s": users / ours["seen"]["seconds"],
        "peak_mb": max(payload["peak_mb"] for payload in ours.values()),
        "flip_ms": _flip_ms(installation),
    }
    if peers:
        plain = installation.endpoints.database_url.replace("postgresql+psycopg2", "postgresql")
        seconds["implicit and execute_values"] = implicit_seconds(plain, people, goods, SEED)
        seconds["LightFM's predict, scaled up"] = lightfm_seconds(users, SEED)
        figures["ratio_to_implicit"] = seconds["implicit and execute_values"] / ours["seen"]["seconds"]
        figures["ratio_to_lightfm"] = seconds["LightFM's predict, scaled up"] / ours["seen"]["seconds"]
        del people, goods
        figures["two_stage_users_per_s"] = two_stage_users_per_s()
    rows = ((name, f"{value:,.1f}", f"{users / value:,.0f}") for name, value in seconds.items())
    show(f"50 of 100,000 items for each of {users:,} users", ("way", "seconds", "users/s"), rows)
    return figures


def _ours(placement: str) -> JsonObject:
    payload = run_apart("benchmarks.score", "--placement", placement)
    print(f"{placement}: {payload['lists']:,} lists in {payload['seconds']:.1f} s", file=sys.stderr)
    return payload


def _flip_ms(installation: Installation) -> float:
    """Return the longest of some moves back and forth behind an open reader transaction, from update to commit."""
    with installation.engine.connect() as reader:
        reader.execute(_READ).all()
        with installation.engine.connect() as connection:
            live = batch_state.live_batch(connection, "seen")
            other = batch_state.live_batch(connection, "capped")
        assert live is not None
        assert other is not None
        return (
            max(_pointer_seconds(installation, *((live, other), (other, live))[turn % 2]) for turn in range(_TIMES))
            * 1000
        )


def _score(placement: str) -> None:
    """Print seconds, lists and peak memory from loading the champion to the pointer's move, without imports."""
    import faiss  # noqa: F401 - opened before the clock runs, as by a worker that has scored before
    import great_expectations  # noqa: F401
    import sklearn.decomposition  # noqa: F401

    from tasks.scoring.score_placement import score_placement

    current()
    started = time.perf_counter()
    batch = score_placement.fn(placement)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "lists": batch["users"], "peak_mb": peak_mb()}))


def _pointer_seconds(installation: Installation, expected: int, batch_id: int) -> float:
    with installation.engine.begin() as connection:
        fence = connection.execute(_FENCE).scalar_one()
        started = time.perf_counter()
        batch_state.move_pointer(connection, "seen", expected, {"batch_id": batch_id, "fence": fence})
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
