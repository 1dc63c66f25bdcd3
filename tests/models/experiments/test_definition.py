from datetime import date
from typing import Any

import pytest

from models.experiments.definition import ExperimentError, parse_experiment

FORM: dict[str, Any] = {"placements": ["home"], "ends": date(2027, 1, 1)}


def parsed(**variants: Any) -> Any:
    return parse_experiment("spring", FORM | {"variants": variants}, {"home": {}})


def test_the_control_alone_may_differ_from_the_placement() -> None:
    control, personal = parsed(best={"model": "best_sellers"}, personal={}).variants
    assert control.placements["home"].model == "best_sellers"
    assert personal.placements == {}


def test_variants_that_all_serve_the_placement_are_refused() -> None:
    with pytest.raises(ExperimentError, match="its variants change nothing"):
        parsed(one={}, other={"share": 2})
