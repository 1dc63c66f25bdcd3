from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
import pytest
from sqlalchemy import insert

from infra.bundles import bundle as bundles
from infra.bundles.manifest import Origin
from infra.database.schema.schema import promotions, search_results
from infra.installation import Installation
from models import catalog
from models.datasets.dataset import Dataset
from models.evaluation.example_users import Example, ExampleList
from models.evaluation.metrics.bootstrap import NEW, REPEAT
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.offline import Evaluation
from models.recommenders.baselines.segment_popular import BY_TRAITS, SegmentPopular
from tasks.datasets.load_dataset import open_dataset
from tasks.promotion.champion import current_champion
from tasks.review.review_models import _status, best_of, judge_candidate, material, titles
from tasks.training.train_model import _store_model, run_key
from tasks.tuning.best_settings import find_search_result, settings_of
from tasks.tuning.study import _storage
from tests.models.conftest import CUTS, DAY, make_shop


def measured(mean: float, seed: int, lists: float = 50) -> Evaluation:
    values = np.random.default_rng(seed).normal(mean, 0.1, 300)
    users = pa.array([f"u{number:03}" for number in range(300)])
    columns = {"user_key": users, METRIC: values, "baskets": [9] * 300, "fallback_at_10": [0.0] * 300}
    columns["items_at_10"] = pa.array([["i1"]] * 300, pa.list_(pa.string()))
    summary = {METRIC: float(values.mean()), "distinct_lists": lists, "nan_scores": 0.0, "score_ms": 1.0}
    summary |= {"artifact_mb": 1.0, "coverage_at_10": 0.1, "gini_at_10": 0.9, "long_tail_at_10": 0.1}
    return Evaluation(pa.table(columns), summary)


KINDS = {"pop": "most_popular", "own": "own_frequency", "fm": "lightfm_hybrid"}
MEASURED = {"pop": measured(0.5, 1, lists=1), "own": measured(0.4, 2), "fm": measured(0.3, 3)}


def test_the_best_is_the_most_accurate_that_is_personal_in_any_order() -> None:
    assert best_of(MEASURED) == "own"
    assert best_of({"pop": MEASURED["pop"]}) == "pop"
    twins = {"b": MEASURED["own"], "a": MEASURED["own"]}
    assert best_of(twins) == best_of(dict(reversed(twins.items()))) == "a"


def test_the_best_ranks_new_items_and_repeat_purchases_well_too() -> None:
    def on(every: float, new: float, repeat: float) -> Evaluation:
        whole = measured(every, 4)
        kinds = {METRIC: every, NEW + METRIC: new, REPEAT + METRIC: repeat}
        return Evaluation(whole.per_user, whole.summary | kinds)

    assert best_of({"mix": on(0.40, 0.10, 0.5), "repeats": on(0.41, 0.01, 0.5)}) == "mix"
    assert best_of({"mix": on(0.40, 0.10, 0.5), "better": on(0.41, 0.099, 0.5)}) == "better"
    assert best_of({"mix": on(0.40, 0.0, np.nan), "better": on(0.41, 0.0, np.nan)}) == "better"


def names(gate: Any) -> list[str]:
    return [check.name for check in gate.checks]


def test_the_best_is_set_against_every_baseline_but_itself_and_against_the_champion() -> None:
    gate = judge_candidate("own", "fm", MEASURED, KINDS)
    assert "not worse than most_popular" in names(gate)
    assert "not worse than own_frequency" not in names(gate)
    assert "better than the champion" in names(gate)
    assert not gate.passed  # the best sellers are better here


def test_a_champion_that_is_learned_again_is_not_set_against_itself() -> None:
    without_best_sellers = {run: MEASURED[run] for run in ("own", "fm")}
    gate = judge_candidate("own", "own", without_best_sellers, KINDS)
    assert gate.passed
    assert "better than the champion" not in names(gate)
    assert names(gate)[-1] == "renews the champion"


def test_a_renewal_is_held_against_the_exposure_of_the_promotion() -> None:
    without_best_sellers = {run: MEASURED[run] for run in ("own", "fm")}
    promoted = MEASURED["own"].summary
    assert judge_candidate("own", "own", without_best_sellers, KINDS, promoted=promoted).passed
    gate = judge_candidate("own", "own", without_best_sellers, KINDS, promoted=promoted | {"gini_at_10": 0.8})
    assert [check.name for check in gate.checks if check.refused] == ["shows items evenly"]


def test_a_review_of_a_version_that_was_approved_states_what_became_of_it() -> None:
    approved = {"decision": "approved", "rolled_back": None, "reference_promotion_id": 1}
    holder = {"promotion_id": 3, "model_version": 4}
    assert _status(approved | {"rolled_back": 2}, holder, "manual") == "approved before, and rolled back since"
    assert _status(approved, holder, "manual") == "approved before, and version 4 answers now"


def test_a_training_is_named_by_all_that_decides_its_result() -> None:
    one = run_key("v1", "own_frequency", {"a": 1, "b": 2.5}, 7)
    assert run_key("v1", "own_frequency", {"b": 2.5, "a": 1}, 7) == one
    changed = [("v2", "own_frequency", {"a": 1, "b": 2.5}, 7), ("v1", "most_popular", {"a": 1, "b": 2.5}, 7)]
    changed += [("v1", "own_frequency", {"a": 1, "b": 2.6}, 7), ("v1", "own_frequency", {"a": 1, "b": 2.5}, 8)]
    assert len({one, *(run_key(*call) for call in changed)}) == 5


def test_a_model_is_trained_with_what_its_search_found_or_its_defaults(installation: Installation) -> None:
    defaults = asdict(catalog.config("own_frequency"))
    assert find_search_result(installation, "v1", "own_frequency") is None
    assert settings_of(installation, "v1", "own_frequency") == (defaults, "")
    row = {
        "dataset_version": "v1",
        "model": "own_frequency",
        "study": "s",
        "config": defaults | {"half_life_days": 9.0},
    }
    with installation.engine.begin() as connection:
        connection.execute(insert(search_results).values(**row, ndcg_10=0.4, trials=6, run_id="r1"))
    assert settings_of(installation, "v1", "own_frequency") == (row["config"], "r1")
    sources = settings_of(installation, "v1", "two_stage")[0]["sources"]
    assert sources["own_frequency"] == row["config"]
    assert sources["als"] == asdict(catalog.config("als"))
    assert settings_of(installation, "v2", "own_frequency") == (defaults, "")


def test_a_retriever_gets_the_settings_of_its_search_that_ranked_new_items_best(installation: Installation) -> None:
    study = optuna.create_study(study_name="als on v3", storage=_storage(installation), direction="maximize")
    space = {"regularization": optuna.distributions.FloatDistribution(0.1, 100)}
    for value, new, regularization in ((0.2, 0.01, 1.0), (0.1, 0.03, 2.0), (0.1, 0.02, 3.0)):
        trial = optuna.create_trial(
            params={"regularization": regularization},
            distributions=dict(space),
            value=value,
            user_attrs={"new_ndcg_at_10": new},
        )
        study.add_trial(trial)
    best = asdict(catalog.config("als", {"regularization": 1.0}))
    row = {"dataset_version": "v3", "model": "als", "study": study.study_name, "config": best}
    with installation.engine.begin() as connection:
        connection.execute(insert(search_results).values(**row, ndcg_10=0.2, trials=3, run_id="r3"))
    assert settings_of(installation, "v3", "als")[0] == best
    assert settings_of(installation, "v3", "two_stage")[0]["sources"]["als"]["regularization"] == 2.0


def test_the_champion_is_the_newest_promotion_and_each_follows_another(stage: Any) -> None:
    engine = stage.here.engine
    with engine.connect() as connection:
        assert current_champion(connection) is None
    for version, kind in ((1, "most_popular"), (2, "own_frequency")):
        stage.promote(kind, version)
    with engine.connect() as connection:
        holder = current_champion(connection)
    assert holder is not None
    assert (holder["model_version"], holder["kind"], holder["previous_promotion_id"]) == (2, "own_frequency", 1)
    rival = {name: value for name, value in holder.items() if name not in {"promotion_id", "promoted_at"}}
    with pytest.raises(Exception, match="uq_promotions_previous_promotion_id"), engine.begin() as connection:
        connection.execute(insert(promotions).values(rival))


def test_a_trained_model_is_stored_and_read_back(stage: Any, tmp_path: Path) -> None:
    dataset = open_dataset(stage.manifest["version"])
    data = dataset.training_data(dataset.cuts.test_from)
    model = catalog.fit("own_frequency", data, {}, 7)
    segments = SegmentPopular.fit(data, BY_TRAITS, 7)
    _store_model(tmp_path / "model", model, data, segments, Origin(dataset.version, 7, "run"))
    bundle = bundles.load(tmp_path / "model")
    assert {"MLmodel", "requirements.txt"} <= bundle.manifest.files.keys()
    assert np.array_equal(bundle.available, data.available)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Dataset(CUTS, *make_shop(seed=1))


def test_a_version_states_what_it_has_learned_from_and_was_measured_on(dataset: Dataset) -> None:
    described = material(dataset, "v1", Evaluation(pa.table({"user_key": ["u000", "u001"]}), {}))
    assert (described.users, described.items, described.measured) == (60, 45, 2)
    assert described.began // DAY == 20
    assert "60 people bought of 45 items from 1970-01-21 05:55:07 UTC to 1970-08-19 00:00 UTC" in described.sentence
    assert "measured on what 2 of them bought from 1970-07-20 00:00 UTC on" in described.sentence


def test_items_on_the_page_have_the_titles_of_the_catalogue(dataset: Dataset) -> None:
    one = Example("u0", 1, ExampleList(["i01"], 0.0), ExampleList(["i02", "gone"], 0.0), ["i03"], frozenset())
    assert titles(dataset, [one]) == {"i01": "Item 1", "i02": "Item 2", "i03": "Item 3"}
    assert titles(dataset, []) == {}
