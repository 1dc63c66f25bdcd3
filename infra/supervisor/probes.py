"""Probes whether the services answer. A server is recognised as own only if an own process listens on its port."""

import os
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

from infra.configuration import addresses
from infra.configuration.settings import Settings
from infra.prefect_api.client import login_headers
from infra.services import ports, state_file
from infra.services.embedded_postgres import EmbeddedPostgres
from infra.services.endpoints import ServicesDownError, docs_page, elsewhere, serves_docs
from infra.services.http_client import basic_auth, is_healthy, is_listening, is_postgres, request_json
from infra.services.processes import listens
from infra.services.state_file import Service
from infra.supervisor.launcher import TITLES

NEEDED = ("postgres", "prefect", "mlflow")
"""The services that every flow needs; the worker, the reconciler, Data Docs and the API may be missing."""

CLIENTS = ("worker", "reconciler", "supervisor")
"""Processes without an address."""
_QUICK, _PATIENT = 0.25, 2.0
"""Seconds that one probe may take."""
_LOGINS = {
    "prefect": ("PREFECT_API_URL", "/admin/version", "PREFECT_API_KEY or PREFECT_API_AUTH_STRING"),
    "mlflow": (
        "MLFLOW_TRACKING_URI",
        "/api/2.0/mlflow/experiments/search?max_results=1",
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    ),
}
"""By external server: the variable of its address, a path that needs the login, and the variables of the login."""

_MLFLOW_ELSEWHERE = {"MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4"}


@dataclass(frozen=True)
class Finding:
    """The result of a probe: if a service is not `reachable`, the reason, and whether that may pass within seconds."""

    reachable: bool
    reason: str = ""
    passing: bool = False


def reachable(settings: Settings) -> dict[str, bool]:
    """Return which of postgres, prefect, mlflow, docs and api (if served) answer now, within 0.3 s. Raises nothing."""
    served = serves_docs(settings) or docs_page(settings, state_file.load(settings.var))
    names = [*NEEDED, *(["docs"] if served else []), *(["api"] if settings.api_port != 0 else [])]
    return {name: finding.reachable for name, finding in probe(settings, names).items()}


def running_clients(settings: Settings) -> dict[str, bool]:
    """Return whether the worker, the reconciler and the supervisor of this `var` run."""
    known = state_file.load(settings.var)
    return {name: known[name].alive for name in CLIENTS if name in known}


def ensure(settings: Settings, needed: Collection[str] = NEEDED, patience: float = 5.0, silence: float = 30.0) -> None:
    """Return when all `needed` services answer; a busy service gets `patience` seconds and more than one probe.

    Raises ServicesDownError with the reasons. An own server that listens but stays silent for `silence` seconds counts
    too: the clients of Prefect and MLflow would wait for a quarter of an hour.
    """
    until = time.monotonic() + patience
    while True:
        findings = probe(settings, needed, thorough=True)
        down = {name: finding for name, finding in findings.items() if not finding.reachable}
        if not down:
            _await_answers(settings, needed, silence)
            return
        if time.monotonic() > until or not all(finding.passing for finding in down.values()):
            raise ServicesDownError(
                f"Not reachable: {', '.join(down)}. Start the services with: tailorbird up "
                f"({'; '.join(finding.reason for finding in down.values())}; logs are in {settings.var / 'log'})"
            )
        time.sleep(0.1)


def _await_answers(settings: Settings, names: Collection[str], seconds: float) -> None:
    known = state_file.load(settings.var)
    settings = elsewhere(settings, known)
    for name in _LOGINS:
        if name not in names or _given(settings, name) is not None:
            continue
        until = time.monotonic() + seconds
        while not is_healthy(f"{known[name].address}/health", max(0.1, until - time.monotonic())):
            if time.monotonic() > until:
                raise ServicesDownError(
                    f"{TITLES[name]} runs but has not answered for {seconds:.0f} s. Run the same command again later; "
                    f"if that does not help, restart it with `tailorbird down` and `tailorbird up` (logs are in "
                    f"{settings.var / 'log'})."
                )
            time.sleep(0.1)


def check_given(settings: Settings, name: str, patience: float = 10.0) -> None:
    """Raise ServicesDownError when an external server does not answer, or refuses our login."""
    given = _given(settings, name)
    if name not in _LOGINS or given is None:
        return
    until = time.monotonic() + patience
    while not is_healthy(f"{given.rstrip('/')}/health", 5):
        if time.monotonic() > until:
            variable, address = _LOGINS[name][0], addresses.shown(given)
            raise ServicesDownError(
                f"{variable} is set, but {address} does not answer. Start that server or unset {variable}."
            )
        time.sleep(0.5)
    _check_login(name, given)


def _check_login(name: str, given: str) -> None:
    variable, path, login = _LOGINS[name]
    headers = _authorization(name)
    if headers is None:
        return
    try:
        request_json("GET", f"{given.rstrip('/')}{path}", headers)
    except HTTPError as error:
        if error.code in (401, 403):
            raise ServicesDownError(
                f"{variable} is set, but that server refuses our login ({error.code}). Set {login}, or unset "
                f"{variable} to use a server of our own."
            ) from None
    except (OSError, ValueError):
        return  # no refusal: the caller's own request reports the fault


def probe(settings: Settings, names: Collection[str], thorough: bool = False) -> dict[str, Finding]:
    """Probe each of these services. Raises nothing.

    A `thorough` probe checks that an own process is the one that listens, which takes longer on a busy machine.
    """
    known = state_file.load(settings.var)
    settings = elsewhere(settings, known)
    given = {name: address for name in names if (address := _given(settings, name)) is not None}
    listening = _answer(given, _PATIENT if thorough else _QUICK)
    return {
        name: _external(name, listening[name]) if name in given else _own(settings, name, known.get(name), thorough)
        for name in TITLES
        if name in names
    }


def _answer(given: Mapping[str, str], seconds: float) -> dict[str, bool]:
    """Return which of the services at these addresses answer."""
    pool, deadline = ThreadPoolExecutor(), time.monotonic() + seconds * 1.1
    futures = {name: pool.submit(_answers, name, address, seconds) for name, address in given.items()}
    pool.shutdown(wait=False)
    listening = dict.fromkeys(given, False)
    for name, future in futures.items():
        with suppress(Exception):  # an unusable address is not reachable
            listening[name] = future.result(max(0.0, deadline - time.monotonic()))
    return listening


def _answers(name: str, address: str, seconds: float) -> bool:
    if name == "postgres":
        return is_postgres(address, seconds)
    return is_listening(f"{address.rstrip('/')}/health", seconds)


def _given(settings: Settings, name: str) -> str | None:
    """Return the address of an external service in the settings."""
    database = settings.database_url.get_secret_value() if settings.database_url else None
    others = {"prefect": settings.prefect_api_url, "mlflow": settings.mlflow_tracking_uri, "docs": settings.docs_url}
    return database if name == "postgres" else others.get(name)


def _external(name: str, listening: bool) -> Finding:
    return Finding(listening, f"{TITLES[name]} does not answer at the address in the settings", passing=True)


def _own(settings: Settings, name: str, service: Service | None, thorough: bool) -> Finding:
    title = TITLES[name]
    if name == "postgres":  # identified by its data folder
        return Finding(EmbeddedPostgres(settings.var).running() is not None, f"{title} does not run")
    if service is None or service.running is None:
        return Finding(False, f"{title} does not run")
    if service.alive:
        listening = listens(service.running, service.port) if thorough else not ports.is_free(service.port)
        return Finding(listening, f"{title} does not listen on port {service.port} yet", passing=True)
    if ports.is_free(service.port):
        return Finding(False, f"{title} does not run")
    return Finding(False, f"{title} does not run, and another program uses its port {service.port}")


def _authorization(name: str) -> dict[str, str] | None:
    """Return the headers for an external server, as its client reads them; None if MLflow reads its login elsewhere."""
    if name == "prefect":
        return login_headers({})
    if os.environ.keys() & _MLFLOW_ELSEWHERE or Path("~/.mlflow/credentials").expanduser().exists():
        return None
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    return {"Authorization": basic_auth(f"{user}:{password}")} if user and password else {}
