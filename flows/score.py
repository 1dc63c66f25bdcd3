"""Publishes recommendations."""

from typing import Any

from prefect import flow

from tasks.report import show
from tasks.score_users import score_users


@flow
def score(placement: str = "home", k: int = 20) -> dict[str, Any]:
    """Score every user with consent by the champion and publish the lists in Postgres, whole or not at all.

    Args:
        placement: Where the lists are shown; each placement has its own batches.
        k: Length of each list.
    """
    batch = score_users(placement, k)
    show("batch", f"Recommendations for {placement}", [batch])
    return batch
