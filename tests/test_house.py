"""Facts about the repository that no single file can promise."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
PYTHONS = ("3.11", "3.12", "3.13")
FLOWS = sorted(path.stem for path in (Path(__file__).parent.parent / "flows").glob("[a-z]*.py"))
OF_STEPS = {
    *("great_expectations", "mlflow", "optuna", "matplotlib", "fairlearn", "sklearn", "scipy.stats", "scipy.optimize"),
    *("xgboost", "lightfm", "implicit", "faiss", "torch", "onnxruntime", "prefect.server.api", "fastapi"),
    "pandas",  # Arrow imports it with the first array, `empty_table` or scalar
}
"""Each takes a tenth of a second to several seconds, and most runs need none of them."""
OF_RUNS = {"prefect", "numpy", "pyarrow", "scipy", "sqlalchemy", "duckdb", "deltalake", "pydantic"}
"""Packages that every run of a flow needs, and those that read a table."""


def tracked() -> list[Path]:
    """Return the files that git knows or would add, without ignored ones."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [file for line in listed.splitlines() if (file := ROOT / line).is_file()]


def text_of(file: Path) -> str:
    return file.read_bytes().decode(errors="ignore")


def locked() -> dict[str, set[str]]:
    """Name → versions (one for each marker)."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9][a-z0-9.-]*)==(\S+)", LOCK, re.MULTILINE):
        versions.setdefault(canonicalize_name(name), set()).add(version)
    return versions


NOT_LOCKED = {"sequence"}
"""Extras whose builds differ by Python and package index."""


def declared() -> list[Requirement]:
    project = PROJECT["project"]
    extras = [lines for name, lines in project["optional-dependencies"].items() if name not in NOT_LOCKED]
    groups = [*extras, *PROJECT["dependency-groups"].values()]
    lines = [*PROJECT["build-system"]["requires"], *project["dependencies"], *(r for group in groups for r in group)]
    return [Requirement(line) for line in lines]


REGISTRY = re.compile(
    r"https?://\S*(?:pypi|pythonhosted|anaconda|artifactory|nexus|devpi)|(?<!emit-)(?:index[-_]url|find[-_]links)"
)
MACHINE = re.compile(r"(?<![\w.])/(?:home|root|Users|work)/\w")


@pytest.mark.parametrize("place", [REGISTRY, MACHINE], ids=["registry", "machine"])
def test_no_file_names_a_package_registry_or_a_place_on_a_machine(place: re.Pattern[str]) -> None:
    matches = {str(file.relative_to(ROOT)): match[0] for file in tracked() if (match := place.search(text_of(file)))}
    assert not {name: text for name, text in matches.items() if name != "tests/test_house.py"}


def test_the_lock_holds_names_versions_markers_and_hashes_and_nothing_else() -> None:
    requirement = re.compile(r"[a-z0-9][a-z0-9._-]*==[0-9][\w.!+]*( ; [^\\@]+)? \\")
    digest = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
    other = [line for line in LOCK.splitlines() if not (requirement.fullmatch(line) or digest.fullmatch(line))]
    assert other == []
    assert "+" not in "".join(version for versions in locked().values() for version in versions)


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_the_lock_satisfies_what_the_project_declares(requirement: Requirement) -> None:
    versions = locked()[canonicalize_name(requirement.name)]
    assert all(version in requirement.specifier for version in versions)


def test_the_lock_has_every_extra_but_those_whose_builds_differ() -> None:
    extras = set(re.findall(r"--extra (\w+)", (ROOT / "Makefile").read_text().split("\nlock:")[1]))
    assert extras == set(PROJECT["project"]["optional-dependencies"]) - NOT_LOCKED


def test_every_room_is_in_the_wheel() -> None:
    rooms = {init.parent.name for init in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert rooms == set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert rooms == set(PROJECT["tool"]["importlinter"]["root_packages"])


def test_every_folder_of_code_is_a_package() -> None:
    rooms = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    code = {file.parent for file in tracked() if file.suffix == ".py" and file.relative_to(ROOT).parts[0] in rooms}
    # Alembic reads migrations as files.
    assert not [str(f) for f in code if not (f / "__init__.py").exists() and "migrations" not in f.parts]


def test_tests_are_no_packages() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_every_file_agrees_on_the_versions_of_python() -> None:
    supported = SpecifierSet(PROJECT["project"]["requires-python"])
    assert [f"3.{minor}" for minor in range(20) if f"3.{minor}" in supported] == list(PYTHONS)
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + PYTHONS[0].replace(".", "")
    assert f"--python-version {PYTHONS[0]} " in (ROOT / "Makefile").read_text()
    bounds = re.search(
        r"\((3, \d+)\) <= sys.version_info\[:2\] <= \((3, \d+)\)", (ROOT / "infra/deploy/setup.sh").read_text()
    )
    assert bounds
    assert [bound.replace(", ", ".") for bound in bounds.groups()] == [PYTHONS[0], PYTHONS[-1]]
    images = re.findall(
        r"^FROM python:(\d\.\d+)-slim", (ROOT / "infra" / "deploy" / "Dockerfile").read_text(), re.MULTILINE
    )
    assert len(set(images)) == 1
    assert images[0] in PYTHONS


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    assert all(f"({file.name})" in index for file in folder.glob("0*.md"))


DATED_FOR_PEOPLE = (
    *(
        "infra/private_files/error_log.py",
        "infra/prefect_api/events.py",
        "infra/registry/connection.py",
        "infra/registry/client.py",
        "infra/supervisor/running_commands.py",
        "infra/supervisor/supervisor.py",
        "serving/api/gate/request_log.py",
    ),
    "tasks/reconciler/reconcile.py",
    "tasks/tuning/worker.py",
)
UNCONNECTED = "tasks/ingest/check/findings.py"
"""Judges times in the future where there is no database to ask, and stores nothing."""
SENT = "serving/shop/calls.py"
"""States its clock with each event, as any sender of events does; the collector corrects it."""
ANSWERED = "serving/shop/visits.py"
"""Asks for consent again half a year after an answer, which a browser keeps and no database."""
COMPARED = "infra/overview/doctor.py"
"""Compares the machine's clock with that of the database."""
DURING_OUTAGES = "serving/events/clock.py"
"""Knows how far the database's clock is ahead, for messages that arrive while the database is down."""


def test_nothing_is_decided_by_the_clock_of_a_machine() -> None:
    clock = re.compile(r"\btime\.time\(|\bdatetime\.(?:now|today|utcnow)\(|\bdate\.today\(|from time import .*\btime\b")
    rooms = ("flows", "tasks", "infra", "serving", "models", "expectations")
    matches = {
        file.relative_to(ROOT).as_posix() for file in tracked() if file.suffix == ".py" and clock.search(text_of(file))
    }
    assert {name for name in matches if name.startswith(rooms)} == {
        *DATED_FOR_PEOPLE,
        *(SENT, ANSWERED, UNCONNECTED, COMPARED, DURING_OUTAGES),
    }


def loaded_by(*modules: str) -> set[str]:
    """Return all that is imported when a fresh process imports the modules."""
    code = f"import json, sys, {', '.join(modules)}; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


def test_the_command_line_imports_nothing_heavy_before_it_knows_the_command() -> None:
    assert not loaded_by("flows.__main__") & (OF_STEPS | OF_RUNS)


def test_flows_import_no_package_that_only_single_steps_need() -> None:
    assert not loaded_by(*(f"flows.{name}" for name in FLOWS)) & OF_STEPS


def test_the_reconciler_starts_without_what_only_the_moves_of_messages_need() -> None:
    assert not loaded_by("tasks.reconciler.reconcile") & (OF_STEPS | {"prefect", "duckdb"})


def test_a_process_that_tries_settings_starts_without_what_only_runs_need() -> None:
    assert not loaded_by("tasks.tuning.trial_child") & (OF_STEPS | {"prefect"})


def test_an_ingest_does_without_scipy() -> None:
    assert not loaded_by("flows.ingest") & {"scipy", "sklearn"}


def test_a_command_does_not_wait_for_the_heartbeats_of_its_run() -> None:
    from prefect.settings import get_current_settings

    from flows.commands.running import run_without_heartbeats

    assert run_without_heartbeats(lambda: get_current_settings().flows.heartbeat_frequency) is None
