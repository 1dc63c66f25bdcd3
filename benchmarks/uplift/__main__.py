"""Measures whether experiments fool their owner: errors without a difference, coverage, power, and what trips checks.

Run as `python -m benchmarks.uplift`; `--runs 100` is quicker. Users are made up (`visitors.py`), so effects are known.
`--simulation` compares policies of a home page in simulated shops instead, and `--replay` the lists of models with what
users of the demo's data bought in its last weeks.
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
from benchmarks.uplift import replay, simulation
from benchmarks.uplift.visitors import visitors
from models.experiments.checks import assignment, sample_ratio, single_users
from models.experiments.estimates import Difference, difference
from models.experiments.metrics import METRICS, moments
from models.experiments.sequential import limits

Sums = dict[str, NDArray[np.float64]]
SEED: Final = 7
PEER: Final = "tea-tasting==1.14.0"
USERS: Final = 2_000
"""Of each variant."""
LARGE: Final = 20_000
"""Of each variant, where the check of the split must find nearly every loss of a tenth; with `USERS` it finds half."""
_SPLITS: Final = (("srm_found", LARGE, 0.1), ("srm_found_in_small", USERS, 0.1), ("srm_false", USERS, 0.0))
"""Figures, with the users of each variant and the share of them that one variant loses."""
_SAW_BOTH: Final = 0.03
"""The share of users with a broken assignment."""
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
    """Return how often the checks find faults, and how often they find one that is not there.

    The faults are a variant that lost users, a few users who saw both variants, and a robot.
    """
    shares = {"control": 0.5, "variant": 0.5}
    names = ("srm_found", "srm_found_in_small", "srm_false", "assignment_found", "robot_found")
    found = dict.fromkeys(names, 0)
    for _ in range(runs):
        for name, users, lost in _SPLITS:
            half = int(random.binomial(2 * users, 0.5))
            kept = int(random.binomial(2 * users - half, 1 - lost))
            found[name] += not sample_ratio({"control": half, "variant": kept}, shares).passed
        both = random.random(USERS) < _SAW_BOTH
        found["assignment_found"] += not assignment(both, np.zeros(USERS, dtype=bool), USERS).passed
        clicks = visitors(USERS, DAYS, random).clicks.sum(axis=1)
        found["robot_found"] += not single_users({"control": np.append(clicks, 0.1 * clicks.sum())}).passed
    return {name: count / runs for name, count in found.items()}


def users_needed(found: Difference, effect: float) -> float:
    """Return the users of each variant with whom an effect is shown in 80 of 100 experiments, after these errors."""
    relative = np.hypot(found.errors[0] / found.control, found.errors[1] / found.variant)
    needed: float = found.users[0] * ((_FIXED + stats.norm.isf(0.2)) * relative / np.log1p(effect)) ** 2
    return needed


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
    """Measure the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--simulation", action="store_true", help="of policies in shops")
    parser.add_argument("--replay", action="store_true", help="of the demo's last weeks")
    parser.add_argument("--seed", type=int, default=SEED, help="of the statistics and of the simulation")
    parser.add_argument("--shops", nargs="+", default=simulation.SHOPS, help="diy, collections")
    parser.add_argument("--users", type=int, default=simulation.USERS, help="of a simulated shop")
    parser.add_argument("--weeks", type=int, default=simulation.WEEKS, help="of a simulated experiment")
    options = parser.parse_args()
    if options.simulation:
        simulation.run(options.users, options.weeks, options.seed, options.shops)
    if options.replay:
        replay.run()
    if not (options.simulation or options.replay):
        measure(options.runs, options.seed)


def measure(runs: int, seed: int) -> None:
    """Measure the statistics, print a table for each part, and write var/benchmarks/uplift.json."""
    random = np.random.default_rng(seed)
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
    control, variant = visitors(LARGE, DAYS, random).sums(), visitors(LARGE, DAYS, random, clicks=0.05).sums()
    for name in METRICS:
        compared = _compared(name, control, variant)
        figures[f"variance_cut_{name}"] = compared.variance_cut
        figures[f"users_for_5_percent_{name}"] = users_needed(compared, 0.05)
    figures["tea_tasting_difference"] = difference_to_tea_tasting(control, variant)
    publish("uplift", figures, seed)


if __name__ == "__main__":
    main()
