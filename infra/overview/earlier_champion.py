"""Finds the champion that a rollback would restore."""

from typing import Final, cast

from sqlalchemy import Connection, text

from infra.database.schema.promotion_rows import Promotion
from models.evaluation.metrics.ranking import METRIC
from models.gate.results import BETTER
from models.monitoring.guidance.earlier_champion import EarlierChampion

_BEFORE: Final = text("""
    SELECT before.* FROM (SELECT * FROM promotions ORDER BY promotion_id DESC LIMIT 1) AS champion
    JOIN promotions AS root ON root.promotion_id = coalesce(champion.restored_promotion_id, champion.promotion_id)
    JOIN promotions AS before ON before.promotion_id = root.previous_promotion_id
""")


def earlier_champion(connection: Connection) -> Promotion | None:
    """Return the promotion before the present champion's; None if it is the first. Rollbacks are no promotions."""
    row = connection.execute(_BEFORE).mappings().first()
    return cast(Promotion, dict(row)) if row else None


def beside(before: Promotion, champion: Promotion) -> EarlierChampion:
    """Return an earlier promotion with its score beside the champion's, from the champion's review if needed."""
    champion_score, earlier_score = champion["metrics"].get(METRIC), before["metrics"].get(METRIC)
    if before["dataset_version"] != champion["dataset_version"]:
        gain = next((check["value"] for check in champion["gate"] if check["name"] == BETTER), None)
        earlier_score = None if champion_score is None or gain is None else champion_score - gain
    return EarlierChampion(before["model_version"], before["kind"], earlier_score, champion_score)
