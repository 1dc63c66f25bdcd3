"""Names, meanings and units of all features, as tables, tags and documents use them; definitions.toml states them."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True)
class Feature:
    """One column of a feature table."""

    name: str
    meaning: str
    unit: str


_FILE: Final = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
USER_FEATURES, ITEM_FEATURES, PAIR_FEATURES = (
    tuple(Feature(name, meaning, unit) for name, (meaning, unit) in _FILE[table].items())
    for table in ("user", "item", "pair")
)
