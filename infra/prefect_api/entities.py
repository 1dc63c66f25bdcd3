"""Prefect's objects as types: flow runs, deployments and their schedules."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from models.primitives.json_types import JsonObject


@dataclass(frozen=True)
class Creator:
    """The schedule, automation or person that started a run."""

    type: str = ""
    id: str = ""
    name: str = ""


@dataclass(frozen=True)
class FlowRun:
    """A run of a flow."""

    id: str
    name: str
    flow_id: str
    state: str
    """The type of its state, such as RUNNING; empty without one."""
    state_message: str
    work_pool: str
    """Empty for runs of commands."""
    created: datetime | None
    started: datetime | None
    next_start: datetime | None
    """When a scheduled run is planned to start."""
    idempotency_key: str
    creator: Creator
    parameters: JsonObject = field(default_factory=dict)

    @classmethod
    def from_json(cls, run: Mapping[str, Any]) -> Self:
        """Read a run from Prefect's answer."""
        state, creator = run.get("state") or {}, run.get("created_by") or {}
        return cls(
            id=str(run.get("id", "")),
            name=str(run.get("name", "")),
            flow_id=str(run.get("flow_id", "")),
            state=str(state.get("type") or ""),
            state_message=str(state.get("message") or ""),
            work_pool=run.get("work_pool_name") or "",
            created=_moment(run.get("created")),
            started=_moment(run.get("start_time")),
            next_start=_moment(run.get("next_scheduled_start_time")),
            idempotency_key=run.get("idempotency_key") or "",
            creator=Creator(
                str(creator.get("type") or ""), str(creator.get("id") or ""), creator.get("display_value") or ""
            ),
            parameters=run.get("parameters") or {},
        )


@dataclass(frozen=True)
class DeploymentSchedule:
    """A schedule of one deployment. `rule` is Prefect's own form of a cron line, an interval or a calendar rule."""

    id: str
    slug: str
    """Its name, or its id if it has none."""
    rule: JsonObject
    parameters: JsonObject
    active: bool

    @property
    def cron(self) -> str:
        """Return the cron line, or the rule or interval of a schedule that was created on Prefect's page."""
        return str(self.rule.get("cron") or self.rule.get("rrule") or f"every {self.rule.get('interval')} s")

    @property
    def zone(self) -> str:
        """Return the time zone."""
        return str(self.rule.get("timezone") or "UTC")

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        """Read a schedule from Prefect's answer."""
        slug = entry["slug"] or entry["id"]
        return cls(entry["id"], slug, entry["schedule"], entry["parameters"], bool(entry["active"]))


@dataclass(frozen=True)
class Deployment:
    """A deployment with its schedules."""

    id: str
    name: str
    paused: bool
    parameter_names: tuple[str, ...]
    schedules: tuple[DeploymentSchedule, ...]

    @classmethod
    def from_json(cls, deployment: Mapping[str, Any]) -> Self:
        """Read a deployment from Prefect's answer."""
        properties = (deployment.get("parameter_openapi_schema") or {}).get("properties", {})
        schedules = tuple(map(DeploymentSchedule.from_json, deployment.get("schedules") or ()))
        paused = bool(deployment.get("paused"))
        return cls(deployment["id"], str(deployment.get("name", "")), paused, tuple(properties), schedules)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
