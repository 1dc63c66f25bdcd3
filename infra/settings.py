"""What the environment says: where things are, and what is used instead of being started."""

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from infra import addresses, setting_checks
from models.drift.watch import Watch
from models.errors import TailorbirdError
from models.gate.limits import Limits

Port = Annotated[int, Field(ge=1, le=65535)]
PortOrNone = Annotated[int, Field(ge=0, le=65535)]
_KEY = "[0-9a-fA-F]{64}"
_PORTS = ("postgres_port", "prefect_port", "mlflow_port", "docs_port", "reconciler_port")


class SettingsRefusedError(TailorbirdError):
    """An environment variable holds something that cannot be used."""


class Settings(BaseSettings):
    """Read once from the environment and never changed. A port that is None may be chosen freely."""

    model_config = SettingsConfigDict(
        env_prefix="TAILORBIRD_",
        env_ignore_empty=True,
        frozen=True,
        populate_by_name=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    var: Path = Field(default=Path("var"), validate_default=True)
    home: Path = Field(default=Path(), validate_default=True)
    database_url: SecretStr | None = None
    lake: str = ""
    memory: Annotated[str, AfterValidator(setting_checks.memory)] = "4GB"
    """What feature queries may take; beyond it they use the disk."""
    bundles: str = ""
    placements: str = ""
    """A file that says where lists are shown; by default the one that comes along."""
    signing_public_key: str = Field(default="", pattern=rf"^{_KEY}( *, *{_KEY})*$|^$")
    """Whose bundles are opened beside the installation's own: hex digits, several by comma while keys are rotated."""
    review: Literal["manual", "auto", "never"] = "manual"
    """Who promotes what passes the gate: a person, the gate alone, or nobody."""
    review_days: float = Field(default=7, gt=0, le=3650)
    """How long a request for a decision stays open."""
    retrain_lease_seconds: float = Field(default=120, ge=1, le=86_400)
    """How long a retraining may be silent before another run takes its request."""
    gate: Annotated[Limits, NoDecode] = Limits()
    """As JSON, such as {"group_margin": 0.1}."""
    monitor: Annotated[Watch, NoDecode] = Watch()
    """As JSON, such as {"days_between_false_retrains": 182}."""
    prefect_api_url: str | None = Field(default=None, validation_alias="PREFECT_API_URL")
    mlflow_tracking_uri: str | None = Field(default=None, validation_alias="MLFLOW_TRACKING_URI")
    prefect_page: str = ""
    mlflow_page: str = ""
    """Where people open the pages, when it is not where programs reach them: links in alerts and reports lead there."""
    exported_by: str = ""  # the var folder whose own services the two addresses above belong to
    postgres_port: Port | None = None
    prefect_port: Port | None = None
    mlflow_port: Port | None = None
    reconciler_port: Port | None = None  # where the reconciler listens for MLflow's webhooks; None: nowhere
    webhook_url: str | None = None  # under which MLflow reaches it, such as https://shop.example/mlflow
    alerts: SecretStr = SecretStr("")
    """Where alerts go, by comma: Prefect's notification blocks (`block:slack-webhook/ops`) or Apprise addresses."""
    metrics_url: str = ""
    """Where serving tells its Prometheus metrics, such as http://127.0.0.1:8000/metrics; several by comma."""
    serving_p99_ms: float = Field(default=250, gt=0, le=86_400_000)
    serving_error_share: float = Field(default=0.01, ge=0, le=1)
    docs_port: PortOrNone | None = None  # 0: serve no Data Docs
    docs_url: str | None = None  # where somebody else serves <var>/data_docs; then `up` does not
    pass_environment: str = ""
    """Further variables of the shell that the services need, by comma; PostgreSQL never gets them."""

    @field_validator("var")
    @classmethod
    def _absolute(cls, var: Path) -> Path:
        return setting_checks.folder(var)

    @field_validator("home")
    @classmethod
    def _home(cls, home: Path) -> Path:
        """The folder of prefect.yaml and flows/: the one asked for, else here, else the code's own."""
        here = setting_checks.folder(home)
        return here if (here / "prefect.yaml").is_file() else Path(__file__).resolve().parent.parent

    @field_validator("gate", "monitor", mode="before")
    @classmethod
    def _limits(cls, said: Any, about: ValidationInfo) -> Any:
        """The limits that are said, as values; their types and bounds are checked later."""
        if not isinstance(said, str):
            return said
        kind: Any = Limits if about.field_name == "gate" else Watch
        known = [limit.name for limit in fields(kind)]
        try:
            values = json.loads(said)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise ValueError(f'write it as JSON, such as {{"{known[0]}": {getattr(kind, known[0])}}}')
        if unknown := sorted(set(values) - set(known)):
            raise ValueError(f"there is no limit {', '.join(unknown)}; there are {', '.join(known)}")
        return values

    @field_validator(*addresses.READERS)
    @classmethod
    def _address(cls, value: Any, about: ValidationInfo) -> Any:
        """Refuse an address that can be read in two ways: programs would print a part of its password."""
        addresses.check(str(about.field_name), value.get_secret_value() if isinstance(value, SecretStr) else value)
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        """Refuse bytes that are not UTF-8: no server and no other process could be given them."""
        if isinstance(value, str) and value.encode(errors="replace").decode() != value:
            raise ValueError("write it as UTF-8 text")
        return value

    @field_validator("lake", "bundles")
    @classmethod
    def _place(cls, place: str, about: ValidationInfo) -> str:
        check = setting_checks.lake if about.field_name == "lake" else setting_checks.bundles
        return check(place) if place else place

    @model_validator(mode="after")
    def _every_port_is_used_once(self) -> Self:
        users: dict[int, str] = {}
        for name in _PORTS:
            port = getattr(self, name)
            if port and (other := users.setdefault(port, name)) != name:
                raise ValueError(f"{_variable(other)} and {_variable(name)} are both {port}; give each its own port")
        return self

    def model_post_init(self, _context: Any) -> None:
        """Put the lake and the bundles into `var` unless they have a place of their own."""
        for name in ("lake", "bundles"):
            object.__setattr__(self, name, getattr(self, name) or str(self.var / name))


def load() -> Settings:
    """The settings of this process; a value that cannot be read is named with its variable."""
    for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        if endpoint := os.environ.get(variable):
            addresses.store(endpoint, variable, "Write it as http://host:port.")
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsRefusedError(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    """One line a mistake. The value itself is left out, as it may be a password."""
    lines = []
    for mistake in error.errors(include_input=False, include_url=False):
        about = f"{_variable(str(mistake['loc'][0]))}: " if mistake["loc"] else ""
        fault = mistake["msg"].removeprefix("Value error, ").removesuffix(".")
        lines.append(f"{about}{fault}. Correct it or unset it.")
    return "\n".join(lines)


def _variable(name: str) -> str:
    return name if name.isupper() else f"TAILORBIRD_{name.upper()}"
