"""Which code this is."""

import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@cache
def git_commit() -> str:
    """The commit of the checkout, marked when it has changes; the package's version where there is no checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],  # noqa: S607 - git from the PATH, as everywhere
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
        return found.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return f"tailorbird {package_version()}"


def package_version() -> str:
    """The installed version of Tailorbird."""
    try:
        return version("tailorbird")
    except PackageNotFoundError:
        return "unknown"
