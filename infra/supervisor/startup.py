"""Starts, finds and stops the services: PostgreSQL, MLflow, Prefect, Data Docs, the API, and the processes beside them.

These are the worker, the reconciler, and the supervisor, which starts the others again.
"""

import contextlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Engine, make_url, select

from infra.configuration import addresses, placements, settings_file
from infra.configuration.settings import Settings, variable_of
from infra.database import engine
from infra.database.schema.schema import ingest_batches
from infra.keys import trust
from infra.keys.credentials import KEYS, secret
from infra.lake import ownership_checks
from infra.prefect_api import automations, deployments, flow_runs, notification_blocks
from infra.prefect_api.client import PrefectClient
from infra.private_files import permissions
from infra.services import environment, processes, settings_in_use, state_file
from infra.services.database_access import role_rights
from infra.services.embedded_postgres import DEFAULT_PORT, EmbeddedPostgres
from infra.services.endpoints import DATABASE, Endpoints, database_url, elsewhere, endpoints, prefect_login, serves_docs
from infra.services.state_file import Reporter, Service
from infra.supervisor import command_watch, probes, running_commands
from infra.supervisor import commands as servers
from infra.supervisor.launcher import TITLES, Launcher
from models.errors import TailorbirdError

_CLIENTS = {"worker": servers.worker_command, "reconciler": servers.reconciler_command}
"""The commands of processes without an address."""
_SERVERS = {"docs": servers.docs_command, "api": servers.api_command}
"""The commands of servers without a database of their own."""
_SUPERVISOR = "supervisor"
BACKTESTS: Final = "backtests"
"""The folder in `var` of backtests that have not ended, with the folders of their installations."""
_DEMO: Final = "demo-installation"
"""The file in `var` of an installation that the demo ran in."""


class DemoRefusedError(TailorbirdError):
    """The demo would add its data to a shop's own."""


def start(settings: Settings, report: Reporter, *, demo: bool = False, stores_only: bool = False) -> Endpoints:
    """Start the services that are neither external nor running, and wait until all answer.

    `demo` makes this an installation of the demo. Raises DemoRefusedError when it holds a shop's own data. With
    `stores_only`, only what a command needs runs: PostgreSQL, Prefect and MLflow.
    """
    placements.configured(settings)  # report a mistake now, and not in the first scheduled run
    deployments.check_schedules(settings)
    notification_blocks.addresses(settings)
    with permissions.private_files(), state_file.locked(settings.var, report):
        permissions.repair(settings)
        settings_file.record(settings.var, settings.settings_file)
        for line in settings_file.readable_by_others(settings.settings_file, environment.secret_names()):
            report(line)
        if not _Startup(settings, report, demo=demo, stores_only=stores_only).run():
            report("Everything is already running")
    return endpoints(settings)


def restart(settings: Settings, name: str, report: Reporter) -> None:
    """Start a service again that ended without `down`, unless an `up` or `down` has just dealt with it."""
    with permissions.private_files(), state_file.locked(settings.var, report):
        if name in state_file.gone(settings.var):
            _Startup(settings, report, demo=False).restart(name)


def stop(settings: Settings, report: Reporter) -> None:
    """Stop the supervisor and commands first, then the worker and the reconciler, the servers, and PostgreSQL last."""
    first = _stop(settings, state_file.load(settings.var), _SUPERVISOR)  # it may hold the lock
    with permissions.private_files(), state_file.locked(settings.var, report):
        known = state_file.load(settings.var)
        stopped = [first or _stop(settings, known, _SUPERVISOR)]
        _end_commands(settings)
        for child in settings.var.glob(f"{BACKTESTS}/*/*/{state_file.NAME}"):  # of a backtest that was killed
            stop(settings.model_copy(update={"var": child.parent}), lambda _line: None)
        stopped += [_stop(settings, known, name) for name in _CLIENTS]
        if "worker" in stopped:
            _report_killed(settings, known)
        with ThreadPoolExecutor() as pool:
            stopped += pool.map(lambda name: _stop(settings, known, name), ["api", "prefect", "mlflow", "docs"])
        stopped.append("postgres" if EmbeddedPostgres(settings.var).stop() else None)
        if known:
            state_file.store(settings.var, {name: replace(service, running=None) for name, service in known.items()})
        names = [TITLES[name] for name in stopped if name]
        report(f"Stopped: {', '.join(names)}" if names else "Nothing was running")


def _end_commands(settings: Settings) -> None:
    """Ask running commands to end while Prefect still answers; those that do not react end a little later."""
    for command in running_commands.running(settings.var):
        command.request_end()
    until = time.monotonic() + command_watch.LONGEST_END
    while running_commands.running(settings.var) and time.monotonic() < until:
        time.sleep(0.1)
    with contextlib.suppress(OSError, TailorbirdError):  # optional: the next `up` repeats it
        running_commands.mark_crashed(endpoints(settings), settings.var)


def under_way(settings: Settings) -> list[str]:
    """Return a line for each command and each run of the worker that `stop` would end."""
    return [work.description for work in running_commands.under_way(settings)]


def _report_killed(settings: Settings, known: Mapping[str, Service]) -> None:
    """Mark the worker's runs as crashed in the own Prefect; an external one may have other workers in the same pool."""
    if "prefect" in known and known["prefect"].alive:
        login = {"PREFECT_API_AUTH_STRING": prefect_login(settings)}
        with contextlib.suppress(OSError):  # optional: the next `up` repeats it
            flow_runs.crash_worker_runs(PrefectClient.at(known["prefect"].address, login), deployments.POOL)


def _stop(settings: Settings, known: Mapping[str, Service], name: str) -> str | None:
    running = known[name].running if name in known else None
    return name if running is not None and processes.stop(running, servers.mark(settings, name)) else None


def is_demo(var: Path) -> bool:
    """Return whether the demo ran in this installation."""
    return (var / _DEMO).exists()


def mark_demo(engine: Engine, var: Path) -> None:
    """Mark this installation as one of the demo. Raises DemoRefusedError when it holds data of another source."""
    if is_demo(var):
        return
    with engine.connect() as connection:
        sources = set(connection.execute(select(ingest_batches.c.source).distinct()).scalars())
    if others := sorted(sources - {"complete_journey"}):
        raise DemoRefusedError(
            f"This installation holds data of {', '.join(others)}, and the demo would add those of a grocery. Run it "
            "in an installation of its own: TAILORBIRD_SETTINGS=none TAILORBIRD_VAR=./var-demo tailorbird demo"
        )
    (var / _DEMO).touch(mode=0o600)


class _Startup:
    """One `up`, which starts the services in the order of their dependencies."""

    def __init__(self, settings: Settings, report: Reporter, *, demo: bool, stores_only: bool = False) -> None:
        self.demo = demo
        self.stores_only = stores_only
        known = state_file.load(settings.var)
        self.given = settings
        self.settings = elsewhere(settings, known)
        self.report = report
        self.launcher = Launcher(self.settings, known, report)

    def run(self) -> bool:
        """Start everything, or what commands need; return False if all of it ran already.

        Servers boot during the migration of the schema, and the worker boots during the registration of deployments.
        """
        starts_postgres = self.settings.database_url is None
        if starts_postgres:
            self._check_given()  # before anything starts
        admin = self._postgres()
        self._own(admin, DATABASE)
        url = database_url(self.settings)
        engine.refuse_earlier_schema(url)  # as the next line, before any server starts
        trust.check_reader(engine.engine(url), self.settings, KEYS)
        if not starts_postgres:
            self._check_given()
        if self.settings.prefect_api_url is None:
            self._serve("prefect", admin)
        if self.settings.mlflow_tracking_uri is None:
            self._serve("mlflow", admin)
        self._optional("docs", serves_docs(self.settings))
        engine.migrate(url)
        ownership_checks.check_installation(engine.engine(url), self.settings)
        if self.demo:
            mark_demo(engine.engine(url), self.settings.var)
        if role_rights.ensure(self.settings, admin, make_url(url), self.report):
            self.launcher.started.append("roles")
        self._optional("api", self.settings.api_port != 0)
        self.launcher.await_server("prefect")
        permissions.close(self.settings.var / "prefect")  # Prefect copies its pages with their installed modes
        for line in running_commands.mark_crashed(endpoints(self.given), self.settings.var):
            self.report(line)
        self.launcher.await_server("mlflow")  # it may move to another port, which the worker and the reconciler need
        if self.stores_only:
            return bool(self.launcher.started)
        self._work(endpoints(self.given))
        self.launcher.await_server("docs")
        self.launcher.await_server("api")
        for name in _CLIENTS:
            self.launcher.await_client(name)
        # Last, so that an earlier one waits for the lock until all is done, and ends.
        self.launcher.client(_SUPERVISOR, servers.supervisor_command(self.settings))
        return bool(self.launcher.started)

    def restart(self, name: str) -> None:
        """Start one service again; all that need its address too, if it had to move to another port.

        It does not wait for its answer: whatever ends meanwhile is found later, too.
        """
        before = self.launcher.known[name].address
        if name in _CLIENTS:
            self._clients(endpoints(self.given))
        elif name in _SERVERS:
            self.launcher.server(name, partial(_SERVERS[name], self.settings))
        else:
            admin = self._postgres()
            if name != "postgres":
                self._serve(name, admin)
        if self.launcher.known[name].address != before:
            self.run()

    def _check_given(self) -> None:
        for name in ("prefect", "mlflow"):
            probes.check_given(self.settings, name)

    def _postgres(self) -> URL:
        """Start PostgreSQL if it is not external; return the URL of the role that may create databases."""
        if self.settings.database_url is not None:
            return addresses.database(self.settings.database_url.get_secret_value())
        server = EmbeddedPostgres(self.settings.var, self.settings.postgres_port)
        before, known = server.running(), self.launcher.known.get("postgres")
        self.launcher.report_if_gone("postgres")
        running = server.start(known.port if known else DEFAULT_PORT)
        admin = make_url(server.url())
        if running != before:
            self.launcher.started.append("postgres")
            self.report(f"PostgreSQL runs on port {admin.port}")
        self.launcher.remember("postgres", Service(f"{servers.HOST}:{admin.port}", admin.port or 0, running))
        return admin

    def _own(self, admin: URL, name: str) -> URL:
        """Return the URL of the database of that name; create it if needed."""
        if self.settings.database_url is None:
            return role_rights.give_own_database(admin, name, secret(self.settings, name))
        return admin if name == DATABASE else role_rights.share_server(admin, name)

    def _serve(self, name: str, admin: URL) -> None:
        """Start Prefect or MLflow, with a database of its own."""
        command = servers.prefect_command if name == "prefect" else servers.mlflow_command
        self.launcher.server(name, partial(command, self.settings, self._own(admin, name)))

    def _optional(self, name: str, enabled: bool) -> None:
        """Start the server of Data Docs or the API, or stop it if the settings disable it."""
        if self.stores_only:
            return
        known = self.launcher.known
        if enabled:
            self.launcher.server(name, partial(_SERVERS[name], self.settings))
        elif _stop(self.settings, known, name):
            self.launcher.started.append(name)
            self.launcher.remember(name, replace(known[name], running=None))
            self.report(f"{TITLES[name]} {'are' if name == 'docs' else 'is'} not served any more")

    def _work(self, now: Endpoints) -> None:
        """Register pool and deployments if they changed, and start the worker and the reconciler."""
        client, demo = PrefectClient.of(now), is_demo(self.settings.var)
        log = servers.log(self.settings, "deploy")
        deployments.ensure_pool(client)
        worker = servers.worker_command(self.settings, now)
        deploy = deployments.start_deploy(
            client, {**worker.taken_over, **now.environment}, self.settings, log, demo=demo
        )
        self._clients(now)
        if deploy is not None:
            self.launcher.started.append("deployments")
            self.report("Registering the flows of prefect.yaml with Prefect")
            deployments.finish_deploy(deploy, client, self.settings, log, demo=demo)
        if automations.ensure(now, self.settings):
            self.launcher.started.append("automations")
            self.report("Registering schedules, automations and alerts with Prefect")
        self._remember_alerts()

    def _remember_alerts(self) -> None:
        """Store the new alert addresses with the reconciler: Prefect sends alerts, so no process needs a restart."""
        known, variable = self.launcher.known["reconciler"], variable_of("alerts")
        now = {name: value for name, value in settings_in_use.described(self.settings).items() if name == variable}
        others = {name: value for name, value in known.settings.items() if name != variable}
        self.launcher.remember("reconciler", replace(known, settings=others | now))

    def _clients(self, now: Endpoints) -> None:
        known = self.launcher.known.get("reconciler")
        for line in settings_in_use.changes(known.settings, self.settings) if known and known.settings else ():
            self.report(line)
        for name, build in _CLIENTS.items():
            before = partial(_report_killed, self.settings, self.launcher.known) if name == "worker" else None
            self.launcher.client(name, build(self.settings, now), before)
