from dataclasses import asdict
from typing import Any

import optuna
import pytest

from models import catalog
from models.recommenders.search_space import Choice, Float, Integer, within
from models.tuning.study_config import Method, SearchPlan
from tasks.tuning.study import distributions, sampler

SPACE = {"rate": Float(0.1, 10, log=True), "depth": Integer(2, 4), "loss": Choice(("a", "b"))}


def trial_settings(method: Method, tried: int, seed: int = 7) -> dict[str, Any]:
    study = optuna.create_study(sampler=sampler(SearchPlan(method, seed=seed), tried))
    params: dict[str, Any] = study.ask(distributions(SPACE)).params
    return params


def test_each_setting_is_asked_for_as_the_space_defines_it() -> None:
    trial = optuna.create_study().ask(distributions(SPACE))
    assert trial.params.keys() == SPACE.keys()
    assert trial.distributions == {
        "rate": optuna.distributions.FloatDistribution(0.1, 10, log=True),
        "depth": optuna.distributions.IntDistribution(2, 4),
        "loss": optuna.distributions.CategoricalDistribution(("a", "b")),
    }


@pytest.mark.parametrize("method", ["tpe", "random"])
def test_the_next_setting_follows_from_seed_and_place_alone(method: Method) -> None:
    assert trial_settings(method, 3) == trial_settings(method, 3)
    assert trial_settings(method, 3) != trial_settings(method, 4)
    assert trial_settings(method, 3) != trial_settings(method, 3, seed=8)
    assert trial_settings(method, 3, seed=-1) != trial_settings(method, 3, seed=2**40)


@pytest.mark.parametrize("kind", catalog.CATALOG)
def test_the_search_space_of_a_model_has_settings_that_it_takes(kind: str) -> None:
    settings = optuna.create_study().ask(distributions(catalog.model_type(kind).space)).params
    assert settings.items() <= asdict(catalog.config(kind, settings)).items()


@pytest.mark.parametrize("kind", catalog.CATALOG)
def test_the_defaults_of_a_model_are_inside_its_space(kind: str) -> None:
    space, defaults = catalog.model_type(kind).space, asdict(catalog.config(kind))
    assert within(space, defaults) == {name: defaults[name] for name in space}
