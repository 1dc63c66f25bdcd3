import optuna

from models.space import Choice, Float, Integer
from tasks.search_space import suggest

SPACE = {"rate": Float(0.1, 10, log=True), "depth": Integer(2, 4), "loss": Choice(("a", "b"))}


def test_each_setting_is_asked_for_as_the_space_speaks_of_it() -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).ask()
    found = suggest(trial, SPACE)
    assert found == trial.params
    assert trial.distributions == {
        "rate": optuna.distributions.FloatDistribution(0.1, 10, log=True),
        "depth": optuna.distributions.IntDistribution(2, 4),
        "loss": optuna.distributions.CategoricalDistribution(("a", "b")),
    }
