"""Starts, finds and stops what Tailorbird stands on: PostgreSQL, MLflow, Prefect, their clients, and Data Docs."""

import contextlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from sqlalchemy import URL, make_url

from infra import (
    addresses,
    alert_addresses,
    automations,
    database,
    deployments,
    permissions,
    placements,
    ports,
    processes,
    roles,
    servers,
    state,
)
from infra.calls import answers, healthy, speaks_postgres
from infra.credentials import secret
from infra.embedded import DEFAULT_PORT, EmbeddedPostgres
from infra.endpoints import (
    DATABASE,
    Endpoints,
    ServicesDownError,
    docs_page,
    elsewhere,
    endpoints,
    export,
    prefect_login,
    serves_docs,
)
from infra.processes import Command
from infra.settings import Settings
from infra.state import Say, Service

__all__ = ["Endpoints", "ServicesDownError", "endpoints", "export", "reachable", "start", "stop"]

_TITLES = {
    "postgres": "PostgreSQL",
    "prefect": "Prefect",
    "mlflow": "MLflow",
    "docs": "Data Docs",
    "worker": "The worker",
    "reconciler": "The reconciler",
}
_PORTS = {"prefect": 4200, "docs": 4210, "mlflow": 5000}
NEEDED = ("postgres", "prefect", "mlflow")
"""Without these nothing can run; the worker, the reconciler and Data Docs may be missing."""
_CLIENTS = {"worker": servers.worker_command, "reconciler": servers.reconciler_command}
"""Processes that have no address of their own."""
_LINE_EVERY = 3.0  # seconds between two lines that say what is being waited for


def start(settings: Settings, say: Say) -> Endpoints:
    """Start what is neither configured elsewhere nor running yet, and wait until all of it answers."""
    placements.configured(settings)  # a mistake in it is told now, and not by the first run at night
    alert_addresses.addresses(settings)
    with permissions.private_files(), state.locked(settings.var, say):
        permissions.repair(settings)
        startup = _Startup(settings, say)
        startup.run()
        if not startup.started:
            say("Everything is already running")
    return endpoints(settings)


def stop(settings: Settings, say: Say) -> None:
    """Stop what `start` started: first the worker and the reconciler, then the servers, PostgreSQL last."""
    with permissions.private_files(), state.locked(settings.var, say):
        known = state.load(settings.var)
        stopped = [_stop(settings, known, name) for name in _CLIENTS]
        if "worker" in stopped:
            _report_killed(settings, known)
        with ThreadPoolExecutor() as pool:
            stopped += pool.map(lambda name: _stop(settings, known, name), ["prefect", "mlflow", "docs"])
        stopped.append("postgres" if EmbeddedPostgres(settings.var).stop() else None)
        if known:
            state.store(settings.var, {name: replace(service, running=None) for name, service in known.items()})
        names = [_TITLES[name] for name in stopped if name]
        say(f"Stopped: {', '.join(names)}" if names else "Nothing was running")


def reachable(settings: Settings) -> dict[str, bool]:
    """Which of postgres, prefect, mlflow and docs (if served) answers now: at most 0.3 s, and it raises nothing."""
    known = state.load(settings.var)
    settings = elsewhere(settings, known)
    addresses = {name: service.address for name, service in known.items()}
    given = settings.database_url.get_secret_value() if settings.database_url else None
    prefect = settings.prefect_api_url or addresses.get("prefect", "")
    mlflow = settings.mlflow_tracking_uri or addresses.get("mlflow", "")
    looks: dict[str, Callable[[], bool]] = {
        "postgres": lambda: speaks_postgres(given) if given else EmbeddedPostgres(settings.var).running() is not None,
        "prefect": lambda: answers(f"{prefect.rstrip('/')}/health", 0.25),
        "mlflow": lambda: answers(f"{mlflow.rstrip('/')}/health", 0.25),
    }
    docs = docs_page(settings, known)
    if serves_docs(settings) or docs:
        looks["docs"] = lambda: answers(f"{docs}/health", 0.25)
    pool, deadline = ThreadPoolExecutor(), time.monotonic() + 0.28
    futures = {name: pool.submit(look) for name, look in looks.items()}
    pool.shutdown(wait=False)
    result = dict.fromkeys(looks, False)
    for name, future in futures.items():
        with contextlib.suppress(Exception):  # whatever is wrong with an address, it is not reachable
            result[name] = future.result(max(0.0, deadline - time.monotonic()))
    return result


def _report_killed(settings: Settings, known: Mapping[str, Service]) -> None:
    """Tell our own Prefect; another one may have workers on other machines in the same pool."""
    if "prefect" in known and known["prefect"].alive:
        login = {"PREFECT_API_AUTH_STRING": prefect_login(settings)}
        with contextlib.suppress(OSError):  # it is a courtesy: the next `up` repeats it
            deployments.report_killed(known["prefect"].address, login)


def _stop(settings: Settings, known: Mapping[str, Service], name: str) -> str | None:
    running = known[name].running if name in known else None
    return name if running is not None and processes.stop(running, servers.mark(settings, name)) else None


class _Startup:
    """One `up`: what is known from before, and what it had to start."""

    def __init__(self, settings: Settings, say: Say) -> None:
        self.known = state.load(settings.var)
        self.settings = elsewhere(settings, self.known)
        self.given = settings
        self.say = say
        self.started: list[str] = []

    def run(self) -> None:
        """Servers boot while the schema is brought up to date; deployments are told while the worker boots."""
        admin = self._postgres()
        if self.settings.prefect_api_url is None:
            self._server("prefect", partial(servers.prefect_command, self.settings, self._own(admin, "prefect")))
        if self.settings.mlflow_tracking_uri is None:
            self._server("mlflow", partial(servers.mlflow_command, self.settings, self._own(admin, "mlflow")))
        self._docs()
        self._own(admin, DATABASE)
        now = endpoints(self.given)
        database.migrate(now.database_url)
        self._await("prefect", f"{now.prefect_api_url.rstrip('/')}/health", "PREFECT_API_URL")
        self._work(now)
        self._await("mlflow", f"{now.mlflow_tracking_uri.rstrip('/')}/health", "MLFLOW_TRACKING_URI")
        self._await("docs", f"{now.docs_page}/health")
        self._check_clients()

    def _postgres(self) -> URL:
        """The server everything else lives on: the URL that may create databases there."""
        if self.settings.database_url is not None:
            return addresses.database(self.settings.database_url.get_secret_value())
        server = EmbeddedPostgres(self.settings.var, self.settings.postgres_port)
        before, known = server.running(), self.known.get("postgres")
        self._say_if_gone("postgres")
        running = server.start(known.port if known else DEFAULT_PORT)
        admin = make_url(server.url())
        if running != before:
            self.started.append("postgres")
            self.say(f"PostgreSQL runs on port {admin.port}")
        self._remember("postgres", Service(f"{servers.HOST}:{admin.port}", admin.port or 0, running))
        return admin

    def _own(self, admin: URL, name: str) -> URL:
        """The database of that name."""
        if self.settings.database_url is None:
            return roles.give_own_database(admin, name, secret(self.settings, name))
        return admin if name == DATABASE else roles.share_server(admin, name)

    def _docs(self) -> None:
        """The server of Data Docs, or its end when it is not wanted any more."""
        if serves_docs(self.settings):
            self._server("docs", partial(servers.docs_command, self.settings))
        elif _stop(self.settings, self.known, "docs"):
            self.started.append("docs")
            self._remember("docs", replace(self.known["docs"], running=None))
            self.say("Data Docs are not served any more")

    def _server(self, name: str, build: Callable[[int], Command]) -> None:
        """Start a web server unless it runs, with the same settings, already."""
        known, wanted = self.known.get(name), getattr(self.settings, f"{name}_port")
        preferred = wanted or (known.port if known else _PORTS[name])
        if known is not None and known.alive:
            if build(preferred).digest == known.digest:
                return
            if preferred != known.port:
                self._free_port(name, preferred)  # before the running one is stopped for it
        self._clear(name)
        port = self._free_port(name, preferred)
        path = "/api" if name == "prefect" else ""
        self._launch(name, build(port), Service(f"http://{servers.HOST}:{port}{path}", port))

    def _free_port(self, name: str, preferred: int) -> int:
        """The preferred port or the next free one; only the preferred one when the settings ask for it."""
        title, port = _TITLES[name], ports.free(preferred)
        if port != preferred and getattr(self.settings, f"{name}_port") is not None:
            raise ServicesDownError(ports.taken_message(title, preferred, f"TAILORBIRD_{name.upper()}_PORT"))
        if port != preferred:
            self.say(f"Port {preferred} is taken by another program; {title} uses {port}")
        return port

    def _work(self, now: Endpoints) -> None:
        """Pool, deployments, worker and reconciler: the first two only when they differ from what Prefect has."""
        api, home = now.prefect_api_url.rstrip("/"), self.settings.home
        log = servers.log(self.settings, "deploy")
        deployments.ensure_pool(api, now.environment)
        commands = {name: build(self.settings, now) for name, build in _CLIENTS.items()}
        deploy = deployments.begin(api, {**commands["worker"].taken_over, **now.environment}, home, log)
        for name, command in commands.items():
            known = self.known.get(name)
            if known is None or not known.alive or known.digest != command.digest:
                self._clear(name)
                if name == "worker":
                    _report_killed(self.settings, self.known)
                self._launch(name, command, Service("", 0))
        if deploy is not None:
            self.started.append("deployments")
            self.say("Telling Prefect about the flows in prefect.yaml")
            deployments.finish(deploy, api, now.environment, home, log)
        if automations.ensure(now, self.settings):
            self.started.append("automations")
            self.say("Telling Prefect what starts by itself and who is told of what")

    def _clear(self, name: str) -> None:
        """Before a start: end the old process, and what a killed one left behind."""
        self._say_if_gone(name)
        known = self.known.get(name)
        if known is not None and known.alive:
            self.say(f"{_TITLES[name]} runs with other settings; starting it again")
        if known is not None and known.running is not None:
            processes.stop(known.running, servers.mark(self.settings, name))
        else:
            processes.end_strays(servers.mark(self.settings, name))

    def _say_if_gone(self, name: str) -> None:
        known = self.known.get(name)
        if known is not None and known.running is not None and not known.alive:
            self.say(f"{_TITLES[name]} is gone (a crash, or a restart of the machine); starting it again")

    def _launch(self, name: str, command: Command, service: Service) -> None:
        where = f" on port {service.port}" if service.port else ""
        self.say(f"Starting {_TITLES[name].replace('The', 'the')}{where}")
        self.started.append(name)
        self._remember(name, replace(service, running=processes.start(command), digest=command.digest))

    def _remember(self, name: str, service: Service) -> None:
        if self.known.get(name) != service:
            self.known[name] = service
            state.store(self.settings.var, self.known)

    def _await(self, name: str, health: str, variable: str = "") -> None:
        """Wait until our server answers; one that `variable` names has to answer now."""
        running = self.known[name].running if name in self.known else None
        if variable and getattr(self.settings, variable.lower()) is not None:
            if health.startswith("http") and not healthy(health, 5):
                address = addresses.shown(health.removesuffix("/health"))
                raise ServicesDownError(
                    f"{variable} is set, but {address} does not answer. Start that server or unset it."
                )
        elif running is not None:
            port = self.known[name].port
            # Another installation that starts at the same time may have been quicker to take the port.
            ours = self._saying(
                f"Waiting for {_TITLES[name]}", lambda: healthy(health) and processes.listens(running, port)
            )
            processes.wait_until(ours, running, servers.log(self.settings, name))

    def _check_clients(self) -> None:
        """They have no address to ask; but one that cannot work has ended by now."""
        for name in _CLIENTS:
            client = self.known[name].running
            if client is not None:
                processes.wait_until(partial(getattr, client, "alive"), client, servers.log(self.settings, name))

    def _saying(self, text: str, ready: Callable[[], bool]) -> Callable[[], bool]:
        began = last = time.monotonic()

        def look() -> bool:
            nonlocal last
            now = time.monotonic()
            if now - last > _LINE_EVERY:
                last = now
                self.say(f"{text} ({now - began:.0f} s)")
            return ready()

        return look
