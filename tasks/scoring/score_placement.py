"""Makes and publishes the lists of one placement."""

from typing import Any

from prefect import task

from infra.configuration import placements
from infra.installation import current
from models.errors import TailorbirdError
from tasks.orchestration.pseudonym_key_guard import hold_pseudonym_key
from tasks.promotion.champion import require_champion
from tasks.scoring import batch_state
from tasks.scoring.item_lists import item_lists
from tasks.scoring.publish_batch import publish_lists
from tasks.scoring.user_lists import user_lists

_SHOWN = ("batch_id", "placement", "model_version", "dataset_version", "status", "users", "recommendations", "summary")


@task(task_run_name="score {name}", description="The lists of a placement, published as one batch.")
@hold_pseudonym_key
def score_placement(name: str = "home", k: int | None = None) -> dict[str, Any]:
    """Score and publish; returns the batch. The same champion, users and catalogue again publish nothing new.

    `k` is the length of the lists where it is not what the placement says. Raises PlacementError for one that there is
    not or that has no room for its rules, and what `publish_lists` raises.
    """
    installation = current()
    placement = placements.one(installation.settings, name, k)
    make = user_lists if placement.subject == "user" else item_lists
    batch = publish_lists(installation, lambda: make(installation, name, placement), name)
    return {column: batch[column] for column in _SHOWN}


def placements_to_score(names: list[str] | None) -> list[str]:
    """The named placements, or all; raises PlacementError or NoChampionError before anything is scored."""
    installation = current()
    there = placements.configured(installation.settings)
    for name in names or ():
        placements.one(installation.settings, name)
    if names is not None and not names:
        raise TailorbirdError(f"Name a placement: {', '.join(there)}.")
    require_champion(installation)  # without one, each placement would fail for the same reason
    batch_state.sweep(installation.engine)
    return names or list(there)
