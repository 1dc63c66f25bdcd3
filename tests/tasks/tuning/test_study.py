"""Studies in a real PostgreSQL, without models: what is asked for is answered by a formula."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from infra import outages
from infra.installation import Installation
from models.recommenders.search_space import Choice, Float, Integer
from models.tuning.study_config import Budget, Method, SearchError, SearchPlan, TrialLimits
from tasks.tuning.study import DONE, ERROR, INTERRUPTED, WAIT, Assignment, Study, distributions, sampler

SPACE = {"x": Float(0.01, 10, log=True), "way": Choice(("up", "down"))}
START = {"x": 1.0, "way": "up"}


def opened(installation: Installation, plan: SearchPlan = SearchPlan(), **options: Any) -> Study:  # noqa: B008 - frozen
    return Study.open(installation, "als on v1", plan, options.pop("space", SPACE), [START], **options)


def value(params: dict[str, Any]) -> float:
    return 1 / (1 + abs(params["x"] - 3)) + 0.1 * (params["way"] == "down")


def step(study: Study, budget: Budget) -> str | dict[str, Any]:
    """Try the next setting: what came instead of one, or the setting."""
    with study.next_assignment(budget) as assignment:
        if not isinstance(assignment, Assignment):
            return assignment
        study.optuna.tell(assignment.trial, value(assignment.trial.params))
        params: dict[str, Any] = assignment.trial.params
        return params


def tell(study: Study, budget: Budget, reached: float, **excess: float) -> None:
    """Try the next setting with this result, at costs so far above their limits."""
    with study.next_assignment(budget) as assignment:
        assert isinstance(assignment, Assignment)
        for name, amount in excess.items():
            assignment.trial.set_constraint(name, amount)
        study.optuna.tell(assignment.trial, reached)


def drop(study: Study, budget: Budget) -> dict[str, Any]:
    """Begin to try a setting and vanish, as a worker that is killed: its lock is gone, its trial is not."""
    with study.next_assignment(budget) as assignment:
        assert isinstance(assignment, Assignment)
        params: dict[str, Any] = assignment.trial.params
        return params


def cut_off(installation: Installation, study: Study, budget: Budget) -> None:
    """Begin to try a setting and lose every connection to the database."""
    terminate_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    with study.next_assignment(budget) as assignment:
        assert isinstance(assignment, Assignment)
        with installation.engine.connect() as connection:
            connection.execute(text(f"{terminate_all} AND pid <> pg_backend_pid()"))
        assignment.confirm()


def all_of(study: Study, budget: Budget) -> list[dict[str, Any]]:
    def steps() -> Iterator[dict[str, Any]]:
        while not isinstance(trials := step(study, budget), str):
            yield trials

    return list(steps())


def test_a_search_begins_with_the_defaults_and_ends_after_so_many_trials(installation: Installation) -> None:
    study = opened(installation)
    trials = all_of(study, Budget(trials=5))
    assert (len(trials), trials[0]) == (5, START)
    assert study.default_value() == value(START)
    assert study.best().params == max(trials, key=value)
    best = study.best()
    assert study.note().startswith(f"NDCG@10 {best.value:.4f}, +")
    assert study.note().endswith(f"(trial {best.number} of 5)")
    assert step(study, Budget(trials=5)) == DONE
    assert isinstance(step(study, Budget(trials=6)), dict)


def test_a_search_that_was_interrupted_finds_what_it_would_have_found(installation: Installation) -> None:
    budget = Budget(trials=15)
    whole = all_of(opened(installation), budget)
    study = opened(installation, fresh=True)
    for _ in range(10):
        step(study, budget)
    lost = drop(study, budget)
    remaining = all_of(opened(installation), budget)
    assert remaining[0] == lost
    assert [trial.params for trial in study.tried()] == whole


def test_a_trial_whose_worker_is_gone_comes_back_once(installation: Installation) -> None:
    study, budget = opened(installation), Budget(trials=3)
    assert drop(study, budget) == drop(study, budget) == START
    assert step(study, budget) != START
    first, second = study.optuna.get_trials(states=(TrialState.FAIL,))
    assert INTERRUPTED in first.user_attrs
    assert second.user_attrs[ERROR] == "its worker was gone before it ended, twice"
    assert [trial.number for trial in study.tried()] == [1, 2]


def test_settings_whose_worker_was_gone_before_it_had_them_are_not_lost(installation: Installation) -> None:
    study = opened(installation)
    assert study.optuna.ask().params == {}  # taken from the queue, and nothing more
    assert step(study, Budget(trials=3)) == START


def test_a_trial_that_a_server_interrupts_is_not_counted_against_it(installation: Installation) -> None:
    study, budget = opened(installation), Budget(trials=3)
    for _ in range(3):
        with pytest.raises(SQLAlchemyError) as lost:
            cut_off(installation, study, budget)
        assert "database went away" in str(outages.explain(lost.value))
    assert step(study, budget) == START
    assert len(study.tried()) == 1


def test_an_error_of_optunas_storage_alone_is_no_outage() -> None:
    error = StorageInternalError("no")
    assert outages.explain(error) is None
    error.__cause__ = OperationalError("select", {}, Exception("gone"))
    assert "database went away" in str(outages.explain(error))


def test_settings_that_one_worker_tries_no_other_gets(installation: Installation) -> None:
    plan, budget = SearchPlan("grid"), Budget(trials=None, minutes=1)
    study = opened(installation, plan, points=13)
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(lambda _: all_of(opened(installation, plan, points=13), budget), range(3)))
    trials = [tuple(params.items()) for part in parts for params in part]
    assert len(trials) == len(set(trials)) == 13
    assert step(study, budget) == DONE


def test_while_others_try_the_last_settings_a_worker_waits(installation: Installation) -> None:
    study, budget = opened(installation), Budget(trials=2)
    with ExitStack() as others:
        assignments = [others.enter_context(study.next_assignment(budget)) for _ in range(2)]
        assert all(isinstance(assignment, Assignment) for assignment in assignments)
        assert step(study, budget) == WAIT
    assert step(study, budget) == START


def test_a_search_without_a_better_setting_for_long_ends(installation: Installation) -> None:
    study, budget = opened(installation), Budget(trials=100, patience=4)
    for number in range(5):
        tell(study, budget, -float(number))
    assert step(study, budget) == DONE


def test_a_setting_that_costs_too_much_is_no_better_one(installation: Installation) -> None:
    study, budget = opened(installation), Budget(trials=100, patience=3)
    for excess, reached in ((1, 9.0), (-1, 0.1), (-1, 0.2), (-1, 0.3), (-1, 0.4)):
        tell(study, budget, reached, memory_mb=excess)
    assert isinstance(step(study, budget), dict)


def test_a_search_in_which_everything_fails_gives_up_and_names_the_reason(installation: Installation) -> None:
    study, budget = opened(installation), Budget(trials=100)
    for _ in range(5):
        with study.next_assignment(budget) as assignment:
            assert isinstance(assignment, Assignment)
            assignment.trial.set_user_attr(ERROR, "ValueError: too cold")
            study.optuna.tell(assignment.trial, state=TrialState.FAIL)
    assert step(study, budget) == DONE
    with pytest.raises(SearchError, match="found no settings: ValueError: too cold"):
        study.best()
    assert isinstance(step(opened(installation), budget), dict)  # the failure may be fixed by now


def test_a_setting_that_costs_more_than_it_may_is_not_the_best(installation: Installation) -> None:
    study, budget = opened(installation, SearchPlan(limits=TrialLimits(fit_seconds=1))), Budget(trials=2)
    for excess, reached in ((0.5, 0.9), (-0.5, 0.3)):
        tell(study, budget, reached, fit_seconds=excess)
    assert study.best().value == 0.3


def test_studies_of_other_questions_are_other_studies(installation: Installation) -> None:
    wider = {**SPACE, "x": Float(0.01, 20, log=True)}
    studies = opened(installation), opened(installation, fresh=True), opened(installation, SearchPlan("grid"))
    names = [study.name for study in (*studies, opened(installation, space=wider))]
    assert len(set(names)) == 4
    assert opened(installation).name == names[1] == f"{names[0]} 2"


RANGES = {"rate": Float(0.1, 10, log=True), "depth": Integer(2, 4), "loss": Choice(("a", "b"))}


def asked(method: Method, tried: int, seed: int = 7) -> dict[str, Any]:
    study = optuna.create_study(sampler=sampler(SearchPlan(method, seed=seed), tried))
    params: dict[str, Any] = study.ask(distributions(RANGES)).params
    return params


@pytest.mark.parametrize("method", ["tpe", "random"])
def test_the_next_setting_follows_from_seed_and_place_alone(method: Method) -> None:
    assert asked(method, 3) == asked(method, 3)
    assert asked(method, 3) != asked(method, 4)
    assert asked(method, 3) != asked(method, 3, seed=8)
    assert asked(method, 3, seed=-1) != asked(method, 3, seed=2**40)
