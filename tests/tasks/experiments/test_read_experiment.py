import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from infra.database.experiment_rows import add_experiment, begin_experiment, experiment_named
from infra.installation import Installation
from models.experiments.definition import ExperimentError, parse_experiment
from serving.queries.experiments import export_views
from tasks.experiments.people import people_of
from tasks.experiments.read_experiment import experiments_to_read, looks_at, read_experiment
from tests.tasks.ingest.inbox.api import Api

PEOPLE: Final = 500
SHOWN: Final = 8
NOW = datetime.now(UTC)
FORM: dict[str, Any] = {"placements": ["home"], "ends": (NOW + timedelta(days=2)).date()}
VARIANTS = {"control": {}, "test": {"model": "best_sellers"}}


class Trial:
    """An experiment that began four days ago, its people, and what they did as a test decides it."""

    def __init__(self, here: Installation) -> None:
        self.here, self.api = here, Api(here)
        self.api.rows("INSERT INTO items (item_id, attributes, available, batch_id) VALUES ('cup', '{}', true, 'b')")
        parsed = parse_experiment("spring", FORM | {"variants": VARIANTS}, {"home": {}})
        with here.engine.begin() as connection:
            begin_experiment(connection, add_experiment(connection, parsed, "ann", {}).experiment_id)
        self.names = [f"person-{number}" for number in range(PEOPLE)]
        self.api.send(*(self.api.user(name, consent=True) for name in self.names))
        self.api.move()
        self.variant = {name: self.assigned(name) for name in self.names}
        self.api.rows("UPDATE experiments SET started_at = now() - interval '4 days'")
        self.api.rows("UPDATE experiment_units SET first_at = now() - interval '4 days'")

    def assigned(self, name: str) -> str:
        found = self.api.rows("SELECT variant FROM assign_variants('home', :key, NULL)", key=self.api.key(name))
        return str(found[0].variant)

    def act(self, clicks: dict[str, float], orders: dict[str, float], seed: int = 7) -> dict[str, Counter[str]]:
        """Show everybody items; let people click and buy by these rates. Returns the sums by variant."""
        random, sums = np.random.default_rng(seed), {name: Counter[str]() for name in VARIANTS}
        messages = []
        for number, name in enumerate(self.names):
            variant, shown = self.variant[name], f"shown-{number}"
            items, at = ["cup"] * SHOWN, NOW - timedelta(days=1)
            messages.append(self.api.shown(name, shown, *items, variant=f"spring/{variant}", shown_at=at))
            clicked = int(random.binomial(SHOWN, clicks[variant]))
            messages += [self.api.act(name, "cup", recommendation_id=shown) for _ in range(clicked)]
            bought = int(random.random() < orders[variant])
            value = float(random.integers(5, 50))
            messages += [self.api.act(name, "cup", "purchase", value=value, currency="EUR")] * bought
            came = Counter(days=2 if clicked or bought else 1)  # shown yesterday, and the acts are of today
            sums[variant] += Counter(impressions=SHOWN, clicks=clicked, orders=bought, revenue=bought * value) + came
        self.api.send(*messages)
        self.api.move()
        return sums


@pytest.fixture
def trial(installation: Installation) -> Trial:
    return Trial(installation)


def verdicts(readout: dict[str, Any]) -> dict[str, str]:
    return {row["metric"]: row["verdict"] for row in readout["metrics"]}


def test_the_acts_of_people_are_counted_as_they_did_them(trial: Trial) -> None:
    expected = trial.act({"control": 0.2, "test": 0.4}, {"control": 0.3, "test": 0.3})
    with trial.here.engine.connect() as connection:
        experiment = experiment_named(connection, "spring")
    people = people_of(trial.here, experiment, datetime.now(UTC).timestamp())
    assert len(people.variant) == PEOPLE
    for variant, sums in expected.items():
        counted = people.of(variant)
        assert {name: counted[name].sum() for name in sums} == pytest.approx(dict(sums))
        assert people.users(variant) == list(trial.variant.values()).count(variant)
    assert len(people.seen) == PEOPLE
    assert (people.seen[:, 0] == people.seen[:, 1]).all()


@pytest.mark.parametrize(("late", "counted"), [(3, SHOWN * PEOPLE), (60, 0)])
def test_a_first_impression_by_a_clock_that_is_behind_counts(trial: Trial, late: int, counted: int) -> None:
    trial.act({"control": 0, "test": 0}, {"control": 0, "test": 0})
    first_at = NOW - timedelta(days=1) + timedelta(seconds=late)
    trial.api.rows("UPDATE experiment_units SET first_at = :first_at", first_at=first_at)
    with trial.here.engine.connect() as connection:
        experiment = experiment_named(connection, "spring")
    people = people_of(trial.here, experiment, datetime.now(UTC).timestamp())
    assert people.sums["impressions"].sum() == counted


def test_a_planted_winner_is_named_and_stays_the_only_one(trial: Trial) -> None:
    trial.act({"control": 0.15, "test": 0.35}, {"control": 0.3, "test": 0.3})
    readout = read_experiment.fn("spring")
    assert readout["claims"]["test"].startswith("test changed clicks per impression by +")
    assert all(check["passed"] for check in readout["checks"])
    assert verdicts(readout)["click_through"] == "better"
    # People were shown items yesterday and clicked today: who clicks comes on a further day.
    others = verdicts(readout).keys() - {"click_through", "repeat_visits"}
    assert {verdicts(readout)[metric] for metric in others} == {"not shown"}
    assert readout["stopped"] == ""


def test_no_winner_is_named_without_a_difference(trial: Trial) -> None:
    trial.act({"control": 0.25, "test": 0.25}, {"control": 0.3, "test": 0.3})
    readout = read_experiment.fn("spring")
    assert set(verdicts(readout).values()) == {"not shown"}
    assert readout["claims"]["test"] == "No change of clicks per impression is shown between test and control."


def test_a_broken_split_and_a_robot_block_the_claim(trial: Trial) -> None:
    trial.act({"control": 0.15, "test": 0.35}, {"control": 0.3, "test": 0.3})
    lost = "DELETE FROM experiment_units WHERE variant = 'control' AND ctid IN "
    trial.api.rows(f"{lost} (SELECT ctid FROM experiment_units WHERE variant = 'control' LIMIT 120)")
    readout = read_experiment.fn("spring")
    assert readout["claims"]["test"] == "Nothing can be claimed: sample ratio failed."
    robot = next(name for name in trial.names if trial.variant[name] == "test")
    own = f"shown-{trial.names.index(robot)}"
    trial.api.send(*(trial.api.act(robot, "cup", recommendation_id=own) for _ in range(300)))
    trial.api.move()
    readout = read_experiment.fn("spring")
    assert [check["check"] for check in readout["checks"] if not check["passed"]] == ["sample ratio", "single users"]


def test_people_who_saw_the_variant_of_others_block_the_claim(trial: Trial) -> None:
    trial.act({"control": 0.15, "test": 0.35}, {"control": 0.3, "test": 0.3})
    trial.api.rows("UPDATE served_answers SET variant = 'spring/test'")
    readout = read_experiment.fn("spring")
    assert readout["claims"]["test"] == "Nothing can be claimed: assignment failed."


def test_a_variant_that_costs_money_is_stopped(trial: Trial) -> None:
    trial.act({"control": 0.25, "test": 0.25}, {"control": 0.9, "test": 0.1})
    readout = read_experiment.fn("spring")
    assert readout["stopped"].startswith("test changed people who bought by -")
    (row,) = trial.api.rows("SELECT stopped_by, stop_reason FROM experiments")
    assert (row.stopped_by, row.stop_reason) == ("the guardrails", readout["stopped"])
    assert trial.api.rows("SELECT * FROM assign_variants('home', :key, NULL)", key=trial.api.key(trial.names[0])) == []
    assert read_experiment.fn("spring")["stopped"] == ""  # it is not stopped twice
    assert experiments_to_read.fn() == ["spring"]


def test_a_user_without_consent_is_no_longer_counted(trial: Trial) -> None:
    trial.act({"control": 0.25, "test": 0.25}, {"control": 0.3, "test": 0.3})
    before = read_experiment.fn("spring")["people"]
    trial.api.rows("UPDATE users SET consent = false WHERE user_key = :key", key=trial.api.key("person-7"))
    after = read_experiment.fn("spring")["people"]
    assert sum(before.values()) - sum(after.values()) == 1


def test_each_day_and_the_present_are_looks(trial: Trial) -> None:
    with trial.here.engine.connect() as connection:
        experiment = experiment_named(connection, "spring")
    assert experiment.started_at is not None
    start = experiment.started_at
    planned = (experiment.ends_at - start) / timedelta(days=1)
    half_a_day = looks_at(experiment, start + timedelta(days=0.5))
    assert half_a_day == pytest.approx([0.5 / planned])
    assert looks_at(experiment, start + timedelta(days=2.5)) == pytest.approx([1 / planned, 2 / planned, 2.5 / planned])
    for hour in range(24):
        began = replace(experiment, started_at=experiment.ends_at - timedelta(days=2, hours=hour, minutes=20))
        assert looks_at(began, began.ends_at)[-1] == pytest.approx(1.0)


def test_an_experiment_that_nobody_knows_or_nobody_is_in_is_explained(installation: Installation) -> None:
    with pytest.raises(ExperimentError, match="No experiment 'spring' was started; there are none"):
        read_experiment.fn("spring")
    parsed = parse_experiment("spring", FORM | {"variants": VARIANTS}, {"home": {}})
    with installation.engine.begin() as connection:
        started = add_experiment(connection, parsed, "ann", {})
    with pytest.raises(ExperimentError, match="assigns nobody yet"):
        read_experiment.fn("spring")
    with installation.engine.begin() as connection:
        begin_experiment(connection, started.experiment_id)
    readout = read_experiment.fn("spring")
    assert readout["claims"] == {"test": "Nothing can be said yet: a variant has fewer than 10 people."}
    assert readout["metrics"] == []


def view(variant: str, name: str = "spring", **who: str) -> dict[str, Any]:
    about = {"experiment_name": name, "variation_name": variant}
    return {"type": "track", "event": "Experiment Viewed", "properties": about, **who}


def stored(api: Api, key: str) -> list[str]:
    return [row.variant for row in api.rows("SELECT variant FROM experiment_units WHERE unit_key = :key", key=key)]


def test_a_variant_that_another_program_showed_is_stored_unless_the_person_has_one(trial: Trial) -> None:
    api, known = trial.api, trial.names[0]
    other = "test" if trial.variant[known] == "control" else "control"
    api.send(
        *api.calls(view(other, userId=known), view("test", userId="a stranger"), view("test", anonymousId="phone"))
    )
    assert stored(api, api.key(known)) == [trial.variant[known]]
    assert stored(api, api.key("a stranger")) == ["test"]
    assert stored(api, api.device("phone")) == ["test"]
    wrong = view("nothing", userId="b"), view("test", "nothing", userId="b"), view("", userId="b")
    api.send(*api.calls(*wrong, {"type": "track", "event": "Experiment Viewed", "properties": 7, "userId": "b"}))
    assert stored(api, api.key("b")) == []
    before = api.ledger()
    api.move()
    moved = {name: count - before[name] for name, count in api.ledger().items()}
    assert moved["read"] == moved["routed"] > 0


def test_a_page_states_the_variant_of_its_own_device_alone(trial: Trial) -> None:
    api = trial.api
    api.send(*api.calls(view("test", userId="somebody else", anonymousId="phone"), kind="page"))
    assert stored(api, api.key("somebody else")) == []
    assert stored(api, api.device("phone")) == ["test"]


def test_exported_views_come_in_again_as_they_went_out(trial: Trial, tmp_path: Path) -> None:
    file = tmp_path / "views.jsonl"
    assert export_views(trial.here.engine, "spring", file) == {"file": str(file), "users": PEOPLE}
    assert file.stat().st_mode & 0o077 == 0
    calls = [json.loads(line) for line in file.read_text().splitlines()]
    assert {call["userId"]: call["properties"]["variation_name"] for call in calls} == trial.variant
    trial.api.rows("DELETE FROM experiment_units")
    trial.api.send(*trial.api.calls(*calls))
    assert {name: stored(trial.api, trial.api.key(name)) for name in trial.names[:50]} == {
        name: [trial.variant[name]] for name in trial.names[:50]
    }
