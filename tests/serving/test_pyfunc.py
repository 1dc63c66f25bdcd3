from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from infra.bundles import bundle as bundles
from infra.bundles.manifest import MANIFEST, BundleRefusedError, Origin
from infra.keys.identity import pseudonym, pseudonyms
from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.baselines.own_frequency import Config, OwnFrequency
from models.recommenders.baselines.segment_popular import BY_TRAITS, SegmentPopular
from models.recommenders.explanations.sentences import parse, recent_buyers
from serving.pyfunc import LoadedModel, OtherKeyError, QuestionRefusedError, _load_pyfunc
from tests.models.conftest import CUT, CUTS, make_shop

COLUMNS = ["user", "placement", "rank", "item_id", "score", "reason", "run_id"]
KEY = "a key"
GONE = "i41"


@pytest.fixture(scope="module")
def learned() -> TrainingData:
    """Return the shop under pseudonyms."""
    tables = [
        table.set_column(0, "user_key", pseudonyms(table["user_key"], KEY.encode())) for table in make_shop(seed=1)[:2]
    ]
    return Dataset(CUTS, *tables, make_shop(seed=1).items).training_data(CUT)


@pytest.fixture
def folder(tmp_path: Path, own_var: Path, learned: TrainingData) -> Path:  # noqa: ARG001
    """Return a bundle of the shop, with one bag that is not available."""
    model, segments = OwnFrequency.fit(learned, Config(), 7), SegmentPopular.fit(learned, BY_TRAITS, 7)
    origin = Origin("v1", 7, "run 1")
    bundles.write(
        tmp_path / "b",
        model,
        popularity(learned),
        origin,
        segments,
        available=learned.items != GONE,
        buyers=recent_buyers(learned),
    )
    return tmp_path / "b"


@pytest.fixture
def model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    monkeypatch.setenv("TAILORBIRD_SECRET_PSEUDONYM_KEY", KEY)
    return _load_pyfunc(str(folder))


def ask(model: LoadedModel, **columns: list[Any]) -> pd.DataFrame:
    return model.predict(pd.DataFrame(columns))


def items(model: LoadedModel, **row: Any) -> list[str]:
    return list(ask(model, **{name: [value] for name, value in row.items()})["item_id"])


def test_a_list_is_a_row_an_item_with_the_user_as_asked_and_the_run_it_comes_from(model: LoadedModel) -> None:
    result = ask(model, user=["u001", "u002"])
    assert list(result.columns) == COLUMNS
    assert list(result["user"]) == ["u001"] * 20 + ["u002"] * 20
    assert list(result["rank"]) == [*range(1, 21)] * 2
    assert set(result["placement"]) == {"home"}
    assert set(result["run_id"]) == {"run 1"}
    assert result["score"].dtype == np.float64
    assert result.groupby("user")["item_id"].nunique().tolist() == [20, 20]
    assert result["reason"].str.len().min() > 0


def test_a_user_is_known_by_the_own_id_and_the_key_and_others_get_popular_items(model: LoadedModel) -> None:
    key = pseudonym("u001", KEY.encode())
    by_key = ask(model, user=[key], k=[5])
    assert set(by_key["user"]) == {key}
    assert list(by_key["item_id"]) == items(model, user="u001", k=5) != items(model, user="u002", k=5)
    popular = ask(model, user=["nobody", "ab" * 32], k=[5, 5])
    assert {parse(reason).kind for reason in popular["reason"]} == {"popular"}  # type: ignore[union-attr]
    assert list(popular["item_id"][:5]) == list(popular["item_id"][5:])
    assert items(model, user="nobody", k=5, exclude=["no such item"]) == list(popular["item_id"][:5])


def test_each_row_has_its_own_length_placement_and_exclusions(model: LoadedModel) -> None:
    best = items(model, user="u001", k=6)
    rows = {"user": ["u001", "u001", "u002"], "k": [2, 4, 9], "placement": ["home", "basket", None]}
    result = ask(model, **rows, exclude=[[], [best[0], best[2], best[0]], None])
    assert result.groupby(["user", "placement"], sort=False).size().tolist() == [2, 4, 9]
    assert list(result["item_id"][:2]) == best[:2]
    assert list(result["item_id"][2:6]) == [best[1], *best[3:6]]
    assert list(result["placement"].unique()) == ["home", "basket"]


def test_an_item_that_was_not_available_is_on_no_list(model: LoadedModel) -> None:
    result = items(model, user="u001", k=1000)
    assert len(result) == len(set(result)) == len(model.builder.items) - 1
    assert GONE not in result


def test_a_host_without_the_key_of_pseudonyms_answers_by_user_key_only(folder: Path) -> None:
    model = _load_pyfunc(str(folder))
    assert len(items(model, user=pseudonym("u001", KEY.encode()), k=5)) == 5
    with pytest.raises(QuestionRefusedError, match="TAILORBIRD_SECRET_PSEUDONYM_KEY"):
        ask(model, user=["u001"])


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"k": 0}, "at least 1; it is 0"),
        ({"k": 2.5}, "at least 1; it is 2.5"),
        ({"k": "many"}, "at least 1; it is 'many'"),
        ({"exclude": "i01"}, "has to be a list of item ids"),
        ({"user": ""}, "as text; it is ''"),
        ({"user": 7}, "as text; it is 7"),
    ],
)
def test_an_invalid_question_is_refused_in_words(model: LoadedModel, wrong: dict[str, Any], fault: str) -> None:
    with pytest.raises(QuestionRefusedError, match=fault):
        items(model, **({"user": "u001"} | wrong))


def test_a_question_without_users_is_refused_and_one_of_no_rows_has_no_answers(model: LoadedModel) -> None:
    with pytest.raises(QuestionRefusedError, match="no column `user`"):
        ask(model, k=[3])
    assert ask(model, user=[]).empty


def test_a_folder_that_was_changed_is_not_loaded(folder: Path) -> None:
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text() + " ")
    with pytest.raises(BundleRefusedError, match="signed by none of the keys"):
        _load_pyfunc(str(folder))


def test_a_host_with_another_pseudonym_key_than_the_model_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAILORBIRD_SECRET_PSEUDONYM_KEY", KEY)
    again = folder.with_name("again")
    bundle = bundles.load(folder)
    bundles.write(again, bundle.model, bundle.fallback, Origin("v1", 7, "run 1"), bundle.segments)
    _load_pyfunc(str(again))
    monkeypatch.setenv("TAILORBIRD_SECRET_PSEUDONYM_KEY", "another key")
    with pytest.raises(OtherKeyError, match=r"TAILORBIRD_SECRET_PSEUDONYM_KEY .* is not the one of this model"):
        _load_pyfunc(str(again))
    monkeypatch.delenv("TAILORBIRD_SECRET_PSEUDONYM_KEY")
    assert _load_pyfunc(str(again)).pseudonym_key is None


def test_a_model_from_before_a_rotation_knows_its_users_by_both_their_names(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAILORBIRD_SECRET_PSEUDONYM_KEY", KEY)
    again = tmp_path / "again"
    loaded = bundles.load(folder)
    bundles.write(again, loaded.model, loaded.fallback, Origin("v1", 7, "run 1"))
    before = items(_load_pyfunc(str(again)), user="u001")
    key = f"{KEY},{'ab' * 32}"
    monkeypatch.setenv("TAILORBIRD_SECRET_PSEUDONYM_KEY", key)
    model = _load_pyfunc(str(again))
    assert items(model, user="u001") == items(model, user=pseudonym("u001", key.encode())) == before
