"""Hears what people set in MLflow and lets it say what Postgres says; polled, so that nothing missed is lost."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from threading import Event
from typing import Final

from infra.installation import Installation, current
from infra.keys import trust
from infra.keys.credentials import secret
from infra.outages import explain
from infra.prefect_api import events
from infra.registry.client import Registry
from infra.registry.webhook_listener import listen
from models.errors import TailorbirdError
from models.primitives.escaping import for_terminal
from tasks.monitoring.serving_metrics import alert_slow_serving
from tasks.orchestration.killed_commands import mark_killed_commands
from tasks.promotion.apply_decision import apply_decision, ensure_promotion_enabled
from tasks.promotion.champion import CHAMPION, Champion, current_champion, promotion_of, sync_aliases
from tasks.promotion.mlflow_annotations import NOTE, ROLLED_BACK, annotate_version
from tasks.promotion.promote import restore
from tasks.promotion.review_requests import (
    APPROVED,
    REJECTED,
    UNDECIDED_REVIEWER,
    Decision,
    expire,
    review_of,
    reviews_of,
)
from tasks.reconciler.check_registered_versions import check_registered_versions
from tasks.reconciler.restart_retrain import restart_retrain
from tasks.reconciler.stale_lists import alert_stale_lists
from tasks.reconciler.start_calibration import start_calibration
from tasks.reconciler.start_scoring import start_scoring

_WORDS: Final = (APPROVED, REJECTED)
_BY_TAG: Final = "the tag `review` in MLflow"
_BY_ALIAS: Final = "the alias `champion` in MLflow"
_PUT_BACK: Final = f"The alias {CHAMPION} was put back"
_WITHOUT_REASON: Final = "Not approved again: set the tag `reason` before `review`."


def watch(every: float) -> None:
    """Reconcile for as long as the process lives, every so many seconds, or sooner when MLflow's webhook wakes it."""
    installation, wake, told = current(), Event(), ""
    key = secret(installation.settings, "webhook")
    for mistake in _mistakes(lambda: _open_ear(installation, key, wake)):
        _say(mistake)
    while True:
        wake.clear()
        # The keys first: one may have been rotated since the last look.
        mistakes = _mistakes(lambda: _compare_keys(installation))
        reason = "\n".join(mistakes or _mistakes(lambda: _ask_to_be_woken(installation, key), _hear, *_CARE))
        if reason and reason != told:  # an outage is told once
            _say(reason)
        told = reason
        wake.wait(every)


def _compare_keys(installation: Installation) -> None:
    trust.check(installation.engine, installation.settings)


def _say(text: str) -> None:
    """Print for a terminal or a log: names and reasons in it were typed by anybody who may sign in to MLflow."""
    print(for_terminal(text, keep="\n"), flush=True)


def _mistakes(*steps: Callable[[], None]) -> list[str]:
    """What went wrong, in sentences; no step keeps the next from being taken."""
    found = []
    for step in steps:
        try:
            step()
        except Exception as error:
            found.append(explain(error) or f"{type(error).__name__}: {error}")
    return found


def _open_ear(installation: Installation, key: str, wake: Event) -> None:
    if installation.settings.reconciler_port:
        listen(installation.settings.reconciler_port, key, wake)


def _ask_to_be_woken(installation: Installation, key: str) -> None:
    if installation.settings.webhook_url:
        Registry(installation.endpoints.mlflow_tracking_uri).ensure_webhook(installation.settings.webhook_url, key)


def look() -> None:
    """One look, told as it happens."""
    _hear()
    for care in _CARE:
        care()


def _hear() -> None:
    for line in reconcile_once():
        _say(line)


def _told(step: Callable[[Installation], str | None]) -> None:
    line = step(current())
    if line:
        _say(line)


_CARE: Final = tuple(
    partial(_told, step)
    for step in (
        mark_killed_commands,
        start_scoring,
        start_calibration,
        restart_retrain,
        alert_stale_lists,
        alert_slow_serving,
        check_registered_versions,
    )
)
"""What nobody asks for: looked after whenever there is a look."""


def reconcile_once() -> list[str]:
    """What is due is rejected, tags and the alias are heard, the aliases follow. Returns what was done."""
    installation = current()
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    done = [
        *_expired(installation, registry),
        *_hear_tags(installation, registry),
        *_hear_alias(installation, registry),
    ]
    sync_aliases(installation.engine, registry)
    return done


def _expired(installation: Installation, registry: Registry) -> Iterator[str]:
    with installation.engine.begin() as connection:
        versions = expire(connection)
    for version in versions:
        said = f"Version {version}: nobody decided in time; rejected."
        _alert(installation, registry, version, said)
        annotate_version(registry, review_of(installation, version))
        yield said


def _alert(installation: Installation, registry: Registry, version: int, reason: str) -> None:
    said = {"reason": f"{reason} `tailorbird review` asks again.", "page": registry.version_page(version)}
    events.try_emit(installation.endpoints, events.EXPIRED_REVIEW, f"tailorbird.model-version.{version}", said)


def _hear_tags(installation: Installation, registry: Registry) -> Iterator[str]:
    """`review` = approved or rejected, with `reviewer`, `reason`, and `override` for what the gate refused.

    An alias of that name says the same. A decision that was made before is written on the version again. After a
    rollback only what was set since is an answer, and a yes by tag needs a reason.
    """
    tagged, aliases = registry.tags(), registry.aliases()
    with installation.engine.connect() as connection:
        known = reviews_of(connection, list(tagged))
    for version, review in known.items():
        tags, back = tagged[version], review["rolled_back"]
        if back and tags.get(ROLLED_BACK) != str(back):
            annotate_version(registry, review)
            tags = {}
        said = {word for word in _WORDS if aliases.get(word) == version or _says(tags, word)}
        if review["decision"] and not back:
            written = [tags.get(name, "") for name in ("review", "reviewer", ROLLED_BACK)]
            if written != [review["decision"], review["reviewer"], ""]:
                annotate_version(registry, review)
        elif back and said == {APPROVED} and aliases.get(APPROVED) != version and not _has_reason(tags):
            annotate_version(registry, review, _WITHOUT_REASON)
            yield f"Version {version}: {_WITHOUT_REASON}"
        elif said:
            yield _heard(installation, registry, version, _answer(tags, said))
        for word in said:
            if aliases.get(word) == version:
                registry.drop_alias(word)


def _says(tags: Mapping[str, str], word: str) -> bool:
    """Whether a person says it: what the deadline wrote on the version before it was asked about again is no answer."""
    return tags.get("review") == word and (word, tags.get("reviewer")) != (REJECTED, UNDECIDED_REVIEWER)


def _has_reason(tags: Mapping[str, str]) -> bool:
    return bool(tags.get("reason") or tags.get("override"))


def _answer(tags: Mapping[str, str], said: set[str]) -> Decision:
    """Whoever says both says no."""
    reason = tags.get("override") or tags.get("reason") or f"Said by {_BY_TAG}."
    return Decision(said == {APPROVED}, tags.get("reviewer", _BY_TAG), reason, "tag", bool(tags.get("override")))


def _heard(installation: Installation, registry: Registry, version: int, answer: Decision) -> str:
    """What is wrong with a version is told on it, whatever it is: others are heard all the same."""
    try:
        apply_decision(installation, registry, version, answer)
    except Exception as error:
        if explain(error):
            raise
        review = review_of(installation, version)
        if review["decision"] != answer.outcome or review["rolled_back"]:
            annotate_version(registry, review, f"Not {answer.outcome}: {error}")
            return f"Version {version} was not {answer.outcome}: {error}"
    return f"Version {version} was {answer.outcome} by {answer.reviewer}."


def _hear_alias(installation: Installation, registry: Registry) -> Iterator[str]:
    """An alias that a person moved: promoted if it may be, put back with the reason if not."""
    with installation.engine.connect() as connection:
        champion = current_champion(connection)
    moved = registry.aliases().get(CHAMPION)
    if champion and (champion["followed_at"] is None or moved == champion["model_version"]):
        return
    if moved is None:
        if champion:
            sync_aliases(installation.engine, registry, put_back=True)
            if CHAMPION in registry.aliases():  # not when the version itself was deleted
                yield f"The alias `{CHAMPION}` was taken away; it is back on version {champion['model_version']}."
        return
    try:
        _promote_moved(installation, registry, champion, moved)
        yield f"Version {moved} was promoted by {_BY_ALIAS}."
    except Exception as error:
        if explain(error):
            raise
        sync_aliases(installation.engine, registry, put_back=True)
        if registry.aliases().get(CHAMPION) == moved:  # somebody else promoted it at the same moment
            return
        note = f"{_PUT_BACK}: {error}"
        _note(installation, registry, moved, note)
        yield f"Version {moved}: {note}"


def _promote_moved(installation: Installation, registry: Registry, champion: Champion | None, version: int) -> None:
    """An earlier champion may come back; anything else is a yes, also to a version that was rolled back."""
    answer = Decision(True, _BY_ALIAS, f"A person moved {_BY_ALIAS} here.", "alias")
    with installation.engine.connect() as connection:
        earlier = promotion_of(connection, version)
        review = reviews_of(connection, [version]).get(version)
    if champion and earlier and not (review and review["rolled_back"]):
        ensure_promotion_enabled(installation.settings.review)
        with installation.engine.begin() as connection:
            restore(connection, champion, earlier, answer)
        sync_aliases(installation.engine, registry)
        return
    apply_decision(installation, registry, version, answer)


def _note(installation: Installation, registry: Registry, version: int, note: str) -> None:
    try:
        annotate_version(registry, review_of(installation, version), note)
    except TailorbirdError:  # a version that was never reviewed
        words = (registry.version(version).description or "").split("\n\n")
        others = [part for part in words if part and not part.startswith(f"**{_PUT_BACK}")]
        registry.describe(version, "\n\n".join([f"**{note}**", *others]))
        registry.tag_version(version, {NOTE: note})  # last: whoever sees the tag finds the reason
