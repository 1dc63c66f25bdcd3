"""Identifies the running code and its libraries."""

import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_TREES = "xgboost-cpu" if sys.platform == "linux" else "xgboost"
_LIBRARIES = ("numpy", "scipy", "lightfm-next", "scikit-learn", "implicit", _TREES)


@cache
def git_commit() -> str:
    """Return the commit of the checkout, marked if it has changes; without a checkout the package's version."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],  # noqa: S607 - git from the PATH
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
        return described.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return f"tailorbird {package_version()}"


def package_version() -> str:
    """Return the installed version of Tailorbird."""
    try:
        return version("tailorbird")
    except PackageNotFoundError:
        return "unknown"


@cache
def libraries() -> dict[str, str]:
    """Return the versions of the libraries that a model's figures depend on."""
    own = {"python": sys.version.split()[0], "tailorbird": package_version()}
    return {name: version(name) for name in _LIBRARIES} | own
