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
from pydantic_settings import BaseSettings, InitSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from infra.configuration import addresses, settings_file, value_checks
from infra.configuration import settings_file as file
from infra.configuration.retention import Retention
from infra.configuration.settings_file import SettingsRefusedError
from infra.configuration.value_checks import Timing, timings
from models.datasets.acceptance import DatasetLimits
from models.gate.thresholds import GateThresholds
from models.monitoring.drift.monitor_settings import DriftMonitorConfig
from models.primitives.json_types import JsonObject

Port = Annotated[int, Field(ge=1, le=65535)]
PortOrNone = Annotated[int, Field(ge=0, le=65535)]
_KEY = "[0-9a-fA-F]{64}"
_ORIGIN = r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?"
_ORIGINS = rf"^{_ORIGIN}( *, *{_ORIGIN})*$|^$"
_TABLES = {"gate": GateThresholds, "dataset": DatasetLimits, "monitor": DriftMonitorConfig, "retention": Retention}
_PORTS = ("postgres_port", "prefect_port", "mlflow_port", "docs_port", "api_port")


class Settings(BaseSettings):
    """Immutable settings. `tailorbird init` writes the docstrings and examples of the fields."""

    model_config = SettingsConfigDict(
        env_prefix="TAILORBIRD_",
        env_ignore_empty=True,
        frozen=True,
        populate_by_name=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    var: Path = Field(default=Path("var"), validate_default=True)
    """The folder of keys, logs and PostgreSQL's data; by default beside the settings file."""
    home: Path = Field(default=Path(), validate_default=True, examples=["/opt/tailorbird"])
    """The folder of prefect.yaml and of the flows; by default the working directory or that of the code."""
    database_url: SecretStr | None = Field(default=None, examples=["postgresql://tailorbird:PASSWORD@db.example/shop"])
    """An external PostgreSQL database; its server also holds the databases `prefect` and `mlflow`."""
    lake: str = Field(default="", examples=["s3://bucket/lake"])
    """The folder, or the address in an object store, of events and data sets; by default in `var`."""
    memory: Annotated[str, AfterValidator(value_checks.memory)] = "4GB"
    """The memory that feature queries may use before they use the disk."""
    bundles: str = Field(default="", examples=["/srv/tailorbird/bundles"])
    """The folder, or the address in an object store, of promoted models; by default in `var`."""
    placements: str = Field(default="", examples=["placements.toml"])
    """The file with your placements and their rules; by default infra/configuration/placements.toml of the code."""
    experiments: str = Field(default="", examples=["experiments.toml"])
    """The file with your experiments, which `tailorbird experiments start` reads."""
    signing_public_key: str = Field(default="", pattern=rf"^{_KEY}( *, *{_KEY})*$|^$", examples=["0f" * 32])
    """Public keys of other installations with trusted models: hex digits, separated by commas."""
    review: Literal["manual", "auto", "never"] = "manual"
    """The promotion of models that pass the gate: by a person (manual), by the gate alone (auto), or never."""
    review_days: float = Field(default=7, gt=0, le=3650)
    """The days that a request for a decision stays open."""
    retrain_lease_seconds: float = Field(default=120, ge=1, le=86_400)
    """The seconds without progress after which another run takes over a retrain request."""
    retrain_after_share: float = Field(default=0.05, ge=0, le=1)
    """The share of new events from which commands recommend a retrain."""
    retrain_after_days: float = Field(default=14, gt=0, le=3650)
    """The days after the newest data set from which commands recommend a retrain for any new event."""
    retrain_after_erasure_days: float = Field(default=30, gt=0, le=365)
    """The days after an erasure until a retraining without the user is requested."""
    gate: Annotated[GateThresholds, NoDecode] = GateThresholds()
    """Limits of the gate. As a variable, JSON such as {"group_margin": 0.1}."""
    dataset: Annotated[DatasetLimits, NoDecode] = DatasetLimits()
    """Limits of data sets. As a variable, JSON such as {"largest_ratio": 5}."""
    monitor: Annotated[DriftMonitorConfig, NoDecode] = DriftMonitorConfig()
    """Limits of drift monitoring. As a variable, JSON such as {"days_between_false_retrains": 182}."""
    retention: Annotated[Retention, NoDecode] = Retention()
    """How long stores keep data. As a variable, JSON such as {"served_answers": "30 days"}."""
    schedules: Annotated[dict[str, Timing], NoDecode] = Field(default_factory=dict)
    """Times of built-in schedules: a cron line in UTC, or { cron = "30 4 * * *", zone = "Europe/Berlin" }."""
    prefect_api_url: str | None = Field(
        default=None, validation_alias="PREFECT_API_URL", examples=["http://prefect.example:4200/api"]
    )
    """The API of an external Prefect server."""
    mlflow_tracking_uri: str | None = Field(
        default=None, validation_alias="MLFLOW_TRACKING_URI", examples=["http://mlflow.example:5000"]
    )
    """The address of an external MLflow server."""
    prefect_page: str = Field(default="", examples=["https://prefect.shop.example"])
    """The address of Prefect's page for people, if programs use another one; alerts and reports link to it."""
    mlflow_page: str = Field(default="", examples=["https://mlflow.shop.example"])
    """The address of MLflow's page for people, if programs use another one."""
    exported_by: str = ""
    """The `var` that exported the addresses of its own services to the environment."""
    postgres_port: Port | None = Field(default=None, examples=[5432])
    """The port of the own PostgreSQL; by default a free one."""
    prefect_port: Port | None = Field(default=None, examples=[4200])
    """The port of the own Prefect; by default 4200 or the next free one."""
    mlflow_port: Port | None = Field(default=None, examples=[5000])
    """The port of the own MLflow; by default 5000 or the next free one."""
    alerts: SecretStr = Field(default=SecretStr(""), examples=["mailto://user:PASSWORD@smtp.example?to=ops@example"])
    """Receivers of alerts, separated by commas: Prefect's blocks (block:slack-webhook/ops) or Apprise addresses."""
    metrics_url: str = Field(default="", examples=["http://127.0.0.1:8000/metrics"])
    """Addresses of Prometheus metrics of serving, separated by commas."""
    serving_p99_ms: float = Field(default=250, gt=0, le=86_400_000)
    """The 99th percentile of serving in milliseconds above which an alert is sent."""
    serving_error_share: float = Field(default=0.01, ge=0, le=1)
    """The share of failed requests above which an alert is sent."""
    api_port: PortOrNone | None = Field(default=None, examples=[8000])
    """The port of the API; 0 starts none."""
    api_workers: int = Field(default=1, ge=1, le=64)
    """The processes of the API. They share the memory of the champion that they started with."""
    batch_niceness: int = Field(default=10, ge=0, le=19)
    """How much the worker and the reconciler leave the processors to the API and others: 0 (not at all) to 19."""
    api_requests_per_second: float = Field(default=1000, gt=0, le=1_000_000)
    """The requests per second of a key without a limit of its own, in all workers together."""
    api_page_calls: int = Field(default=1_000_000, ge=1, le=1_000_000_000_000)
    """The calls per day of each page key. Above it only visitors of earlier days may send, and an alert is sent."""
    api_page_mb: int = Field(default=2_000, ge=1, le=1_000_000_000)
    """The megabytes per day of each page key, with the same effect."""
    api_concurrency: int = Field(default=128, ge=1, le=100_000)
    """The requests that one worker answers at the same time; more are refused with 503."""
    api_origins: str = Field(default="", pattern=_ORIGINS, examples=["https://shop.example"])
    """Origins of pages that may call the API from a browser, separated by commas; by default none."""
    bundle: str = Field(default="", examples=["/srv/model"])
    """The folder of the one model that `serving.api.app:standalone` answers from, without a database."""
    api_log: Literal["errors", "all"] = "errors"
    """The logged requests of the API: those that failed or took a second, or all."""
    impressions_share: float = Field(default=1.0, ge=0, le=1)
    """The share of the API's answers that are logged as impressions; the same answer is always in the sample or not."""
    spool_mb: int = Field(default=256, ge=1, le=1_000_000)
    """The megabytes of messages that the API keeps on disk while PostgreSQL is down."""
    collect_mapping: str = Field(default="", examples=["my_pages.toml"])
    """The mapping file of kind `segment` for the events of Segment's libraries; by default, Segment's specification,
    the events of users who agreed, and the traits in `user_traits`."""
    identity: Literal["claimed", "signed"] = "claimed"
    """What a page key may state of a user: a claim, which is marked, or nothing without a signature of your server."""
    train_on_claims: Literal["yes", "no"] = "yes"
    """Whether data sets contain the events that only a page, without a signature, states of a user."""
    user_traits: str = Field(default="", examples=["age,income"])
    """The traits of users that the API accepts, separated by commas; never e-mail, name, phone or address."""
    inbox_seconds: float = Field(default=300, ge=0, le=86_400)
    """The age in seconds at which acts and impressions of the inbox move into the lake; updates move at once."""
    inbox_rows: int = Field(default=20_000, ge=1, le=1_000_000)
    """The number of acts and impressions that move into the lake without waiting for that age."""
    stream_url: SecretStr | None = Field(default=None, examples=["amqp://tailorbird:PASSWORD@broker.example/"])
    """The message broker that `tailorbird consume` reads events from."""
    stream_lag: int = Field(default=10_000, ge=1, le=1_000_000_000)
    """The number of messages that wait in the broker above which an alert is sent."""
    privacy_due_days: int = Field(default=30, ge=1, le=90)
    """The days within which a request of a person is due: one month by the GDPR, 45 days by the CCPA."""
    privacy_alert_days: int = Field(default=7, ge=0, le=90)
    """The days before a request is due at which an alert is sent."""
    redis_url: SecretStr | None = Field(default=None, examples=["redis://:PASSWORD@redis.example:6379/0"])
    """The Redis that the processes of the API share as a cache; without it each has its own."""
    cache_seconds: float = Field(default=60, gt=0, le=3600)
    """The seconds that the API uses a list before it reads it again; consent, stock and new lists count at once."""
    docs_port: PortOrNone | None = Field(default=None, examples=[4210])
    """The port of Data Docs; 0 serves none."""
    docs_url: str | None = Field(default=None, examples=["https://docs.shop.example"])
    """The address of another server for the folder data_docs of `var`; then `up` serves none."""
    pass_environment: str = Field(default="", examples=["FOO,BAR_*"])
    """Further shell variables for services: names or patterns, separated by commas. PostgreSQL gets none of them."""
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
        """Return the folder of prefect.yaml and flows/: the given or working directory, else that of the code."""
        folder = value_checks.folder(home)
        return folder if (folder / "prefect.yaml").is_file() else Path(__file__).resolve().parents[2]

    @field_validator("gate", "dataset", "monitor", "retention", mode="before")
    @classmethod
    def _limits(cls, given: Any, info: ValidationInfo) -> Any:
        """Decode the limits in a variable; their types and bounds are checked later."""
        if not isinstance(given, str):
            return given
        kind: Any = _TABLES[str(info.field_name)]
        known = [limit.name for limit in fields(kind)]
        values = _decoded(given, json.dumps({known[0]: getattr(kind, known[0])}))
        if unknown := sorted(set(values) - set(known)):
            raise ValueError(f"there is no limit {', '.join(unknown)}; there are {', '.join(known)}")
        return values

    @field_validator("schedules", mode="before")
    @classmethod
    def _schedules(cls, given: Any) -> Any:
        """Return the times of schedules by slug; a variable contains them as JSON."""
        return timings(_decoded(given, '{"score-nightly": "30 4 * * *"}'))

    @field_validator(*addresses.READERS)
    @classmethod
    def _address(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse an ambiguous address: programs would print a part of its password."""
        addresses.check(str(info.field_name), value.get_secret_value() if isinstance(value, SecretStr) else value)
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        """Refuse bytes that are not UTF-8: they could be passed to no server and no other process."""
        if isinstance(value, str) and value.encode(errors="replace").decode() != value:
            raise ValueError("write it as UTF-8 text")
        return value

    @field_validator("placements", "experiments", "collect_mapping")
    @classmethod
    def _own_file(cls, place: str) -> str:
        """Return the absolute path of the file, because the worker has another working directory."""
        with contextlib.suppress(RuntimeError):  # an unknown home directory: the reader of the file refuses it
            return str(Path(place).expanduser().absolute()) if place else place
        return place

    @field_validator("lake", "bundles")
    @classmethod
    def _place(cls, place: str, info: ValidationInfo) -> str:
        check = value_checks.lake if info.field_name == "lake" else value_checks.bundles
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

    @property
    def bundle_folder(self) -> Path:
        """Return the folder of bundles on this machine: that of the setting, or of copies from an object store."""
        return self.var / "bundles" if "://" in self.bundles else Path(self.bundles)

    def model_post_init(self, _context: Any) -> None:
        """Put the lake and the bundles into `var` unless they have their own place."""
        for name in ("lake", "bundles"):
            object.__setattr__(self, name, getattr(self, name) or str(self.var / name))


def _decoded(given: Any, example: str) -> JsonObject:
    """Return a table, which a variable contains as JSON. Raises ValueError with an example."""
    with contextlib.suppress(ValueError, RecursionError):
        values = json.loads(given) if isinstance(given, str) else given
        if isinstance(values, dict):
            return values
    raise ValueError(f"write it as JSON, such as {example}")


def load() -> Settings:
    """Return the settings of this process. Raises SettingsRefusedError with the variable of an unusable value."""
    for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        if endpoint := os.environ.get(variable):
            addresses.store(endpoint, variable, "Write it as http://host:port.")
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsRefusedError(_explain(error, source)) from None


def _explain(error: ValidationError, source: Callable[[str], str]) -> str:
    """Return one line per mistake, without the value, because it may be a password."""
    lines = []
    for mistake in error.errors(include_input=False, include_url=False):
        prefix = f"{source(str(mistake['loc'][0]))}: " if mistake["loc"] else ""
        fault = mistake["msg"].removeprefix("Value error, ").removesuffix(".")
        lines.append(f"{prefix}{fault}. Correct it or unset it.")
    return "\n".join(lines)


class _InFile(Settings):
    """The settings from the settings file and the defaults, without the environment."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        *_args: Any,
        **_others: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read only the passed values."""
        return (init_settings,)


def in_file(path: Path | None, **fixed: Any) -> Settings:
    """Return the settings from a file and the defaults, without the environment, with `fixed` values."""
    try:
        return _InFile(**(_of_file(path) | fixed))
    except ValidationError as error:  # a variable of this shell takes precedence, but not everywhere
        raise SettingsRefusedError(_explain(error, partial(_place, path))) from None


def variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    alias = Settings.model_fields[name].validation_alias
    return str(alias) if alias else f"TAILORBIRD_{name.upper()}"


def source(name: str) -> str:
    """Return the place of a setting, as `tailorbird.toml:12: review`, or the name of its variable.

    `name` is the name of the setting or of its variable.
    """
    return _place(None if os.environ.get(variable_of(_key(name))) else file.find(), name)


def _key(name: str) -> str:
    return next((key for key in Settings.model_fields if name in (key, variable_of(key))), name)


def _place(path: Path | None, name: str) -> str:
    """Return the place of a setting in a file, or the name of its variable."""
    key = _key(name)
    return f"{file.place(path, key)}: {key}" if path is not None and key in file.read(path) else variable_of(key)


def annotations() -> dict[str, Any]:
    """Return the type annotation of each setting."""
    return {name: field.annotation for name, field in Settings.model_fields.items()}


def _of_file(path: Path | None) -> JsonObject:
    """Return the content of the settings file, under the names of the environment's values."""
    given = {} if path is None else settings_file.values(path, annotations()) | {"settings_file": str(path)}
    return {str(Settings.model_fields[name].validation_alias or name): value for name, value in given.items()}
