"""Builds and publishes the lists of one placement."""

from dataclasses import replace

from prefect import task

from infra.configuration import placements
from infra.database.clock import database_now
from infra.database.rule_versions import current_rules
from infra.installation import current
from models.errors import TailorbirdError
from models.lists.rules.layer.json_form import layer_to_json
from models.lists.rules.layer.layered_placement import layered
from tasks.orchestration.pseudonym_key_guard import hold_pseudonym_key
from tasks.promotion.champion import require_champion
from tasks.scoring import batch_state
from tasks.scoring.batch_rows import PublishedBatch
from tasks.scoring.item_lists import item_lists
from tasks.scoring.publish_batch import Work, publish_lists
from tasks.scoring.user_lists import user_lists


@task(task_run_name="score {name}", description="The lists of a placement, published as one batch.")
@hold_pseudonym_key
def score_placement(name: str = "home", k: int | None = None) -> PublishedBatch:
    """Score and publish; return the batch. The same champion, users and catalogue again publish nothing new.

    `k` overrides the placement's length. Raises PlacementError if the placement is unknown or too short for its rules,
    and the errors of `publish_lists`.
    """
    installation = current()
    configured = placements.one(installation.settings, name, k)
    make = user_lists if configured.subject == "user" else item_lists

    def prepare() -> Work:
        with installation.engine.connect() as connection:
            stored, now = current_rules(connection), database_now(connection)
        active = stored.layer.at(name, now)
        work = make(installation, name, layered(configured, active))
        recorded = replace(work.spec, rules_version=stored.version, operator_rules=layer_to_json(active))
        return replace(work, spec=recorded)

    batch = publish_lists(installation, prepare, name)
    return {
        "batch_id": batch["batch_id"],
        "placement": batch["placement"],
        "model_version": batch["model_version"],
        "dataset_version": batch["dataset_version"],
        "status": batch["status"],
        "users": batch["users"],
        "recommendations": batch["recommendations"],
        "summary": batch["summary"],
    }


def placements_to_score(names: list[str] | None) -> list[str]:
    """Return the named placements, or all; raises PlacementError or NoChampionError before anything is scored."""
    installation = current()
    configured = placements.configured(installation.settings)
    for name in names or ():
        placements.one(installation.settings, name)
    if names is not None and not names:
        raise TailorbirdError(f"Name a placement: {', '.join(configured)}.")
    require_champion(installation)  # without one, each placement would fail for the same reason
    batch_state.sweep(installation.engine)
    return names or list(configured)
