"""Goes back to the champion before, in one step, and to the last lists that it made where they are still kept."""

from typing import Any

from prefect import task

from infra.calls import healthy
from infra.installation import Installation, current
from infra.registry import Registry
from models.errors import TailorbirdError
from tasks import publish
from tasks.champion import Champion, champion, follow, promotion
from tasks.promote import restore
from tasks.reviews import Answer


@task(description="Let the champion before answer again.")
def roll_back_model(actor: str, reason: str) -> dict[str, Any]:
    """Promote the previous champion's kept bundle and publish its last kept lists; returns what answers now.

    Raises TailorbirdError when there is none before, BundleRefusedError when its bundle is damaged, and
    DecisionRefusedError when another version was promoted meanwhile.
    """
    here = current()
    registry = Registry(here.endpoints.mlflow_tracking_uri)
    holder, earlier = _pair(here)
    restore(here, holder, earlier, Answer(True, actor, reason, "rollback"))
    batches = publish.go_back(here.engine, earlier["model_version"])
    if healthy(f"{here.endpoints.mlflow_tracking_uri.rstrip('/')}/health", 5):
        follow(here.engine, registry)
    return {"from": holder["model_version"], "to": earlier["model_version"], "batches": batches}


def _pair(here: Installation) -> tuple[Champion, Champion]:
    """The champion, and the one before it in history: a rollback is no history of its own."""
    with here.engine.connect() as connection:
        holder = champion(connection)
        if holder is None:
            raise TailorbirdError("No model was promoted yet, so there is none to go back to.")
        root = promotion(connection, holder["restores"] or holder["promotion_id"]) or holder
        earlier = promotion(connection, root["follows"])
    if earlier is None:
        raise TailorbirdError(f"There is no champion before version {holder['model_version']}.")
    return holder, earlier
