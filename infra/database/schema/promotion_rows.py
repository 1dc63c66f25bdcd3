"""Rows of `reviews`, `promotions` and `search_results`, as queries return them."""

from datetime import datetime
from typing import NotRequired, TypedDict, cast

from sqlalchemy import ColumnElement, Connection, select

from infra.database.schema.schema import promotions
from models.primitives.json_types import JsonObject


class CheckRow(TypedDict, total=False):
    """A check of the gate as stored. Reviews before there were warnings have `passed` in place of `outcome`."""

    name: str
    value: float | None
    limit: float | None
    outcome: str
    passed: bool
    detail: str
    low: float | None
    high: float | None


class GroupRow(TypedDict, total=False):
    """The gate's result for one group of people, as stored."""

    trait: str
    value: str
    users: int
    reference: float | None
    candidate: float | None
    difference: float | None
    low: float | None
    high: float | None
    judged: bool
    passed: bool


class ReviewedVersion(TypedDict):
    """What a review states about its version, and the decision once there is one."""

    review_id: int
    dataset_version: str
    model_version: int
    passed: bool
    decision: str | None
    reviewer: str | None
    reason: str | None
    overridden: bool


class Review(ReviewedVersion):
    """A row of `reviews`."""

    run_id: str
    digest: str
    gate: list[CheckRow]
    groups: list[GroupRow]
    reference_promotion_id: int
    requested_at: datetime
    expires_at: datetime | None
    via: str | None
    decided_at: datetime | None
    rolled_back: NotRequired[int | None]
    """The version's newest promotion, if a rollback went back behind it."""


class Promotion(TypedDict):
    """A row of `promotions`: the record that a version became champion."""

    promotion_id: int
    previous_promotion_id: int
    model_version: int
    kind: str
    dataset_version: str
    metrics: dict[str, float]
    bundle: str
    digest: str
    run_id: str | None
    actor: str
    reason: str
    via: str
    gate: list[CheckRow]
    overridden: bool
    restored_promotion_id: int | None
    promoted_at: datetime
    alias_synced_at: datetime | None


def newest_promotion(connection: Connection, *conditions: ColumnElement[bool]) -> Promotion | None:
    """Return the newest promotion that meets the conditions, which without any is the champion's; None without one."""
    query = select(promotions).where(*conditions).order_by(promotions.c.promotion_id.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    return cast(Promotion, dict(row)) if row else None


class SearchResult(TypedDict):
    """A row of `search_results`: the best settings of a model on a data set."""

    dataset_version: str
    model: str
    study: str
    config: JsonObject
    ndcg_10: float
    trials: int
    run_id: str | None
    finished_at: NotRequired[datetime]
    drift: NotRequired[float | None]
