"""An installation in a folder of its own, as a user has it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from tests.flows.conftest import Shop
from tests.flows.forked import Commands
from tests.small_prefect import SMALL_PREFECT

_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class NewShop(Shop):
    """An installation whose only settings of ours are in its folder's tailorbird.toml."""

    prefect: Mapping[str, str] = field(default_factory=lambda: SMALL_PREFECT, compare=False)
    """The settings of the Prefect server."""

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a fresh shell."""
        ours = ("TAILORBIRD_", "PREFECT_", "MLFLOW_")
        fresh = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return fresh | _ONE_THREAD | dict(self.prefect)

    @cached_property
    def _commands(self) -> Commands:
        return Commands(self.environment | {"TAILORBIRD_VAR": str(self.var)})

    def port_settings(self) -> str:
        """Return the ports of this test session as lines of a settings file."""
        names = ("postgres", "prefect", "mlflow", "docs")
        ports = "".join(f"{name}_port = {self.ports + place}\n" for place, name in enumerate(names))
        return f"{ports}api_port = 0\nbatch_niceness = 0\n"
