"""Reads the rights of each database role on every table and view from `grants.toml`."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, get_args

Role = Literal["reader", "serving", "ingest", "operator"]
READER, SERVING, INGEST, OPERATOR = ROLES = get_args(Role)
"""The roles of applications that read lists, of serving, of ingestion, and of the people who operate all of it."""
READ: Final = "SELECT"
WRITE: Final = "SELECT INSERT UPDATE DELETE"
STUDIES: Final = "optuna"
"""The schema of Optuna's tables; the operator reads them."""

_RIGHTS: Final[Mapping[str, Any]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
TABLES: Final[Mapping[str, Mapping[str, str]]] = _RIGHTS["tables"]
VIEWS: Final[Mapping[str, Mapping[str, str]]] = _RIGHTS["views"]
WRITTEN_BY_OWNER: Final[Sequence[str]] = _RIGHTS["written_by_owner"]
FUNCTIONS: Final[Mapping[str, Sequence[Role]]] = _RIGHTS["functions"]
SCHEMAS: Final[Mapping[str, Sequence[Role]]] = _RIGHTS["schemas"]
DATABASE: Final[Mapping[str, Sequence[Role]]] = _RIGHTS["database"]
