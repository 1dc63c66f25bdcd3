"""Measures whether experiments fool their owner: errors without a difference, coverage, power, and what trips checks.

Run as `python -m benchmarks.uplift`; `--runs 100` is quicker. Users are made up (`visitors.py`), so effects are known.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from benchmarks.results import publish, show
from benchmarks.uplift.visitors import METRICS, moments, visitors
from models.experiments.checks import sample_ratio, single_users
from models.experiments.estimates import Difference, difference
from models.experiments.sequential import limits

Sums = dict[str, NDArray[np.float64]]
SEED: Final = 7
PEER: Final = "tea-tasting==1.14.0"
USERS: Final = 2_000
"""Of each variant."""
DAYS: Final = 28
EFFECTS: Final = (0.0, 0.02, 0.05, 0.1)
_FIXED: Final = float(stats.norm.isf(0.025))
_LIFT: Final = dict.fromkeys(METRICS, "") | {
    "click_through": "clicks",
    "order_value": "amount",
    "revenue_per_user": "amount",
}
"""The rate that makes the metric change by the same share; of the others only effects of 0 are known exactly."""


def errors(runs: int, random: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Return by metric the share of A/A runs with a difference: read once at the end, and read every day."""
    days = np.arange(1, DAYS + 1)
    daily = limits([*(days / DAYS)])
    at_end, on_a_day = (dict.fromkeys(METRICS, 0) for _ in range(2))
    for _ in range(runs):
        groups = [visitors(USERS, DAYS, random) for _ in range(2)]
        sums = [[group.sums(int(day)) for group in groups] for day in days]
        for metric in METRICS:
            z = np.array([_compared(metric, *pair).z for pair in sums])
            at_end[metric] += abs(z[-1]) >= _FIXED
            on_a_day[metric] += bool((abs(z) >= daily).any())
    return {metric: (at_end[metric] / runs, on_a_day[metric] / runs) for metric in METRICS}


def _compared(metric: str, control: Sums, variant: Sums) -> Difference:
    return difference(moments(control, metric), moments(variant, metric))


def covered(runs: int, random: np.random.Generator, effect: float) -> dict[str, tuple[float, float]]:
    """Return by metric how often the interval holds the effect, and how often a difference is shown."""
    inside: dict[str, int] = {}
    shown: dict[str, int] = {}
    for _ in range(runs):
        control = visitors(USERS, DAYS, random).sums()
        for metric, rate in _LIFT.items():
            if effect and not rate:
                continue
            changed = visitors(USERS, DAYS, random, **({rate: effect} if rate else {})).sums()
            found = _compared(metric, control, changed)
            change = found.interval(_FIXED)
            inside[metric] = inside.get(metric, 0) + (change.low <= effect <= change.high)
            shown[metric] = shown.get(metric, 0) + (abs(found.z) >= _FIXED)
    return {metric: (inside[metric] / runs, shown[metric] / runs) for metric in inside}


def found_faults(runs: int, random: np.random.Generator) -> dict[str, float]:
    """Return how often the checks find a variant that lost a tenth of its users, a robot, and a fault without one."""
    shares, found = {"control": 0.5, "variant": 0.5}, dict.fromkeys(("srm_found", "srm_false", "robot_found"), 0)
    for _ in range(runs):
        half = int(random.binomial(2 * USERS, 0.5))
        lost = int(random.binomial(2 * USERS - half, 0.9))
        found["srm_false"] += not sample_ratio({"control": half, "variant": 2 * USERS - half}, shares).passed
        found["srm_found"] += not sample_ratio({"control": half, "variant": lost}, shares).passed
        clicks = visitors(USERS, DAYS, random).clicks.sum(axis=1)
        found["robot_found"] += not single_users({"control": np.append(clicks, 0.1 * clicks.sum())}).passed
    return {name: count / runs for name, count in found.items()}


def difference_to_tea_tasting(control: Sums, variant: Sums) -> float:
    """Return the largest difference of any figure to tea-tasting's, which uv installs for itself."""
    rows = pd.concat([pd.DataFrame(group).assign(variant=place) for place, group in enumerate((control, variant))])
    with TemporaryDirectory() as folder:
        file = Path(folder) / "users.csv"
        rows.to_csv(file, index=False)
        environment = ["--no-project", "--isolated", "--python", sys.executable, "--with", f"{PEER},scipy,pandas"]
        script = [str(Path(__file__).with_name("tea_tasting_peer.py")), str(file)]
        command = [str(Path(sys.executable).with_name("uv")), "run", "--quiet", *environment, "python", *script]
        theirs = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    largest = 0.0
    for name in METRICS:
        found = _compared(name, control, variant)
        p = 2 * stats.norm.sf(abs(found.z))
        ours = (found.control, found.variant, p, *found.interval(_FIXED))
        largest = max(largest, *(abs(one - other) for one, other in zip(ours, theirs[name], strict=True)))
    return float(largest)


def main() -> None:
    """Measure everything, and print a table for each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    runs, random = parser.parse_args().runs, np.random.default_rng(SEED)
    figures: dict[str, float] = {}
    found = errors(runs, random)
    show(f"{runs:,} runs without a difference", ("metric", "at the end", "read daily"),
         [(metric, *(f"{share:.1%}" for share in shares)) for metric, shares in found.items()])  # fmt: skip
    figures["aa_rate_lowest"] = min(end for end, _ in found.values())
    figures["aa_rate"] = max(end for end, _ in found.values())
    figures["aa_rate_daily"] = max(daily for _, daily in found.values())
    rows, coverage = [], []
    for effect in EFFECTS:
        for metric, (inside, shown) in covered(runs, random, effect).items():
            rows.append((f"{metric}, {effect:+.0%}", f"{inside:.1%}", f"{shown:.1%}"))
            coverage.append(inside)
            if effect == 0.05:
                figures[f"power_at_5_percent_{metric}"] = shown
    show("Intervals", ("effect", "hold it", "difference shown"), rows)
    figures |= {"coverage_lowest": min(coverage), "coverage_highest": max(coverage)}
    figures |= found_faults(runs, random)
    control, variant = visitors(20_000, DAYS, random).sums(), visitors(20_000, DAYS, random, clicks=0.05).sums()
    for name in METRICS:
        figures[f"variance_cut_{name}"] = _compared(name, control, variant).variance_cut
    figures["tea_tasting_difference"] = difference_to_tea_tasting(control, variant)
    publish("uplift", figures, SEED)


if __name__ == "__main__":
    main()
