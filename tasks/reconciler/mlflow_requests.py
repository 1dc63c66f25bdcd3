"""Applies the decisions that people make in MLflow, by a tag on a version or by moving the alias `champion`."""

from collections.abc import Iterator, Mapping
from typing import Final

from infra.installation import Installation
from infra.outages import explain
from infra.registry.client import Registry
from models.errors import TailorbirdError
from tasks.promotion.apply_decision import apply_decision, ensure_promotion_enabled, restore
from tasks.promotion.champion import CHAMPION, Champion, current_champion, promotion_of, sync_aliases
from tasks.promotion.mlflow_annotations import NOTE, ROLLED_BACK, annotate_version, marks
from tasks.promotion.review_requests import APPROVED, REJECTED, UNDECIDED_REVIEWER, Decision, review_of, reviews_of

_BY_TAG: Final = "the tag `review` in MLflow"
_BY_ALIAS: Final = "the alias `champion` in MLflow"
_PUT_BACK: Final = f"The alias {CHAMPION} was put back"
_WITHOUT_REASON: Final = "Not approved again: set the tag `reason` before `review`."


def apply_mlflow_tags(installation: Installation, registry: Registry) -> Iterator[str]:
    """Apply the tag `review` (approved or rejected) of each version; yields a line for each decision.

    The tags `reviewer`, `reason` and `override` complete it, and an alias `approved` or `rejected` means the same. A
    decision that was made before is written on the version again. After a rollback or a reopening only newer
    tags count, and after a rollback a yes by tag needs a reason.
    """
    tagged, aliases = registry.tags(), registry.aliases()
    with installation.engine.connect() as connection:
        known = reviews_of(connection, list(tagged))
    for version, review in known.items():
        tags, rollback = tagged[version], review["rolled_back"]
        if not marks(review).items() <= tags.items():
            annotate_version(registry, review)
            tags = {}
        reason = tags.get("reason") or tags.get("override")
        requested = {word for word in (APPROVED, REJECTED) if aliases.get(word) == version or _requests(tags, word)}
        if review["decision"] and not rollback:
            written = [tags.get(name, "") for name in ("review", "reviewer", ROLLED_BACK)]
            if written != [review["decision"], review["reviewer"], ""]:
                annotate_version(registry, review)
        elif rollback and not reason and requested == {APPROVED} and aliases.get(APPROVED) != version:
            annotate_version(registry, review, _WITHOUT_REASON)
            yield f"Version {version}: {_WITHOUT_REASON}"
        elif requested:
            yield _apply(installation, registry, version, _decision(tags, requested))
        for word in requested:
            if aliases.get(word) == version:
                registry.drop_alias(word)


def _requests(tags: Mapping[str, str], outcome: str) -> bool:
    """Return whether a person set the tag. A rejection that the deadline wrote before a new request is no decision."""
    return tags.get("review") == outcome and (outcome, tags.get("reviewer")) != (REJECTED, UNDECIDED_REVIEWER)


def _decision(tags: Mapping[str, str], requested: set[str]) -> Decision:
    """Return the requested decision; approved and rejected together are a no."""
    reason = tags.get("override") or tags.get("reason") or f"Decided by {_BY_TAG}."
    return Decision(requested == {APPROVED}, tags.get("reviewer", _BY_TAG), reason, "tag", bool(tags.get("override")))


def _apply(installation: Installation, registry: Registry, version: int, decision: Decision) -> str:
    """Apply a decision; a refusal is written on the version and does not stop the decisions about others."""
    try:
        apply_decision(installation, registry, version, decision)
    except Exception as error:
        if explain(error):
            raise
        review = review_of(installation, version)
        if review["decision"] != decision.outcome or review["rolled_back"]:
            annotate_version(registry, review, f"Not {decision.outcome}: {error}")
            return f"Version {version} was not {decision.outcome}: {error}"
    return f"Version {version} was {decision.outcome} by {decision.reviewer}."


def apply_moved_alias(installation: Installation, registry: Registry) -> Iterator[str]:
    """Promote the version that a person moved the alias `champion` to, or put the alias back with the reason."""
    with installation.engine.connect() as connection:
        champion = current_champion(connection)
    moved = registry.aliases().get(CHAMPION)
    if champion and (champion["alias_synced_at"] is None or moved == champion["model_version"]):
        return
    if moved is None:
        if champion:
            sync_aliases(installation.engine, registry, put_back=True)
            if CHAMPION in registry.aliases():  # not if the version itself was deleted
                yield f"The alias `{CHAMPION}` was removed; it is back on version {champion['model_version']}."
        return
    try:
        _promote_moved(installation, registry, champion, moved)
        yield f"Version {moved} was promoted by {_BY_ALIAS}."
    except Exception as error:
        if explain(error):
            raise
        sync_aliases(installation.engine, registry, put_back=True)
        if registry.aliases().get(CHAMPION) == moved:  # another process promoted it at the same moment
            return
        note = f"{_PUT_BACK}: {error}"
        _write_note(installation, registry, moved, note)
        yield f"Version {moved}: {note}"


def _promote_moved(installation: Installation, registry: Registry, champion: Champion | None, version: int) -> None:
    """Restore an earlier champion, or approve the version. A version that was rolled back needs approval as well."""
    decision = Decision(True, _BY_ALIAS, f"A person moved {_BY_ALIAS} here.", "alias")
    with installation.engine.connect() as connection:
        earlier = promotion_of(connection, version)
        review = reviews_of(connection, [version]).get(version)
    if champion and earlier and not (review and review["rolled_back"]):
        ensure_promotion_enabled(installation.settings.review)
        with installation.engine.begin() as connection:
            restore(connection, champion, earlier, decision)
        sync_aliases(installation.engine, registry)
        return
    apply_decision(installation, registry, version, decision)


def _write_note(installation: Installation, registry: Registry, version: int, note: str) -> None:
    try:
        annotate_version(registry, review_of(installation, version), note)
    except TailorbirdError:  # a version that was never reviewed
        paragraphs = (registry.version(version).description or "").split("\n\n")
        others = [part for part in paragraphs if part and not part.startswith(f"**{_PUT_BACK}")]
        registry.describe(version, "\n\n".join([f"**{note}**", *others]))
        registry.tag_version(version, {NOTE: note})  # last: the reason is there once the tag is
