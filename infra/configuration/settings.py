"""Settings of an installation: environment variables first, then `tailorbird.toml`, then defaults."""

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from infra.configuration import addresses, keys, value_checks
from infra.configuration import settings_file as file
from infra.configuration.settings_file import SettingsRefusedError
from infra.configuration.timing import Timing, timings
from models.datasets.limits import DatasetLimits
from models.gate.thresholds import Limits
from models.monitoring.drift.config import Watch

__all__ = ["Settings", "SettingsRefusedError", "annotations", "in_file", "load", "source", "variable_of"]

Port = Annotated[int, Field(ge=1, le=65535)]
PortOrNone = Annotated[int, Field(ge=0, le=65535)]
_KEY = "[0-9a-fA-F]{64}"
_PORTS = ("postgres_port", "prefect_port", "mlflow_port", "docs_port", "reconciler_port")


class Settings(BaseSettings):
    """Read once and never changed. Docstrings and examples of the fields are what `tailorbird init` writes."""

    model_config = SettingsConfigDict(
        env_prefix="TAILORBIRD_",
        env_ignore_empty=True,
        frozen=True,
        populate_by_name=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    var: Path = Field(default=Path("var"), validate_default=True)
    """The folder of everything that is kept: keys, logs and PostgreSQL's data; beside this file by default."""
    home: Path = Field(default=Path(), validate_default=True, examples=["/opt/tailorbird"])
    """The folder of prefect.yaml and of the flows; by default the working directory or that of the code."""
    database_url: SecretStr | None = Field(default=None, examples=["postgresql://tailorbird:PASSWORD@db.example/shop"])
    """A PostgreSQL database to use in place of our own; `prefect` and `mlflow` are databases of the same server."""
    lake: str = Field(default="", examples=["s3://bucket/lake"])
    """Where events and data sets are kept: a folder, or an address in an object store; by default in `var`."""
    memory: Annotated[str, AfterValidator(value_checks.memory)] = "4GB"
    """How much memory feature queries may take before they use the disk."""
    bundles: str = Field(default="", examples=["/srv/tailorbird/bundles"])
    """The folder of promoted models; by default in `var`."""
    placements: str = Field(default="", examples=["placements.toml"])
    """A file that names your placements and their rules; by default infra/configuration/placements.toml of the code."""
    signing_public_key: str = Field(default="", pattern=rf"^{_KEY}( *, *{_KEY})*$|^$", examples=["0f" * 32])
    """Public keys of other installations whose models are opened too: hex digits, several by comma."""
    review: Literal["manual", "auto", "never"] = "manual"
    """Who promotes a model that passes the gate: a person (manual), the gate alone (auto), or nobody (never)."""
    review_days: float = Field(default=7, gt=0, le=3650)
    """How many days a request for a decision stays open."""
    retrain_lease_seconds: float = Field(default=120, ge=1, le=86_400)
    """How long a retraining may be silent before another run takes its request."""
    retrain_after_share: float = Field(default=0.05, ge=0, le=1)
    """Share of new events among all from which commands name a retrain as the next step."""
    retrain_after_days: float = Field(default=14, gt=0, le=3650)
    """Days after the newest data set from which they do so for any new event."""
    gate: Annotated[Limits, NoDecode] = Limits()
    """Limits of the gate. As a variable, JSON such as {"group_margin": 0.1}."""
    dataset: Annotated[DatasetLimits, NoDecode] = DatasetLimits()
    """Limits of data sets. As a variable, JSON such as {"largest_ratio": 5}."""
    monitor: Annotated[Watch, NoDecode] = Watch()
    """How closely drift is watched. As a variable, JSON such as {"days_between_false_retrains": 182}."""
    schedules: Annotated[dict[str, Timing], NoDecode] = Field(default_factory=dict)
    """When built-in schedules run: a cron line in UTC, or { cron = "30 4 * * *", zone = "Europe/Berlin" }."""
    prefect_api_url: str | None = Field(
        default=None, validation_alias="PREFECT_API_URL", examples=["http://prefect.example:4200/api"]
    )
    """A Prefect server to use in place of our own."""
    mlflow_tracking_uri: str | None = Field(
        default=None, validation_alias="MLFLOW_TRACKING_URI", examples=["http://mlflow.example:5000"]
    )
    """An MLflow server to use in place of our own."""
    prefect_page: str = Field(default="", examples=["https://prefect.shop.example"])
    """Where people open Prefect's page, when programs reach it elsewhere; links in alerts and reports lead there."""
    mlflow_page: str = Field(default="", examples=["https://mlflow.shop.example"])
    """Where people open MLflow's page, when programs reach it elsewhere."""
    exported_by: str = ""
    """The `var` whose own services the addresses in the environment belong to."""
    postgres_port: Port | None = Field(default=None, examples=[5432])
    """The port that our PostgreSQL has to use; by default a free one."""
    prefect_port: Port | None = Field(default=None, examples=[4200])
    """The port that our Prefect has to use; by default 4200 or the next free one."""
    mlflow_port: Port | None = Field(default=None, examples=[5000])
    """The port that our MLflow has to use; by default 5000 or the next free one."""
    reconciler_port: Port | None = Field(default=None, examples=[4300])
    """The port on which the reconciler receives MLflow's webhooks; by default it receives none."""
    webhook_url: str | None = Field(default=None, examples=["https://shop.example/mlflow"])
    """The address under which MLflow reaches the reconciler."""
    alerts: SecretStr = Field(default=SecretStr(""), examples=["mailto://user:PASSWORD@smtp.example?to=ops@example"])
    """Where alerts go, by comma: Prefect's notification blocks (block:slack-webhook/ops) or Apprise addresses."""
    metrics_url: str = Field(default="", examples=["http://127.0.0.1:8000/metrics"])
    """Where serving publishes its Prometheus metrics, several by comma."""
    serving_p99_ms: float = Field(default=250, gt=0, le=86_400_000)
    """An alert is sent when the 99th percentile of serving takes longer, in milliseconds."""
    serving_error_share: float = Field(default=0.01, ge=0, le=1)
    """An alert is sent when a larger share of requests fails."""
    docs_port: PortOrNone | None = Field(default=None, examples=[4210])
    """The port that Data Docs have to use; 0 serves none."""
    docs_url: str | None = Field(default=None, examples=["https://docs.shop.example"])
    """Where another server shows the folder data_docs of `var`; then `up` serves none."""
    pass_environment: str = Field(default="", examples=["FOO,BAR_*"])
    """Further variables of the shell that services need, by comma: names or patterns. PostgreSQL gets none of them."""
    settings_file: Path | None = Field(default=None, validation_alias=file.VARIABLE)
    """The file that these settings were read from."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment, then the settings file."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, _of_file(file.find()))

    @field_validator("settings_file", mode="before")
    @classmethod
    def _settings_file(cls, path: Any) -> Any:
        """Return the absolute path of the file, or None when none is to be read."""
        return None if path in (None, file.NO_FILE) else Path(path).expanduser().absolute()

    @field_validator("var")
    @classmethod
    def _absolute(cls, var: Path) -> Path:
        return value_checks.folder(var)

    @field_validator("home")
    @classmethod
    def _home(cls, home: Path) -> Path:
        """The folder of prefect.yaml and flows/: the one asked for, else here, else the code's own."""
        here = value_checks.folder(home)
        return here if (here / "prefect.yaml").is_file() else Path(__file__).resolve().parents[2]

    @field_validator("gate", "dataset", "monitor", mode="before")
    @classmethod
    def _limits(cls, said: Any, about: ValidationInfo) -> Any:
        """The limits that a variable holds, as values; their types and bounds are checked later."""
        if not isinstance(said, str):
            return said
        kind: Any = {"gate": Limits, "dataset": DatasetLimits, "monitor": Watch}[str(about.field_name)]
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

    @field_validator("schedules", mode="before")
    @classmethod
    def _schedules(cls, given: Any) -> Any:
        """Return the times of schedules by slug; a variable holds them as JSON."""
        try:
            values = json.loads(given) if isinstance(given, str) else given
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise ValueError('write it as JSON, such as {"score-nightly": "30 4 * * *"}')
        return timings(values)

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

    @field_validator("placements")
    @classmethod
    def _placements(cls, place: str) -> str:
        """Return the absolute path of the file, as the worker has another working directory."""
        with contextlib.suppress(RuntimeError):  # of a home that nobody has: the reader of the file refuses it
            return str(Path(place).expanduser().absolute()) if place else place
        return place

    @field_validator("lake", "bundles")
    @classmethod
    def _place(cls, place: str, about: ValidationInfo) -> str:
        check = value_checks.lake if about.field_name == "lake" else value_checks.bundles
        return check(place) if place else place

    @model_validator(mode="after")
    def _every_port_is_used_once(self) -> Self:
        users: dict[int, str] = {}
        for name in _PORTS:
            port = getattr(self, name)
            if port and (other := users.setdefault(port, name)) != name:
                both = f"{variable_of(other)} and {variable_of(name)}"
                raise ValueError(f"{both} are both {port}; give each its own port")
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
        raise SettingsRefusedError(_explain(error, source)) from None


def _explain(error: ValidationError, source: Callable[[str], str]) -> str:
    """One line a mistake. The value itself is left out, as it may be a password."""
    lines = []
    for mistake in error.errors(include_input=False, include_url=False):
        about = f"{source(str(mistake['loc'][0]))}: " if mistake["loc"] else ""
        fault = mistake["msg"].removeprefix("Value error, ").removesuffix(".")
        lines.append(f"{about}{fault}. Correct it or unset it.")
    return "\n".join(lines)


class _InFile(Settings):
    """The settings as the settings file and the defaults say them, whatever the environment holds."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        *_args: Any,
        **_others: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing but what is passed in."""
        return (init_settings,)


def in_file(path: Path | None, **fixed: Any) -> Settings:
    """Return the settings that a file and the defaults say, without the environment, and with `fixed` values."""
    try:
        return _InFile(**(_of_file(path) | fixed))
    except ValidationError as error:  # a variable of this shell counts more, but not everywhere
        raise SettingsRefusedError(_explain(error, partial(_place, path))) from None


def variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    alias = Settings.model_fields[name].validation_alias
    return str(alias) if alias else f"TAILORBIRD_{name.upper()}"


def source(name: str) -> str:
    """Return where a setting is given, as `tailorbird.toml:12: review`; otherwise the name of its variable.

    `name` is that of the setting or of its variable.
    """
    return _place(None if os.environ.get(variable_of(_key(name))) else file.find(), name)


def _key(name: str) -> str:
    return next((key for key in Settings.model_fields if name in (key, variable_of(key))), name)


def _place(path: Path | None, name: str) -> str:
    """Return where a setting stands in a file; the name of its variable when it does not."""
    key = _key(name)
    return f"{file.place(path, key)}: {key}" if path is not None and key in file.read(path) else variable_of(key)


def annotations() -> dict[str, Any]:
    """Return the type of each setting."""
    return {name: field.annotation for name, field in Settings.model_fields.items()}


def _of_file(path: Path | None) -> dict[str, Any]:
    """Return what the settings file holds, under the names that the environment's values have."""
    given = {} if path is None else keys.values(path, annotations()) | {"settings_file": str(path)}
    return {str(Settings.model_fields[name].validation_alias or name): value for name, value in given.items()}
