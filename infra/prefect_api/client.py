"""The one client of Prefect's REST API: address, login, time limits, paging and errors.

Prefect's own client takes a second to import.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any, Final, Self
from urllib.error import HTTPError

from infra.services.endpoints import Endpoints
from infra.services.http_client import basic_auth, request_json
from models.primitives.json_types import JsonObject

SECONDS: Final = 30.0
"""How long a request may take by default."""
PAGE: Final = 200
"""Prefect returns at most this many objects at once."""


class PrefectError(OSError):
    """Prefect did not answer, or refused a request. `status` is the HTTP status of a refusal, else 0."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class PrefectClient:
    """The API of one Prefect server. Every request raises PrefectError unless Prefect accepts it."""

    api_url: str
    headers: Mapping[str, str] = field(repr=False)

    @classmethod
    def at(cls, api_url: str, environment: Mapping[str, str]) -> Self:
        """Return a client for an address, with the login of these variables or of this process."""
        return cls(api_url.rstrip("/"), login_headers(environment))

    @classmethod
    def of(cls, endpoints: Endpoints) -> Self:
        """Return a client for the Prefect server of an installation."""
        return cls.at(endpoints.prefect_api_url, endpoints.environment)

    def get(self, path: str, seconds: float = SECONDS) -> JsonObject | None:
        """Return the object at a path; None if there is none."""
        found: JsonObject | None = self._send("GET", path, None, seconds)
        return found

    def find(self, path: str, query: Mapping[str, Any], seconds: float = SECONDS) -> list[JsonObject]:
        """Return the objects of a collection that match a query, at most one page."""
        return self._send("POST", f"{path}/filter", query, seconds) or []

    def find_all(self, path: str) -> Iterator[JsonObject]:
        """Yield every object of a collection, page by page."""
        offset = 0
        while page := self.find(path, {"limit": PAGE, "offset": offset}):
            yield from page
            offset += len(page)

    def count(self, path: str, query: Mapping[str, Any]) -> int:
        """Return how many objects of a collection match a query."""
        return int(self._send("POST", f"{path}/count", query))

    def post(self, path: str, body: Mapping[str, Any]) -> JsonObject:
        """Create an object or start an action; return Prefect's answer."""
        return self._send("POST", path, body) or {}

    def post_all(self, path: str, bodies: Sequence[JsonObject]) -> list[JsonObject]:
        """Create several objects in one request; return them."""
        return self._send("POST", path, list(bodies)) or []

    def put(self, path: str, body: Mapping[str, Any]) -> None:
        """Replace an object."""
        self._send("PUT", path, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> bool:
        """Change fields of an object; return False if there is none."""
        return self._send("PATCH", path, body) is not None

    def delete(self, path: str) -> None:
        """Delete an object."""
        self._send("DELETE", path)

    def _send(self, method: str, path: str, body: Any = None, seconds: float = SECONDS) -> Any:
        """Return the decoded answer; None for HTTP 404."""
        try:
            return request_json(method, f"{self.api_url}{path}", self.headers, body, seconds)
        except HTTPError as error:
            raise PrefectError(f"Prefect refuses {method} {path} (HTTP {error.code})", error.code) from error
        except (OSError, HTTPException) as error:
            raise PrefectError(f"Prefect does not answer {method} {path}") from error


def login_headers(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that sign in to Prefect, from these variables or those of this process."""
    variables = {**os.environ, **environment}
    if login := variables.get("PREFECT_API_AUTH_STRING"):
        return {"Authorization": basic_auth(login)}
    if key := variables.get("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    return {}


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
    creator: JsonObject
    """What started it: its `type`, such as SCHEDULE, `id` and `display_value`; empty if Prefect knows nothing."""
    parameters: JsonObject = field(default_factory=dict)

    @classmethod
    def from_json(cls, run: Mapping[str, Any]) -> Self:
        """Read a run from Prefect's answer."""
        state = run.get("state") or {}
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
            creator=run.get("created_by") or {},
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
