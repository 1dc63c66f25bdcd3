import numpy as np
import pytest

from models.experiments.estimates import Moments
from models.experiments.readout import Readout, Service, harm, read

FINE = Service(answers=1_000, fallbacks=50, failed=2, slowest=0.01, coverage=0.4)


def readout(lift: float) -> Readout:
    """Return a readout in which the revenue of 2,000 people of each variant differs by this much."""
    random = np.random.default_rng(3)
    spent = [Moments.of(random.gamma(2.0, 10.0 * scale, 2_000)) for scale in (1.0, 1.0 + lift)]
    return read("control", "test", {"revenue_per_user": (spent[0], spent[1])}, [1.0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"failed": 40}, "failed"),
        ({"failed": 40, "answers": 150}, ""),
        ({"fallbacks": 200}, "came from a fallback"),
        ({"slowest": 0.25}, "takes 0.250 s"),
        ({"slowest": 0.1}, ""),
        ({"slowest": None}, ""),
        ({"coverage": 0.1}, "show 10.0% of the items, the control's 40.0%"),
        ({"coverage": 0.3}, ""),
        ({"coverage": None}, ""),
    ],
)
def test_a_variant_stops_when_its_answers_are_worse_than_the_controls(change: dict[str, float], words: str) -> None:
    found = harm(readout(0.0), FINE, Service(**{**vars_of(FINE), **change}))  # type: ignore[arg-type]
    assert bool(found) == bool(words)
    assert words in found


def vars_of(service: Service) -> dict[str, float | None]:
    return {name: getattr(service, name) for name in Service.__dataclass_fields__}


@pytest.mark.parametrize(("lift", "stops"), [(-0.3, True), (0.0, False), (0.3, False)])
def test_a_variant_stops_when_it_costs_money_and_never_when_it_earns_some(lift: float, stops: bool) -> None:
    assert bool(harm(readout(lift), FINE, FINE)) is stops
