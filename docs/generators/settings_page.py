"""Writes docs/settings.md from the settings class: `python -m docs.generators.settings_page > docs/settings.md`."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import SecretStr

from docs.generators.mapping_page import table_row
from infra.configuration.settings import Settings, annotations
from infra.configuration.settings_file import limits_of
from infra.overview.settings_template import descriptions
from infra.prefect_api.deployments import built_in
from models.ingest.draft.mapping_text import toml
from models.primitives.json_types import JsonObject

_OPENING: Final = """\
# Settings

Look up each setting, its default and the values that it may have. No setting is needed to begin. The shortest way to a
settings file, and to what counts now:

```sh
tailorbird init          # writes tailorbird.toml with every setting, commented out
tailorbird settings      # each value, where it comes from, and processes that still use another one
tailorbird up            # restarts every process that uses an old value, and names each change
```

Without settings, `tailorbird up` runs PostgreSQL, Prefect, MLflow, a worker, a reconciler (which follows decisions made
in MLflow), the API and a supervisor (which [starts what ends](monitoring.md#when-a-service-ends)) on loopback. It
generates passwords and keys and keeps them in `./var/secrets`.

`python -m docs.generators.settings_page > docs/settings.md` generates this page from the settings class; do not edit it
by hand.

## Where settings are read

- The file is `tailorbird.toml` in the working directory, or the one that `TAILORBIRD_SETTINGS` names (`none`: no file).
  `up` records it in `var`, so that commands with `TAILORBIRD_VAR` in other folders read the same one. Relative paths in
  it start at its folder.
- Each key is also an environment variable, which overrides the file: `review_days` is `TAILORBIRD_REVIEW_DAYS`. Two
  variables have the names that Prefect and MLflow use: `PREFECT_API_URL` and `MLFLOW_TRACKING_URI`. A table of the file
  is JSON in a variable: `gate.group_margin = 0.1` is `TAILORBIRD_GATE='{"group_margin": 0.1}'`.
- Every command, the worker, its runs and the reconciler read the file. Runs of the worker read it when they start. The
  reconciler keeps the settings and the placements from its start. `tailorbird status` reports settings that a running
  process does not use yet.
- Keys and passwords of services are never in the file. `TAILORBIRD_SECRET_PSEUDONYM_KEY` and
  `TAILORBIRD_SECRET_SIGNING_KEY` take the place of the files in `var/secrets`; every host of an installation needs the
  same ([keys.md](keys.md)).
- In an address, percent-encode the special characters of a user or password: `p@ss` is `p%40ss`.
"""
_CLOSING: Final = """\
## What services get from a shell

Services do not inherit the shell that runs `up`. The worker and the reconciler get the settings of the shell,
`TAILORBIRD_SECRET_*`, credentials of object stores (`AWS_*`, `GOOGLE_*`, `AZURE_*`), proxies, certificates, thread
limits, `PREFECT_*` and `MLFLOW_*`. Servers get only their own settings, PostgreSQL none; the supervisor gets what it
hands on to the others. A changed setting restarts the services that read it. Changed credentials need
`tailorbird down`, then `up`.

## Who can read the data

Only the user who runs `up` can read `var`, the lake and the bundles. If root runs `up`, PostgreSQL runs as `nobody`,
and its data are in `/var/lib/tailorbird`, to which `var/postgres` links. [`tailorbird backup`](backup.md) copies all of
it while it runs; other tools need both folders and a stopped server.

## Containers

[docker-compose.yml](../docker-compose.yml) runs the same in containers: `make env`, then `docker compose up`. Its parts
are tested against the code; the whole has not been run on an engine yet. The profile `monitoring` adds Prometheus and
Grafana ([runbooks.md](runbooks.md#dashboards)).
"""
SECTIONS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = MappingProxyType(
    {
        "Places": (
            "Folders, and files of your own. [recommendations.md](recommendations.md) describes placements, and "
            "[experiments.md](experiments.md) experiments.",
            ("var", "home", "lake", "bundles", "memory", "placements", "experiments", "pass_environment"),
        ),
        "Servers": (
            "Servers that run already, or the ports of those that `up` starts.",
            (
                *("database_url", "prefect_api_url", "mlflow_tracking_uri", "prefect_page", "mlflow_page", "docs_url"),
                *("postgres_port", "prefect_port", "mlflow_port", "docs_port", "api_port", "batch_niceness"),
            ),
        ),
        "Models": (
            "Who promotes a model, and when commands recommend a retrain ([review.md](review.md)).",
            (
                *("review", "review_days", "signing_public_key", "retrain_after_share", "retrain_after_days"),
                "retrain_after_erasure_days",
                "retrain_lease_seconds",
            ),
        ),
        "Alerts": (
            "[monitoring.md](monitoring.md#alerts) lists the alerts.",
            ("alerts", "metrics_url", "serving_p99_ms", "serving_error_share"),
        ),
        "API": (
            "[api.md](api.md) leads from a key to a page.",
            (
                *("api_workers", "api_requests_per_second", "api_concurrency", "api_page_calls", "api_page_mb"),
                *("api_origins", "api_log", "bundle", "redis_url", "cache_seconds", "impressions_share"),
                *("spool_mb", "user_traits"),
            ),
        ),
        "Events from applications": (
            "[Collector](collector.md), [streams](streams.md) and [inbox](ingestion.md#messages-of-applications).",
            (
                *("collect_mapping", "identity", "train_on_claims", "inbox_seconds", "inbox_rows"),
                *("stream_url", "stream_lag"),
            ),
        ),
        "Requests of people": (
            "[privacy.md](privacy.md) explains requests and their states.",
            ("privacy_due_days", "privacy_alert_days"),
        ),
        "Schedules": (
            'For another zone write `{ cron = "30 4 * * *", zone = "Europe/Berlin" }`. '
            "`tailorbird schedules list` shows all schedules with their next runs.",
            ("schedules",),
        ),
        "Limits of the gate": (
            "[review.md](review.md) explains what the gate asks of a model.",
            ("gate",),
        ),
        "Limits of data sets": (
            "[datasets.md](datasets.md) explains the checks.",
            ("dataset",),
        ),
        "Limits of drift": (
            "[monitoring.md](monitoring.md) explains how drift is found.",
            ("monitor",),
        ),
        "Retention": (
            "[privacy_policy.md](privacy_policy.md) lists how long each store keeps data. Empty is for ever.",
            ("retention",),
        ),
    }
)


def document() -> str:
    """Return the whole page as Markdown."""
    return "\n".join([_OPENING, *(_section(title, *rest) for title, rest in SECTIONS.items()), _CLOSING])


def _section(title: str, about: str, names: tuple[str, ...]) -> str:
    rows = [row for name in names for row in _rows(name)]
    return "\n".join(
        [f"## {title}", "", about, "", "| key | meaning | default | values |", "|---|---|---|---|", *rows, ""]
    )


def _rows(name: str) -> Iterator[str]:
    """Yield the row of a setting, or the rows of the keys in its table."""
    if name == "schedules":
        for slug, timing in built_in(Path(__file__).parents[2]).items():
            meaning = f"When `{slug.rpartition('-')[0]}` runs."
            yield table_row(f"`{name}.{slug}`", meaning, f"`{toml(timing.cron)}`", "a cron line in UTC")
    elif limits := limits_of(annotations()[name]):
        inner = descriptions(limits)
        for limit in fields(limits):
            default = getattr(limits(), limit.name)
            kind = "a number" if isinstance(default, int | float) else "such as `25 months`"
            kind = "periods by source" if isinstance(default, dict) else kind
            yield table_row(f"`{name}.{limit.name}`", inner[limit.name], f"`{toml(default)}`", kind)
    else:
        default = Settings.model_fields[name].default
        value = str(default) if isinstance(default, Path | SecretStr) else default
        shown = "none" if value in (None, "", ".") else f"`{toml(value)}`"
        schema = Settings.model_json_schema(by_alias=False)["properties"][name]
        yield table_row(f"`{name}`", descriptions(Settings)[name], shown, _values(schema))


def _values(schema: JsonObject) -> str:
    """Return the values that a setting may have, in words, or an example."""
    for one in [schema, *schema.get("anyOf", [])]:
        if "enum" in one:
            return " or ".join(f"`{toml(value)}`" for value in one["enum"])
        lowest = one.get("minimum", one.get("exclusiveMinimum"))
        if lowest is not None:
            return f"{'above ' if 'exclusiveMinimum' in one else ''}{lowest:,} to {one['maximum']:,}"
    return f"such as `{toml(schema['examples'][0])}`" if "examples" in schema else ""


if __name__ == "__main__":
    print(document(), end="")
