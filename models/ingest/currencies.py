"""Define currency codes by ISO 4217, current and retired, and their usual names."""

import tomllib
from pathlib import Path
from typing import Final

_FILE: Final = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
CODES: Final = frozenset(f"{_FILE['in_use']} {_FILE['retired']}".split())
NAMES: Final[dict[str, str]] = {name: code for code, names in _FILE["names"].items() for name in names.split("|")}
"""Signs and names in capitals → codes. `$` and `¥` stand for several currencies; a mapping can choose another."""
