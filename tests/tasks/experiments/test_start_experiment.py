from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from infra.database.experiment_rows import all_experiments
from infra.installation import current
from models.experiments.definition import ExperimentError
from models.lists.rules.placement_config import PlacementError
from tasks.experiments.start_experiment import begin, prepare_experiment, stop, withdraw_ended
from tasks.scoring.score_placement import placements_to_score, score_placement
from tests.tasks.shelves import Place, items_of, lists

ENDS = (datetime.now(UTC) + timedelta(days=20)).date()
SPRING = f"""
    [spring]
    placements = ["home"]
    ends = {ENDS}
    variants.control = {{}}
    variants.best = {{ model = "best_sellers" }}
    variants.capped = {{ rules.cap = {{ category = 1 }} }}
"""


@pytest.fixture
def experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Return a function that makes a text the experiments of this installation."""

    def write(content: str) -> None:
        (tmp_path / "experiments.toml").write_text(content)
        monkeypatch.setenv("TAILORBIRD_EXPERIMENTS", str(tmp_path / "experiments.toml"))
        current.cache_clear()

    return write


def start(name: str = "spring") -> None:
    for placement in prepare_experiment.fn(name, "ann"):
        score_placement.fn(placement)
    begin.fn(name)


def published(stage: Any) -> dict[str, dict[str, list[str]]]:
    """Return the items of all published lists, also of those that nobody is served, by placement."""
    statement = """
        SELECT placement, subject, array_agg(item_id ORDER BY place) AS items
        FROM placements JOIN recommendations USING (batch_id),
            unnest(items) WITH ORDINALITY AS entry (item_code, place) JOIN batch_items USING (item_code)
        WHERE batch_items.batch_id = placements.batch_id GROUP BY 1, 2"""
    found: dict[str, dict[str, list[str]]] = {}
    with stage.here.engine.connect() as connection:
        for row in connection.execute(text(statement)):
            found.setdefault(row.placement, {})[row.subject] = row.items
    return found


def test_each_variant_has_lists_of_its_own_and_applications_see_one_of_them(
    stage: Any, place: Place, experiments: Place
) -> None:
    stage.promote("als")
    place("[home]\nk = 10\n")
    experiments(SPRING)
    score_placement.fn()
    before = lists(stage)
    start()
    own = published(stage)
    assert set(own) == {"home", "home~spring~best", "home~spring~capped"}
    assert len(set(map(tuple, own["home~spring~best"].values()))) == 1
    assert len(set(map(tuple, own["home"].values()))) > 1
    shown = lists(stage)
    assert shown.keys() == before.keys()
    for user, entries in shown.items():
        assert [entry.item for entry in entries] in [own[name][user] for name in own]
    assert {name for name in own for user in shown if [e.item for e in shown[user]] == own[name][user]} == set(own)
    assert placements_to_score(["home"]) == ["home", "home~spring~best", "home~spring~capped"]


def test_a_stopped_experiment_leaves_the_placements_own_lists(stage: Any, place: Place, experiments: Place) -> None:
    stage.promote("als")
    place("[home]\nk = 10\n")
    experiments(SPRING)
    score_placement.fn()
    before = items_of(lists(stage))
    start()
    assert items_of(lists(stage)) != before
    stopped = stop.fn("spring", "ann", "enough is seen")
    assert (stopped["state"], stopped["stopped_by"], stopped["stop_reason"]) == ("stopped", "ann", "enough is seen")
    assert items_of(lists(stage)) == before
    assert set(published(stage)) == {"home"}
    assert placements_to_score(None) == ["home"]
    assert stop.fn("spring", "bob", "once more")["stopped_by"] == "ann"
    with pytest.raises(ExperimentError, match="is stopped; an experiment starts once"):
        prepare_experiment.fn("spring", "ann")


def test_an_interrupted_start_goes_on_as_it_was_recorded(stage: Any, place: Place, experiments: Place) -> None:
    stage.promote("als")
    place("[home]\nk = 10\n")
    experiments(SPRING)
    names = prepare_experiment.fn("spring", "ann")
    experiments(SPRING.replace("spring", "summer"))
    assert prepare_experiment.fn("spring", "bob") == names
    with stage.here.engine.connect() as connection:
        assert [experiment.started_at for experiment in all_experiments(connection)] == [None]


def test_a_variant_uses_another_registered_version(stage: Any, place: Place, experiments: Place) -> None:
    stage.promote("als")
    stage.promote("most_popular", 2)
    place("[home]\nk = 10\n")
    experiments(SPRING.replace('"best_sellers"', "1"))
    start()
    with stage.here.engine.connect() as connection:
        versions = dict(
            connection.execute(
                text(
                    "SELECT placements.placement, model_version FROM placements "
                    "JOIN recommendation_batches USING (batch_id)"
                )
            ).all()
        )
    assert versions["home~spring~best"] == 1
    assert versions["home~spring~capped"] == 2
    assert len(set(map(tuple, published(stage)["home~spring~best"].values()))) > 1


def test_the_lists_of_an_experiment_that_ended_are_withdrawn(stage: Any, place: Place, experiments: Place) -> None:
    stage.promote("als")
    place("[home]\nk = 10\n")
    experiments(SPRING)
    score_placement.fn()
    start()
    with stage.here.engine.begin() as connection:
        connection.execute(text("UPDATE experiments SET ends_at = now()"))
    withdraw_ended(stage.here)
    assert set(published(stage)) == {"home"}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "has no experiment 'spring'"),
        (SPRING.replace('"home"', '"nowhere"'), "there is no placement 'nowhere'"),
        (SPRING.replace("best_sellers", "worst_sellers"), "no model"),
        (SPRING.replace('{ model = "best_sellers" }', "{ modell = 3 }"), "the nearest is 'model'"),
        (SPRING.replace(str(ENDS), "2020-01-01"), "is over"),
        (SPRING.replace(f"ends = {ENDS}", ""), "spring.ends: it is missing"),
        (SPRING.replace('"best_sellers"', '"challenger"'), "No challenger waits"),
        (SPRING.replace('"best_sellers"', "77"), "no review of version 77"),
        ("[spring", "not valid TOML"),
    ],
)
def test_an_unusable_experiment_is_refused_with_the_fix(
    stage: Any, place: Place, experiments: Place, content: str, fault: str
) -> None:
    stage.promote("als")
    place("[home]\nk = 10\n")
    experiments(content)
    with pytest.raises((ExperimentError, PlacementError, Exception), match=fault):
        prepare_experiment.fn("spring", "ann")
    with stage.here.engine.connect() as connection:
        assert all_experiments(connection) == []
