"""The contract that every model in the catalogue keeps."""

import io
from dataclasses import asdict, fields, replace

import numpy as np
import pyarrow as pa
import pytest

from models import catalog
from models.catalog import CATALOG
from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData
from models.recommenders.explanations.sentences import parse
from models.recommenders.kinds import Kind
from models.recommenders.lightfm import Config as LightFMConfig
from models.recommenders.lightfm import LightFMHybrid
from models.recommenders.protocols import Recommender
from models.recommenders.search_space import Choice, within
from tests.models.conftest import CUT, CUTS, make_shop
from tests.models.trainable import marked, quick_config

KINDS = marked(sorted(CATALOG))


def test_the_command_line_names_every_model() -> None:
    assert [kind.value for kind in Kind] == list(CATALOG)


@pytest.mark.parametrize("kind", sorted(CATALOG))
def test_defaults_depend_on_repeats_and_stay_inside_what_a_search_may_try(kind: str) -> None:
    few, many = catalog.defaults(kind, 0.05), catalog.defaults(kind, 0.5)
    assert many == CATALOG[kind].config_type()
    assert (few != many) == (kind in {"als", "graph_filter", "item_knn"})
    assert within(CATALOG[kind].space, asdict(few)) == {name: getattr(few, name) for name in CATALOG[kind].space}


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, data: TrainingData) -> Recommender:
    return fitted(request.param, data)


def fitted(kind: str, data: TrainingData, seed: int = 3) -> Recommender:
    return CATALOG[kind].fit(data, quick_config(kind), seed)


def everybody(model: Recommender) -> np.ndarray:
    return np.arange(len(model.users), dtype=np.int32)


def test_a_model_names_the_users_and_items_it_learned_from(model: Recommender, data: TrainingData) -> None:
    np.testing.assert_array_equal(model.users, data.users)
    np.testing.assert_array_equal(model.items, data.items)


def test_scores_are_float32_and_one_row_per_user_asked(model: Recommender) -> None:
    scores = model.scores(np.array([5, 0, 5], dtype=np.int32))
    assert scores.dtype == np.float32
    assert scores.shape == (3, len(model.items))
    # Some processors' products of matrices are rounded by the place of a row in them.
    np.testing.assert_allclose(scores[0], scores[2], rtol=1e-5)


def test_scores_are_never_nan_or_plus_infinity_and_finite_somewhere_for_every_user(model: Recommender) -> None:
    scores = model.scores(everybody(model))
    assert not np.isnan(scores).any()
    assert (scores < np.inf).all()
    assert (scores > -np.inf).any(axis=1).all()


def test_a_stranger_gets_no_score_and_leaves_the_others_theirs(model: Recommender) -> None:
    scores = model.scores(np.array([-1, 4], dtype=np.int32))
    assert (scores[0] == -np.inf).all()
    np.testing.assert_allclose(scores[1], model.scores(np.array([4], dtype=np.int32))[0], rtol=1e-5)


def test_nobody_asked_is_no_error(model: Recommender) -> None:
    nobody = np.empty(0, dtype=np.int32)
    assert model.scores(nobody).shape == (0, len(model.items))
    assert model.reasons(nobody, nobody) == []


def test_scores_may_be_changed_without_changing_the_model(model: Recommender) -> None:
    before = model.scores(np.array([2], dtype=np.int32))
    model.scores(np.array([2], dtype=np.int32))[:] = 7
    np.testing.assert_array_equal(model.scores(np.array([2], dtype=np.int32)), before)


def test_every_pick_has_a_reason_also_for_strangers(model: Recommender) -> None:
    users = np.repeat(np.append(everybody(model), -1), len(model.items)).astype(np.int32)
    items = np.tile(np.arange(len(model.items), dtype=np.int32), len(model.users) + 1)
    reasons = model.reasons(users, items)
    assert len(reasons) == len(users)
    assert all(parse(reason) and len(reason) < 120 for reason in reasons)


def test_a_stored_model_answers_as_before(model: Recommender) -> None:
    file = io.BytesIO()
    np.savez_compressed(file, **model.state())
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        again = catalog.from_state(model.kind, asdict(model.config), dict(stored))
    users, items = everybody(model), (everybody(model) % len(model.items)).astype(np.int32)
    assert again.config == model.config
    np.testing.assert_array_equal(again.users, model.users)
    np.testing.assert_array_equal(again.items, model.items)
    np.testing.assert_array_equal(again.scores(users), model.scores(users))
    assert again.reasons(users, items) == model.reasons(users, items)


def test_arrays_of_user_keys_are_named_users_so_that_a_rotation_finds_them(model: Recommender) -> None:
    people = set(model.users.tolist())
    words = {name: array for name, array in model.state().items() if np.asarray(array).dtype.kind == "U"}
    naming = {name for name, array in words.items() if people & set(array.tolist())}
    assert naming
    assert {name.rpartition(".")[2] for name in naming} == {"users"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_model(kind: str, data: TrainingData) -> None:
    one, other = fitted(kind, data).state(), fitted(kind, data).state()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name])


@pytest.mark.parametrize("kind", KINDS)
def test_fitting_leaves_the_data_alone(kind: str, data: TrainingData) -> None:
    copy = replace(data, **{f.name: getattr(data, f.name) + 0 for f in fields(data) if f.name in {"user", "item"}})
    fitted(kind, data)
    np.testing.assert_array_equal(data.user, copy.user)
    np.testing.assert_array_equal(data.item, copy.item)


@pytest.mark.parametrize("kind", KINDS)
def test_the_search_space_names_settings_and_holds_their_defaults(kind: str) -> None:
    default = asdict(catalog.config(kind))
    for name, parameter in CATALOG[kind].space.items():
        if isinstance(parameter, Choice):
            assert default[name] in parameter.values
        else:
            assert parameter.low <= default[name] <= parameter.high


def test_an_unknown_model_is_refused_with_those_there_are() -> None:
    with pytest.raises(catalog.TailorbirdError, match=r"'magic'.*most_popular"):
        catalog.config("magic")


def test_an_unknown_setting_is_refused_with_those_there_are() -> None:
    with pytest.raises(catalog.TailorbirdError, match=r"no setting depth; it has: due_exponent, half_life_days"):
        catalog.config("own_frequency", {"depth": 3})


@pytest.mark.parametrize("kind", KINDS)
def test_without_categories_and_brands_a_model_learns_explains_and_comes_back(kind: str) -> None:
    shop = make_shop(seed=1, n_users=20)
    bare = shop.items
    for column in ("category", "brand"):
        bare = bare.set_column(bare.column_names.index(column), column, pa.nulls(len(bare), pa.string()))
    data = Dataset(CUTS, shop.interactions, shop.users, bare).training_data(CUT)
    model = fitted(kind, data)
    assert np.isfinite(model.scores(everybody(model))).any(axis=1).all()
    users, items = np.repeat(everybody(model), len(data.items)), np.tile(np.arange(45, dtype=np.int32), 20)
    reasons = model.reasons(users, items)
    found = {reason.kind for text in set(reasons) if (reason := parse(text))}
    assert not found & {"bought_from", "same_category"}
    again = catalog.from_state(kind, asdict(model.config), model.state())
    assert again.reasons(users, items) == reasons


@pytest.fixture(scope="module")
def lightfm(data: TrainingData) -> LightFMHybrid:
    return LightFMHybrid.fit(data, LightFMConfig(), seed=0)


def test_it_learns_who_likes_what(lightfm: LightFMHybrid, data: TrainingData) -> None:
    scores = lightfm.scores(np.arange(len(data.users), dtype=np.int32))
    fruit, tools = scores[:, :20].mean(axis=1), scores[:, 20:40].mean(axis=1)
    assert (fruit > tools)[0::2].mean() > 0.95
    assert (fruit < tools)[1::2].mean() > 0.95


def test_tags_make_items_of_one_category_alike(data: TrainingData) -> None:
    def likeness(weight: float) -> float:
        lightfm = LightFMHybrid.fit(data, LightFMConfig(epochs=2, item_tag_weight=weight), seed=0)
        unit = lightfm.item_factors / np.linalg.norm(lightfm.item_factors, axis=1, keepdims=True)
        return float((unit[:20] @ unit[:20].T).mean())

    assert likeness(1.0) > likeness(0.0)


def test_data_without_tags_can_be_learned(small) -> None:
    lightfm = LightFMHybrid.fit(small([("a", "x", 1, "1"), ("b", "y", 2, "2")]), LightFMConfig(epochs=1), seed=0)
    assert np.isfinite(lightfm.scores(np.array([0], dtype=np.int32))).all()
