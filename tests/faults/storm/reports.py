"""A line for each storm, printed by it and again at the end of `make faults`."""

import os
from collections.abc import Mapping
from pathlib import Path


def report(storm: str, seed: int, counts: Mapping[str, int]) -> None:
    """Print what a storm did, and add it to the file that STORM_REPORT names."""
    line = f"{storm}, seed {seed}: {', '.join(f'{event}: {count}' for event, count in sorted(counts.items()))}"
    print(f"\n{line}", flush=True)
    if path := os.environ.get("STORM_REPORT"):
        with Path(path).open("a") as file:
            file.write(f"{line}\n")
