"""Derives the next step from the situation, so that every command names the same one."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from models.monitoring.guidance.situation import LastReview, Situation
from models.tuning.retune_policy import MAX_MINUTES

_LISTED: Final = 3
"""Batches that a sentence lists."""
_SEARCHES: Final = (
    f"It may search settings for up to {MAX_MINUTES} minutes before it trains; `--minutes` sets another limit. "
    "Without a search: `tailorbird features && tailorbird train && tailorbird review`."
)


class Stage(StrEnum):
    """The stage of an installation."""

    CUT_SHORT = "an ingest was cut short"
    EMPTY = "nothing is ingested"
    NO_EVENTS = "no events are accepted"
    INGESTED = "no data set is built"
    DATASET = "no model is trained"
    TRAINED = "no model is reviewed"
    WAITING = "a version waits for a decision"
    SWITCHED_OFF = "promotion is switched off"
    REFUSED = "the gate refused a version"
    REJECTED = "a person rejected a version"
    EXPIRED = "nobody decided in time"
    NEWER_EVENTS = "events are newer than the data set"
    UNDONE = "a data set or the champion contains undone batches"
    NO_LISTS = "placements have no lists"
    STALE = "lists are out of date"
    UNDER_WAY = "the work is under way"
    DONE = "lists are published"


@dataclass(frozen=True)
class Step:
    """Where an installation stands, and what to run next."""

    stage: Stage
    situation: str
    """One sentence."""
    command: str
    also: str = ""
    """Another option, as a sentence."""

    def __str__(self) -> str:
        """Return the situation once, then the next command."""
        return " ".join(part for part in (self.situation, f"Next: `{self.command}`.", self.also) if part)


def next_step(now: Situation) -> Step:
    """Return the stage of the installation and the next command.

    An interrupted ingest comes first, because everything made without its files has to be made again.
    """
    if now.cut_short:
        return _again(now)
    if not now.events:
        return _before_events(now)
    if now.dataset is None:
        return Step(Stage.INGESTED, "Events are ingested, but no data set is built yet.", "tailorbird features")
    return _without_undone(now) or _towards_a_review(now) or _after_a_review(now) or _lists(now)


def _again(now: Situation) -> Step:
    first, *others = now.cut_short
    following = next_step(replace(now, cut_short=tuple(others)))
    also = f"Without {first.them}: `{following.command}`." if now.events and not others else ""
    return Step(Stage.CUT_SHORT, first.situation, first.command, also)


def _before_events(now: Situation) -> Step:
    if not now.batches:
        return Step(Stage.EMPTY, "Nothing is ingested yet.", "tailorbird ingest MAPPING PATH…")
    also = "`tailorbird ledger` shows what became of the rows so far."
    return Step(Stage.NO_EVENTS, "No interactions are accepted yet.", "tailorbird ingest MAPPING PATH…", also)


def _without_undone(now: Situation) -> Step | None:
    """Return the step that replaces a data set with undone batches; None without any."""
    if now.undone_in_dataset:
        batches = _batches(now.undone_in_dataset)
        situation = f"Data set {now.dataset} still contains {batches}."
        if now.undone_in_champion:
            situation = f"Data set {now.dataset} and version {now.champion}, the champion, still contain {batches}."
        also = f"Then train and review again. {_roll_back(now)}".rstrip()
        return Step(Stage.UNDONE, situation, "tailorbird features", also)
    return None


def _roll_back(now: Situation) -> str:
    """Return when to roll back a champion with undone batches; empty if there is no reason to."""
    return now.earlier.sentence if now.undone_in_champion and now.earlier else ""


def _batches(undone: tuple[str, ...]) -> str:
    if len(undone) == 1:
        return f"batch {undone[0]}, which is undone"
    return (
        f"{len(undone)} batches that are undone ({', '.join(undone[:_LISTED])}{' …' if len(undone) > _LISTED else ''})"
    )


def _towards_a_review(now: Situation) -> Step | None:
    """Return the next step of the newest data set; None once one of its models was reviewed."""
    reviewed = now.review is not None and now.review.dataset == now.dataset
    if reviewed or now.dataset == now.champion_dataset:
        return None
    if not now.trained and now.champion is not None and now.retrain_due:
        return None  # a retraining builds a newer data set, and uses this one no more
    if not now.trained:
        also = "" if now.searched else "Before it, `tailorbird search` may find better settings."
        return Step(Stage.DATASET, f"No model is trained on data set {now.dataset} yet.", "tailorbird train", also)
    models = "1 model is" if now.trained == 1 else f"{now.trained} models are"
    return Step(
        Stage.TRAINED, f"{models} trained on data set {now.dataset}, but not reviewed yet.", "tailorbird review"
    )


def _after_a_review(now: Situation) -> Step | None:
    """Return the step after a review; None if there is none, or if a champion exists."""
    review = now.review
    if review is None:
        return None
    if review.decision is None and review.passed:
        return _undecided(now, review)
    if now.champion is not None or review.decision == "approved":
        return None
    if now.new_events:
        return _learn_again(now, "No model answers yet")
    if review.decision is None:
        return _refused(now, review)
    if review.expired:
        situation = f"Nobody decided about version {review.version} in time, so no model answers yet."
        return Step(Stage.EXPIRED, situation, "tailorbird review")
    situation = f"{review.reviewer or 'Somebody'} rejected version {review.version}, so no model answers yet."
    return _retrain(Stage.REJECTED, situation, "Train other models, or ingest more events before it.")


def _decide(version: int, override: bool = False) -> str:
    return f'tailorbird decide {version} --approve {"--override " if override else ""}--reason "…"'


def _undecided(now: Situation, review: LastReview) -> Step:
    answers = f"version {now.champion} answers until then" if now.champion else "no model answers until then"
    command = _decide(review.version)
    if now.review_mode == "never":
        situation = f"Version {review.version} passed the gate, but the setting `review` is `never`; {answers}."
        return Step(Stage.SWITCHED_OFF, situation, command, "Before it, set `review` to `manual`.")
    situation = f"Version {review.version} passed the gate and waits for a decision; {answers}."
    return Step(Stage.WAITING, situation, command, "To refuse it: `--reject` instead.")


def _refused(now: Situation, review: LastReview) -> Step:
    failed = f" ({'; '.join(review.failed)})" if review.failed else ""
    situation = f"The gate refused version {review.version}{failed}, so no model answers yet."
    if now.review_mode == "never":
        also = "More events may help; nothing is promoted while the setting `review` is `never`."
        return _retrain(Stage.REFUSED, situation, also)
    command = _decide(review.version, override=True)
    also = "That promotes it all the same. Or ingest more events and run `tailorbird retrain`."
    return Step(Stage.REFUSED, situation, command, also)


def _learn_again(now: Situation, answers: str) -> Step:
    situation = f"{answers}, and {_events(now)} came in since the newest data set."
    return _retrain(Stage.NEWER_EVENTS, situation)


def _events(now: Situation) -> str:
    return "1 interaction" if now.new_events == 1 else f"{now.new_events:,} interactions"


def _retrain(stage: Stage, situation: str, also: str = "") -> Step:
    """Return the step to retrain, with its time limit and the way without a search."""
    return Step(stage, situation, "tailorbird retrain", " ".join(filter(None, [also, _SEARCHES])))


def _lists(now: Situation) -> Step:
    """Return the step for published lists, and after a rollback how to revert it."""
    step = _published(now)
    if now.rolled_back_version is None or now.review_mode == "never":
        return step
    command = _decide(now.rolled_back_version, now.rolled_back_overridden)
    back = f"Version {now.rolled_back_version} was rolled back; `{command}` makes it the champion again."
    return replace(step, also=f"{step.also} {back}".lstrip())


def _published(now: Situation) -> Step:
    champion = f"Version {now.champion} is the champion"
    if now.champion is None:  # approved and not the champion: it was rolled back, or promotion was cut short
        return Step(Stage.TRAINED, "No model answers yet.", "tailorbird review")
    if now.undone_in_champion:
        situation = f"{champion} and still contains {_batches(now.undone_in_champion)}."
        return _retrain(Stage.UNDONE, situation, _roll_back(now))
    if now.without_lists:
        names = ", ".join(now.without_lists)
        situation = f"{champion}, but there are no lists yet for {names}."
        return Step(Stage.NO_LISTS, situation, "tailorbird score")
    if now.stale:
        if now.stale == now.placements:
            return Step(Stage.STALE, f"{champion}, but all lists are out of date.", "tailorbird score")
        situation = f"{champion}, but the lists of {', '.join(now.stale)} are out of date."
        return Step(Stage.STALE, situation, f"tailorbird score {' '.join(now.stale)}")
    if now.retrain_due:
        return _learn_again(now, champion)
    if now.rolled_back:
        names = " and ".join(now.rolled_back)
        also = f"`tailorbird score {' '.join(now.rolled_back)}` makes new lists for everybody there."
        return Step(
            Stage.DONE, f"{champion}; {names}: rolled back to earlier lists.", "tailorbird recommend USER", also
        )
    situation = f"{champion}, and all lists are fresh. {_few_events(now)}".rstrip()
    return Step(Stage.DONE, situation, "tailorbird recommend USER")


def _few_events(now: Situation) -> str:
    """Return when too few new events will be used; empty without new events."""
    if not now.new_events:
        return ""
    share = f"{_events(now)} came in since the newest data set, {100 * now.new_events / now.events:.2f} % of all"
    if now.next_retrain:
        return f"{share}; the scheduled retrain of {now.next_retrain} takes them in."
    limits = f"from {100 * now.retrain_after_share:g} % of all, or {now.retrain_after_days:g} days after that data set"
    return f"{share}; a retrain is due {limits}."
