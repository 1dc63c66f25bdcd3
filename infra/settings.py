"""What the environment says: where things are, and what is used instead of being started."""

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from infra import addresses
from models.drift.watch import Watch
from models.errors import TailorbirdError
from models.gate.limits import Limits

Port = Annotated[int, Field(ge=1, le=65535)]
PortOrNone = Annotated[int, Field(ge=0, le=65535)]
_KEY = "[0-9a-fA-F]{64}"


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
    memory: str = Field(default="4GB", pattern=r"^\d+(\.\d+)? ?[KMG]i?B$")
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
    serving_p99_ms: float = Field(default=250, gt=0)
    serving_error_share: float = Field(default=0.01, ge=0, le=1)
    docs_port: PortOrNone | None = None  # 0: serve no Data Docs
    docs_url: str | None = None  # where somebody else serves <var>/data_docs; then `up` does not
    pass_environment: str = ""
    """Further variables of the shell that the services need, by comma; PostgreSQL never gets them."""

    @field_validator("var")
    @classmethod
    def _absolute(cls, var: Path) -> Path:
        return var.expanduser().absolute()

    @field_validator("home")
    @classmethod
    def _home(cls, home: Path) -> Path:
        """The folder of prefect.yaml and flows/: the one asked for, else here, else the code's own."""
        here = home.expanduser().absolute()
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
        except ValueError:
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

    def model_post_init(self, _context: Any) -> None:
        """The lake and the bundles live in `var` unless told otherwise; a folder is made absolute."""
        for name in ("lake", "bundles"):
            place = getattr(self, name) or str(self.var / name)
            object.__setattr__(self, name, place if "://" in place else str(Path(place).absolute()))


def load() -> Settings:
    """The settings of this process; a value that cannot be read is named with its variable."""
    for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        if endpoint := os.environ.get(variable):
            addresses.store(endpoint, variable)
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsRefusedError(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    """One line a mistake. The value itself is left out, as it may be a password."""
    lines = []
    for mistake in error.errors(include_input=False, include_url=False):
        name = str(mistake["loc"][0])
        variable = name if name.isupper() else f"TAILORBIRD_{name.upper()}"
        fault = mistake["msg"].removeprefix("Value error, ").removesuffix(".")
        lines.append(f"{variable}: {fault}. Correct it or unset it.")
    return "\n".join(lines)
