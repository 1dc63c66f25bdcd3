"""Tests every state with every command: each states the situation once and names the same next command."""

from dataclasses import replace
from typing import Any

import pytest

from models.monitoring.guidance.next_step import NEEDS, Stage, Step, Work, next_step, refusal, wait_for
from models.monitoring.guidance.situation import CutShort, EarlierChampion, LastReview, Situation
from models.tuning.retune_policy import MAX_MINUTES

EMPTY = Situation()
CATALOGUE = Situation(batches=2)
INGESTED = Situation(batches=3, events=900)
DATASET = replace(INGESTED, dataset="d1")
TRAINED = replace(DATASET, trained=6)
WAITING = replace(TRAINED, review=LastReview(3, "d1", passed=True))
REFUSED = replace(TRAINED, review=LastReview(3, "d1", passed=False, failed=("exposure", "size")))
REJECTED = replace(TRAINED, review=LastReview(3, "d1", True, decision="rejected", reviewer="ann"))
EXPIRED = replace(TRAINED, review=LastReview(3, "d1", True, decision="rejected", reviewer="nobody", expired=True))
APPROVED = LastReview(3, "d1", True, decision="approved")
PLACES = ("home", "email")
PROMOTED = replace(TRAINED, review=APPROVED, champion=3, champion_dataset="d1", without_lists=PLACES)
LIVE = replace(PROMOTED, without_lists=())
SECOND = replace(LIVE, dataset="d2", trained=6)

_NO_MODEL = {"score", "monitor", "audit", "recommend", "goes-with", "explain", "rollback model"}
_NO_REVIEW = _NO_MODEL | {"decide"}
_NO_DATASET = _NO_REVIEW | {"search", "train", "validate", "review"}
_NO_EVENTS = _NO_DATASET | {"features", "retrain", "backtest"}
_INGEST = "tailorbird ingest MAPPING PATH…"
_YES = 'tailorbird decide {} --approve --reason "…"'
_OVERRIDE = 'tailorbird decide 3 --approve --override --reason "…"'

STATES = {
    "empty": (EMPTY, Stage.EMPTY, _INGEST, _NO_EVENTS),
    "only a catalogue": (CATALOGUE, Stage.NO_EVENTS, _INGEST, _NO_EVENTS),
    "ingested": (INGESTED, Stage.INGESTED, "tailorbird features", _NO_DATASET),
    "data set": (DATASET, Stage.DATASET, "tailorbird train", _NO_REVIEW),
    "trained": (TRAINED, Stage.TRAINED, "tailorbird review", _NO_REVIEW),
    "waiting": (WAITING, Stage.WAITING, _YES.format(3), _NO_MODEL),
    "refused": (REFUSED, Stage.REFUSED, _OVERRIDE, _NO_MODEL),
    "refused, then more events": (
        replace(REFUSED, new_events=2), Stage.NEWER_EVENTS, "tailorbird retrain", _NO_MODEL,
    ),
    "refused, then another data set": (replace(REFUSED, dataset="d2", trained=0), Stage.DATASET, "tailorbird train",
                                       _NO_MODEL),
    "refused, and promotion switched off": (
        replace(REFUSED, review_mode="never"), Stage.REFUSED, "tailorbird retrain", _NO_MODEL,
    ),
    "rejected": (REJECTED, Stage.REJECTED, "tailorbird retrain", _NO_MODEL),
    "expired": (EXPIRED, Stage.EXPIRED, "tailorbird review", _NO_MODEL),
    "promotion switched off": (
        replace(WAITING, review_mode="never"), Stage.SWITCHED_OFF, _YES.format(3), _NO_MODEL,
    ),
    "champion without lists": (PROMOTED, Stage.NO_LISTS, "tailorbird score", set()),
    "one list missing": (replace(LIVE, without_lists=("email",)), Stage.NO_LISTS, "tailorbird score", set()),
    "lists": (LIVE, Stage.DONE, "tailorbird recommend USER", set()),
    "lists that were rolled back to": (
        replace(LIVE, rolled_back=("home",)), Stage.DONE, "tailorbird recommend USER", set(),
    ),
    "a data set with an undone batch": (
        replace(LIVE, undone_in_dataset=("b1",), undone_in_champion=("b1",)), Stage.UNDONE, "tailorbird features",
        set(),
    ),
    "a champion with an undone batch": (
        replace(LIVE, undone_in_champion=("b1", "b2", "b3", "b4")), Stage.UNDONE, "tailorbird retrain", set(),
    ),
    "all lists stale": (
        replace(LIVE, placements=PLACES, stale=PLACES), Stage.STALE, "tailorbird score", set(),
    ),
    "stale lists": (replace(LIVE, stale=("home",)), Stage.STALE, "tailorbird score home", set()),
    "a few newer events": (replace(LIVE, new_events=1), Stage.DONE, "tailorbird recommend USER", set()),
    "a few newer events for long": (
        replace(LIVE, new_events=1, dataset_days=14), Stage.NEWER_EVENTS, "tailorbird retrain", set(),
    ),
    "newer events": (replace(LIVE, new_events=45), Stage.NEWER_EVENTS, "tailorbird retrain", set()),
    "champion, and a second data set": (replace(SECOND, trained=0), Stage.DATASET, "tailorbird train", set()),
    "champion, and trained again": (SECOND, Stage.TRAINED, "tailorbird review", set()),
    "champion, and a second version waits": (
        replace(SECOND, review=LastReview(4, "d2", True)), Stage.WAITING, _YES.format(4), set(),
    ),
    "champion, and a second version was refused": (
        replace(SECOND, review=LastReview(4, "d2", False)), Stage.DONE, "tailorbird recommend USER", set(),
    ),
    "champion, and an old data set nobody trained on": (
        replace(SECOND, trained=0, new_events=90), Stage.NEWER_EVENTS, "tailorbird retrain", set(),
    ),
    "champion, an untrained data set and a few newer events": (
        replace(SECOND, trained=0, new_events=3), Stage.DATASET, "tailorbird train", set(),
    ),
}  # fmt: skip
MONTHS = tuple(f"/rok/zamowienia_2026-{n:02}.csv" for n in range(1, 10))


@pytest.mark.parametrize("state", STATES)
def test_a_state_has_one_next_command_which_it_does_not_refuse(state: str) -> None:
    now, stage, command, refused = STATES[state]
    step = next_step(now)
    assert (step.stage, step.command) == (stage, command)
    assert command.split()[1] not in refused
    assert step.situation.endswith(".")
    assert str(step).count("Next: ") == 1
    assert str(step).startswith(f"{step.situation} Next: `{command}`.")


def test_a_rejected_version_can_be_reopened() -> None:
    assert next_step(REJECTED).also.endswith('`tailorbird review --again 3 --reason "…"`.')


@pytest.mark.parametrize("state", STATES)
def test_a_hint_at_retraining_states_how_long_it_may_search_and_the_way_without(state: str) -> None:
    step = next_step(STATES[state][0])
    retrains = step.command == "tailorbird retrain"
    assert (f"up to {MAX_MINUTES} minutes" in step.also) == retrains
    assert ("tailorbird features && tailorbird train && tailorbird review" in step.also) == retrains


@pytest.mark.parametrize("command", [*NEEDS, "ingest", "status", "ledger", "up"])
@pytest.mark.parametrize("state", STATES)
def test_a_command_that_cannot_run_yet_states_the_situation_and_the_same_next_command(state: str, command: str) -> None:
    now, _, _, refused = STATES[state]
    assert refusal(command, now) == (str(next_step(now)) if command in refused else None)


def test_a_refusal_names_the_checks_that_failed_and_both_ways_out() -> None:
    values = refusal("score", REFUSED)
    assert values is not None
    assert "The gate refused version 3 (exposure; size), so no model answers yet." in values
    assert "run `tailorbird retrain`" in values


def test_a_version_that_waits_beside_a_champion_names_who_answers() -> None:
    step = next_step(replace(SECOND, review=LastReview(4, "d2", True)))
    assert "version 3 answers until then" in step.situation


def test_a_few_newer_events_are_named_with_the_planned_retrain_or_with_what_makes_one_due() -> None:
    few = replace(LIVE, events=32_498, new_events=25)
    fresh = "Version 3 is the champion, and all lists are fresh. 25 interactions came in since the newest data set, "
    planned = next_step(replace(few, next_retrain="Sunday 2026-11-15 05:30 UTC"))
    assert planned.situation == (
        f"{fresh}0.08 % of all; the scheduled retrain of Sunday 2026-11-15 05:30 UTC takes them in."
    )
    own_limits = next_step(replace(few, retrain_after_share=0.1, retrain_after_days=3))
    assert own_limits.situation == (
        f"{fresh}0.08 % of all; a retrain is due from 10 % of all, or 3 days after that data set."
    )


def test_files_that_were_cut_short_come_in_before_anything_is_made() -> None:
    cut = CutShort("sklep", "sklep.toml", ("/a.csv", "/b.csv"))
    step = next_step(replace(LIVE, new_events=450, cut_short=(cut,)))
    assert (step.stage, step.command) == (Stage.CUT_SHORT, "tailorbird ingest sklep.toml /a.csv /b.csv")
    assert step.situation == "The ingest of 2 files of sklep was cut short; nothing of them counts."
    assert step.also == "Without them: `tailorbird retrain`."
    assert next_step(replace(EMPTY, cut_short=(cut, cut))).also == ""


@pytest.mark.parametrize("in_dataset", [(), ("b1",)])
def test_a_rollback_is_named_after_a_new_model_with_the_figures_of_both_versions(in_dataset: tuple[str, ...]) -> None:
    undone = replace(LIVE, undone_in_dataset=in_dataset, undone_in_champion=("b1",))
    step = next_step(replace(undone, earlier=EarlierChampion(1, "als", 0.2794, 0.3196)))
    assert step.command in {"tailorbird features", "tailorbird retrain"}
    assert "Only if what the champion learned from it is harmful: `tailorbird rollback model --reason" in step.also
    assert "version 1 (als)" in step.also
    assert "NDCG@10 on the same test weeks: 0.2794, and 0.3196 for the champion." in step.also
    assert "Nobody measured both" in next_step(replace(undone, earlier=EarlierChampion(1, "als", None, 0.3196))).also
    assert "rollback" not in next_step(undone).also
    assert "rollback" not in next_step(replace(undone, undone_in_champion=(), earlier=EarlierChampion(1, "als"))).also


@pytest.mark.parametrize(("overridden", "option"), [(False, ""), (True, "--override ")])
def test_after_a_rollback_every_step_names_how_to_take_it_back(overridden: bool, option: str) -> None:
    back = (
        f'Version 4 was rolled back; `tailorbird decide 4 --approve {option}--reason "…"` makes it the champion again.'
    )
    for state in (LIVE, replace(LIVE, stale=("home",)), replace(LIVE, rolled_back=("home",))):
        remaining = replace(state, rolled_back_version=4, rolled_back_overridden=overridden)
        assert next_step(remaining).also.endswith(back)
        assert next_step(replace(remaining, review_mode="never")).also == next_step(state).also


TO_TRAIN = Step(Stage.DATASET, "No model is trained on data set d1 yet.", "tailorbird train")
TO_DECIDE = Step(Stage.WAITING, "Version 3 waits.", 'tailorbird decide 3 --approve --reason "…"')
TO_SCORE = Step(Stage.STALE, "The lists of home are out of date.", "tailorbird score home")
RETRAINING = Work("retrain", "`tailorbird retrain --minutes 3` (process 9244, since 2026-11-28 05:00 UTC)")


@pytest.mark.parametrize("flow", ["features", "search", "train", "review", "retrain", "demo"])
def test_while_a_model_is_made_the_next_step_is_to_wait_for_it(flow: str) -> None:
    step = wait_for(TO_TRAIN, [Work(flow, f"{flow} (since 05:00)")])
    assert (step.stage, step.command, step.also) == (Stage.UNDER_WAY, "tailorbird status", "")
    assert step.situation == f"{TO_TRAIN.situation} {flow} (since 05:00) is under way; wait until it has ended."
    both = wait_for(TO_TRAIN, [RETRAINING, Work("search", "search als")])
    assert both.situation.endswith("UTC) and search als are under way; wait until they have ended.")


def test_work_that_has_nothing_to_do_with_the_next_step_changes_nothing() -> None:
    assert wait_for(TO_TRAIN, []) is TO_TRAIN
    assert wait_for(TO_TRAIN, [Work("ingest", "an ingest"), Work("score", "score home"), Work("", "")]) is TO_TRAIN


def test_the_same_command_is_not_named_a_second_time() -> None:
    assert wait_for(TO_SCORE, [Work("score", "score home")]).command == "tailorbird status"
    ingest = Step(Stage.EMPTY, "Nothing is ingested yet.", "tailorbird ingest MAPPING PATH…")
    assert wait_for(ingest, [Work("ingest", "ingest shop")]).stage is Stage.UNDER_WAY


def test_a_person_may_decide_meanwhile_and_make_lists_if_the_work_makes_none() -> None:
    assert wait_for(TO_DECIDE, [RETRAINING]).also == f"Meanwhile you can run `{TO_DECIDE.command}`."
    assert wait_for(TO_SCORE, [Work("search", "search als")]).also == "Meanwhile you can run `tailorbird score home`."
    assert wait_for(TO_SCORE, [RETRAINING]).also == ""


@pytest.mark.parametrize(
    ("locations", "place"),
    [
        (("/rok/maj 1.csv",), "'/rok/maj 1.csv'"),
        (MONTHS[:2], " ".join(MONTHS[:2])),
        (MONTHS, "'/rok/zamowienia*.csv'"),
        ((*MONTHS, "/rok/zamowienia.csv.gz"), "/rok"),
        ((*MONTHS, "/rok/[1]/a.csv"), "/rok/"),
        (tuple(f"/[1]/{n}.csv" for n in range(5)), "'/[1]'"),
        (tuple(f"s3://bucket/{n}/a.csv" for n in range(5)), "s3://bucket/"),
    ],
)
def test_few_files_are_named_and_many_by_a_pattern_or_their_folder(locations: tuple[str, ...], place: str) -> None:
    assert CutShort("sklep", "/sklep.toml", locations).command == f"tailorbird ingest /sklep.toml {place}"


def test_the_options_of_before_are_given_again() -> None:
    overrides: dict[str, Any] = {"name": "shop", "consent": "opt-in", "from": "2026-01-01"}
    command = CutShort("shop", "/sklep.toml", ("/a.csv",), overrides).command
    assert command == "tailorbird ingest shop /a.csv --mapping /sklep.toml --consent opt-in --from 2026-01-01"
