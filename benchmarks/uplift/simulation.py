"""Compares policies of a home page in a simulated experiment, and reads it as real experiments are read.

Nothing here is measured on people: figures of a simulation say how policies compare under its assumptions.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.results import publish, show
from benchmarks.uplift.policies import POLICIES, best_sellers, learned
from benchmarks.uplift.simulated_shop import Array, experiment, shop_with_traits
from models.experiments.checks import sample_ratio, single_users
from models.experiments.metrics import moments, with_derived
from models.experiments.readout import Readout, read

SHOPS: Final = ("diy",)
"""Shapes of `benchmarks.heads.simulated_shops`; the other one is `collections`."""
USERS: Final = 6_000
WEEKS: Final = 4
METRICS: Final = ("click_through", "order_value", "revenue_per_user", "conversion")


def readouts(group: Array, sums: Mapping[str, Array], names: Sequence[str]) -> list[Readout]:
    """Return each later policy against the first, over users who came, after adjustment by the weeks before."""
    came, known = sums["days"] > 0, with_derived(sums)
    control, *others = (
        {name: one[came & (group == number)] for name, one in known.items()} for number in range(len(names))
    )
    users = {name: int((came & (group == number)).sum()) for number, name in enumerate(names)}
    ratio = sample_ratio(users, dict.fromkeys(names, 1.0))
    found = []
    for name, variant in zip(names[1:], others, strict=True):
        both = {metric: (moments(control, metric), moments(variant, metric)) for metric in METRICS}
        single = single_users({names[0]: control["clicks"], name: variant["clicks"]})
        found.append(read(names[0], name, both, [1.0], [ratio, single]))
    return found


def run(users: int, weeks: int, seed: int, shops: Sequence[str] = SHOPS) -> None:
    """Simulate, print, and write var/benchmarks/uplift_simulation.json."""
    figures: dict[str, float] = {"users": users, "weeks": weeks}
    for name in shops:
        group, sums = experiment(shop_with_traits(name, users, seed), best_sellers, learned, POLICIES, weeks, seed)
        rows = []
        for found in readouts(group, sums, POLICIES):
            print(f"simulated shop {name}: {found.claim}")
            for change in found.changes:
                levels = change.difference.control, change.difference.variant
                text = "{:+.1%} ({:+.1%} to {:+.1%})".format(*change.interval)
                rows.append((found.variant, change.metric, *(f"{level:.4f}" for level in levels), text, change.verdict))
                label = f"{name}_{found.variant.replace(', ', '_').replace(' ', '_')}_{change.metric}"
                figures |= {f"{label}_{part}": value for part, value in change.interval._asdict().items()}
        columns = ("policy", "metric", "control", "variant", "change (95 %)", "verdict")
        show(f"simulation of the shop {name}, seed {seed}", columns, rows)
    publish("uplift_simulation", figures, seed)
