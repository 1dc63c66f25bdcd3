"""Which code this is."""

import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_TREES = "xgboost-cpu" if sys.platform == "linux" else "xgboost"
_LIBRARIES = ("numpy", "scipy", "lightfm-next", "scikit-learn", "implicit", _TREES)


@cache
def git_commit() -> str:
    """The commit of the checkout, marked when it has changes; the package's version where there is no checkout."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],  # noqa: S607 - git from the PATH, as everywhere
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
        return described.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return f"tailorbird {package_version()}"


def package_version() -> str:
    """The installed version of Tailorbird."""
    try:
        return version("tailorbird")
    except PackageNotFoundError:
        return "unknown"


@cache
def libraries() -> dict[str, str]:
    """The versions of what a model's figures depend on."""
    own = {"python": sys.version.split()[0], "tailorbird": package_version()}
    return {name: version(name) for name in _LIBRARIES} | own
