"""The table of states of an installation: the first that holds names the next step, the same for every command."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from operator import attrgetter
from types import MappingProxyType
from typing import Final

from models.monitoring.guidance.situation import Situation
from models.tuning.retune_policy import MAX_MINUTES

_LISTED: Final = 3
"""Batches that a sentence lists."""


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


@dataclass(frozen=True)
class Work:
    """A command or a run of the worker that is under way."""

    flow: str
    description: str
    """The work, its start, and the person or component that started it."""


NEEDS: Final[Mapping[str, Callable[[Situation], object]]] = MappingProxyType(
    dict.fromkeys(("features", "retrain", "backtest"), attrgetter("events"))
    | dict.fromkeys(("search", "train", "validate", "review"), attrgetter("dataset"))
    | {"decide": attrgetter("review")}
    | dict.fromkeys(
        ("score", "monitor", "audit", "recommend", "goes-with", "explain", "rollback model"), attrgetter("champion")
    )
)
"""What each command needs of the situation before it can run. Commands that are not listed need nothing."""
_LEARNING: Final = ("features", "search", "train", "review", "retrain", "demo")
"""Flows on the way from events to a reviewed model: the next command on that way depends on all of them."""
_PUBLISHING: Final = ("score", "retrain", "demo")
"""Flows that may make lists."""


def next_step(now: Situation) -> Step:
    """Return the stage of the installation and the next command: those of the first state that holds.

    An interrupted ingest comes first, because everything made without its files has to be made again.
    """
    if now.cut_short:
        first, *others = now.cut_short
        following = next_step(replace(now, cut_short=tuple(others)))
        also = f"Without {first.them}: `{following.command}`." if now.events and not others else ""
        return Step(Stage.CUT_SHORT, first.situation, first.command, also)
    words = _words(now)
    state = next(state for state in _STATES if state.holds(now))
    also = " ".join(filter(None, (part.format(**words) for part in state.also)))
    return Step(state.stage, state.situation.format(**words).rstrip(), state.command.format(**words), also)


def refusal(command: str, now: Situation) -> str | None:
    """Return why a command cannot run yet, with the next one; None if it can."""
    need = NEEDS.get(command)
    return None if need is None or need(now) else str(next_step(now))


def wait_for(step: Step, under_way: Sequence[Work]) -> Step:
    """Return the step to wait for related work that is under way, else the same step."""
    command = step.command.split()[1]
    works = [work for work in under_way if work.flow in _LEARNING or work.flow == command]
    if not works:
        return step
    names = " and ".join(work.description for work in works)
    ends = "is under way; wait until it has" if len(works) == 1 else "are under way; wait until they have"
    lists = command == "score" and all(work.flow not in _PUBLISHING for work in works)
    also = f"Meanwhile you can run `{step.command}`." if command == "decide" or lists else ""
    return Step(Stage.UNDER_WAY, f"{step.situation} {names} {ends} ended.", "tailorbird status", also)


def _new_data(now: Situation) -> bool:
    """Return whether the newest data set is not the champion's, and none of its models was reviewed."""
    reviewed = now.review is not None and now.review.dataset == now.dataset
    return not reviewed and now.dataset != now.champion_dataset


def _no_model_after(now: Situation, *verdicts: str) -> bool:
    """Return whether there is no champion, and the newest review ended like this."""
    return now.champion is None and now.verdict in verdicts


_INGEST, _FEATURES, _REVIEW = "tailorbird ingest MAPPING PATH…", "tailorbird features", "tailorbird review"
_RETRAIN, _SCORE, _SHOW = "tailorbird retrain", "tailorbird score", "tailorbird recommend USER"
_DECIDE: Final = 'tailorbird decide {now.review.version} --approve --reason "…"'
_OVERRIDE: Final = 'tailorbird decide {now.review.version} --approve --override --reason "…"'
_REOPEN: Final = 'To decide on it once more: `tailorbird review --again {now.review.version} --reason "…"`.'
_SEARCHES: Final = (
    f"It may search settings for up to {MAX_MINUTES} minutes before it trains; `--minutes` sets another limit. "
    "Without a search: `tailorbird features && tailorbird train && tailorbird review`."
)


@dataclass(frozen=True)
class _State:
    """One state: when it holds, what it is in a sentence, the next command, and further sentences.

    The texts may name the situation (`now`) and the words that `_words` makes of it.
    """

    stage: Stage
    holds: Callable[[Situation], object]
    situation: str
    command: str
    also: tuple[str, ...] = ()


_STATES: Final = (
    _State(Stage.EMPTY, lambda now: not (now.events or now.batches), "Nothing is ingested yet.", _INGEST),
    _State(
        Stage.NO_EVENTS,
        lambda now: not now.events,
        "No interactions are accepted yet.",
        _INGEST,
        ("`tailorbird ledger` shows what became of the rows so far.",),
    ),
    _State(
        Stage.INGESTED,
        lambda now: now.dataset is None,
        "Events are ingested, but no data set is built yet.",
        _FEATURES,
    ),
    _State(
        Stage.UNDONE,
        lambda now: now.undone_in_dataset and now.undone_in_champion,
        "Data set {now.dataset} and version {now.champion}, the champion, still contain {undone_in_dataset}.",
        _FEATURES,
        ("Then train and review again.", "{roll_back}"),
    ),
    _State(
        Stage.UNDONE,
        lambda now: now.undone_in_dataset,
        "Data set {now.dataset} still contains {undone_in_dataset}.",
        _FEATURES,
        ("Then train and review again.",),
    ),
    _State(
        Stage.DATASET,
        # A retraining that is due builds a newer data set, and uses this one no more.
        lambda now: _new_data(now) and not now.trained and not (now.champion is not None and now.retrain_due),
        "No model is trained on data set {now.dataset} yet.",
        "tailorbird train",
        ("{before_training}",),
    ),
    _State(
        Stage.TRAINED,
        lambda now: _new_data(now) and now.trained,
        "{models} trained on data set {now.dataset}, but not reviewed yet.",
        _REVIEW,
    ),
    _State(
        Stage.SWITCHED_OFF,
        lambda now: now.verdict == "waiting" and now.review_mode == "never",
        "Version {now.review.version} passed the gate, but the setting `review` is `never`; {answers} until then.",
        _DECIDE,
        ("Before it, set `review` to `manual`.",),
    ),
    _State(
        Stage.WAITING,
        lambda now: now.verdict == "waiting",
        "Version {now.review.version} passed the gate and waits for a decision; {answers} until then.",
        _DECIDE,
        ("To refuse it: `--reject` instead.",),
    ),
    _State(
        Stage.NEWER_EVENTS,
        lambda now: now.new_events and _no_model_after(now, "refused", "expired", "rejected"),
        "No model answers yet, and {interactions} came in since the newest data set.",
        _RETRAIN,
        (_SEARCHES,),
    ),
    _State(
        Stage.REFUSED,
        lambda now: _no_model_after(now, "refused") and now.review_mode == "never",
        "The gate refused version {now.review.version}{failed}, so no model answers yet.",
        _RETRAIN,
        ("More events may help; nothing is promoted while the setting `review` is `never`.", _SEARCHES),
    ),
    _State(
        Stage.REFUSED,
        lambda now: _no_model_after(now, "refused"),
        "The gate refused version {now.review.version}{failed}, so no model answers yet.",
        _OVERRIDE,
        ("That promotes it all the same. Or ingest more events and run `tailorbird retrain`.",),
    ),
    _State(
        Stage.EXPIRED,
        lambda now: _no_model_after(now, "expired"),
        "Nobody decided about version {now.review.version} in time, so no model answers yet.",
        _REVIEW,
    ),
    _State(
        Stage.REJECTED,
        lambda now: _no_model_after(now, "rejected"),
        "{reviewer} rejected version {now.review.version}, so no model answers yet.",
        _RETRAIN,
        ("Train other models, or ingest more events before it.", _SEARCHES, _REOPEN),
    ),
    # Approved and not the champion: it was rolled back, or promotion was cut short.
    _State(Stage.TRAINED, lambda now: now.champion is None, "No model answers yet.", _REVIEW, ("{revert}",)),
    _State(
        Stage.UNDONE,
        lambda now: now.undone_in_champion,
        "{champion} and still contains {undone_in_champion}.",
        _RETRAIN,
        ("{roll_back}", _SEARCHES, "{revert}"),
    ),
    _State(
        Stage.NO_LISTS,
        lambda now: now.without_lists,
        "{champion}, but there are no lists yet for {without_lists}.",
        _SCORE,
        ("{revert}",),
    ),
    _State(
        Stage.STALE,
        lambda now: now.stale and now.stale == now.placements,
        "{champion}, but all lists are out of date.",
        _SCORE,
        ("{revert}",),
    ),
    _State(
        Stage.STALE,
        lambda now: now.stale,
        "{champion}, but the lists of {stale} are out of date.",
        "tailorbird score {stale_arguments}",
        ("{revert}",),
    ),
    _State(
        Stage.NEWER_EVENTS,
        lambda now: now.retrain_due,
        "{champion}, and {interactions} came in since the newest data set.",
        _RETRAIN,
        (_SEARCHES, "{revert}"),
    ),
    _State(
        Stage.DONE,
        lambda now: now.rolled_back,
        "{champion}; {rolled_back}: rolled back to earlier lists.",
        _SHOW,
        ("`tailorbird score {rolled_back_arguments}` makes new lists for everybody there.", "{revert}"),
    ),
    _State(
        Stage.DONE,
        lambda now: now.champion is not None,
        "{champion}, and all lists are fresh. {few_events}",
        _SHOW,
        ("{revert}",),
    ),
)


def _words(now: Situation) -> dict[str, object]:
    """Return the words of a situation that the texts of states name."""
    review, roll_back = now.review, now.earlier.sentence if now.undone_in_champion and now.earlier else ""
    return {
        "now": now,
        "answers": f"version {now.champion} answers" if now.champion else "no model answers",
        "before_training": "" if now.searched else "Before it, `tailorbird search` may find better settings.",
        "champion": f"Version {now.champion} is the champion",
        "failed": f" ({'; '.join(review.failed)})" if review and review.failed else "",
        "few_events": _few_events(now),
        "interactions": _interactions(now),
        "models": "1 model is" if now.trained == 1 else f"{now.trained} models are",
        "revert": _revert(now),
        "reviewer": review.reviewer or "Somebody" if review else "",
        "roll_back": roll_back,
        "rolled_back": " and ".join(now.rolled_back),
        "rolled_back_arguments": " ".join(now.rolled_back),
        "stale": ", ".join(now.stale),
        "stale_arguments": " ".join(now.stale),
        "undone_in_champion": _batches(now.undone_in_champion),
        "undone_in_dataset": _batches(now.undone_in_dataset),
        "without_lists": ", ".join(now.without_lists),
    }


def _batches(undone: tuple[str, ...]) -> str:
    if len(undone) == 1:
        return f"batch {undone[0]}, which is undone"
    return (
        f"{len(undone)} batches that are undone ({', '.join(undone[:_LISTED])}{' …' if len(undone) > _LISTED else ''})"
    )


def _interactions(now: Situation) -> str:
    return "1 interaction" if now.new_events == 1 else f"{now.new_events:,} interactions"


def _revert(now: Situation) -> str:
    """Return how to revert the rollback of a model; empty without one."""
    if now.rolled_back_version is None or now.review_mode == "never":
        return ""
    override = "--override " if now.rolled_back_overridden else ""
    command = f'tailorbird decide {now.rolled_back_version} --approve {override}--reason "…"'
    return f"Version {now.rolled_back_version} was rolled back; `{command}` makes it the champion again."


def _few_events(now: Situation) -> str:
    """Return when too few new events will be used; empty without new events."""
    if not (now.new_events and now.events):
        return ""
    share = f"{_interactions(now)} came in since the newest data set, {100 * now.new_events / now.events:.2f} % of all"
    if now.next_retrain:
        return f"{share}; the scheduled retrain of {now.next_retrain} takes them in."
    limits = f"from {100 * now.retrain_after_share:g} % of all, or {now.retrain_after_days:g} days after that data set"
    return f"{share}; a retrain is due {limits}."
