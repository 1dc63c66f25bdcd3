"""Compares the registered versions in MLflow with the recorded ones, marks altered versions and sends alerts.

Promotions and loaders make the same comparison. This one protects reviewers, and people who open a version with MLflow
alone. It compares manifest, signature, names and `MLmodel` every minute. Arrays may have gigabytes, so they are
downloaded at most once an hour or after a size has changed, one version per round.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Final

from infra.bundles.manifest import BundleRefusedError
from infra.installation import Installation
from infra.prefect_api import events
from infra.registry.client import Registry
from infra.registry.connection import RegisteredVersion, RunGoneError, VersionGoneError
from infra.registry.registered_bundles import (
    check_files,
    check_listing,
    check_version,
    promoted_version,
    recorded_version,
)
from models.gate.model_card import LONGEST
from tasks.promotion.champion import CHALLENGER, CHAMPION
from tasks.promotion.recorded_bundles import recorded
from tasks.promotion.review_requests import open_reviews

INTEGRITY: Final = "integrity"
ALTERED: Final = "altered"
_NOTE: Final = "**Altered, do not use: "
_NEWEST: Final = 3
_EVERY: Final = 60.0
_WHOLE_EVERY: Final = 3600.0
"""Seconds between two checks of a version."""


@dataclass
class _Check:
    """The last check of a version: its times in `monotonic` seconds, and its findings."""

    at: float = -inf
    whole_at: float = -inf
    sizes: dict[str, int] = field(default_factory=dict)
    whole_fault: str = ""
    alerted: str = ""


class Checks(dict[int, _Check]):
    """The checks of this process. After a restart whole files are checked, and alerts that still hold are repeated."""


_CHECKS: Final = Checks()


def check_registered_versions(installation: Installation, checks: Checks = _CHECKS) -> str | None:
    """Check the versions in use, open for review or new; returns a line for each newly altered one, or None."""
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    altered = []
    may_download = True
    for number in _watched(installation, registry):
        check = checks.setdefault(number, _Check())
        if monotonic() - check.at < _EVERY:
            continue
        try:
            version = registry.version(number)
        except VersionGoneError:
            continue
        began = check.whole_at
        fault = _fault(installation, registry, version, check, may_download=may_download)
        may_download &= check.whole_at == began
        check.at = monotonic()
        if fault:
            _mark(registry, version, fault)
            altered += _alert(installation, registry, number, fault, check)
        elif check.whole_at > -inf:
            _unmark(registry, version)
            check.alerted = ""
    return "\n".join(altered) or None


def _watched(installation: Installation, registry: Registry) -> Iterable[int]:
    """Return the champion, the challenger, open reviews and the newest versions, each once."""
    aliases, known = registry.aliases(), registry.tags()
    with installation.engine.connect() as connection:
        versions = [promoted_version(connection), *(aliases.get(name) for name in (CHAMPION, CHALLENGER))]
        versions += [review["model_version"] for review in open_reviews(connection)]
    return dict.fromkeys(number for number in [*versions, *sorted(known, reverse=True)[:_NEWEST]] if number)


def _fault(
    installation: Installation, registry: Registry, version: RegisteredVersion, check: _Check, *, may_download: bool
) -> str:
    """Return the fault of a version as a sentence; empty if there is none."""
    with installation.engine.connect() as connection:
        known = recorded_version(connection, version.version)
    run_id = (known.run_id if known else None) or version.run_id
    trained = recorded(installation.engine, run_id)
    digest = known.digest if known else trained.digest if trained else None
    try:
        check_version(registry, version, run_id)
        sizes = check_listing(registry, run_id, digest)
        due = sizes != check.sizes or monotonic() - check.whole_at >= _WHOLE_EVERY
        if due and may_download:
            check.whole_fault = _refusal(registry, run_id, digest)
            check.sizes, check.whole_at = sizes, monotonic()
    except BundleRefusedError as error:
        return str(error)
    except RunGoneError:
        return f"Its run {run_id} does not exist any more."
    return check.whole_fault


def _refusal(registry: Registry, run_id: str, digest: str | None) -> str:
    try:
        check_files(registry, run_id, digest)
    except BundleRefusedError as error:
        return str(error)
    return ""


def _mark(registry: Registry, version: RegisteredVersion, fault: str) -> None:
    number, text = version.version, version.description
    if version.tags.get(INTEGRITY) != ALTERED:
        registry.tag_version(number, {INTEGRITY: ALTERED})
    if not text.startswith(f"{_NOTE}{fault}"):
        registry.describe(number, f"{_NOTE}{fault}**\n\n{_without_note(text)}"[:LONGEST])


def _unmark(registry: Registry, version: RegisteredVersion) -> None:
    number, text = version.version, version.description
    if INTEGRITY in version.tags:
        registry.untag_version(number, INTEGRITY)
    if text.startswith(_NOTE):
        registry.describe(number, _without_note(text))


def _without_note(text: str) -> str:
    return text.partition("\n\n")[2] if text.startswith(_NOTE) else text


def _alert(installation: Installation, registry: Registry, number: int, fault: str, check: _Check) -> list[str]:
    """Emit the event once for each fault; returns the new alerts."""
    if check.alerted == fault:
        return []
    reason = f"Version {number} in MLflow was altered: {fault}"
    payload = {"reason": reason, "page": registry.version_page(number)}
    if events.try_emit(installation.endpoints, events.ALTERED_VERSION, f"tailorbird.model-version.{number}", payload):
        check.alerted = fault
    return [reason]
