"""Builds the folder of a function for AWS Lambda: the packages that answers import, our code, and a bundle.

Run as `python -m benchmarks.serve.lambda_package BUNDLE`, with the Python version of the function's runtime and on its
kind of processor.
"""

import argparse
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.results import FOLDER
from infra.bundles.manifest import verify
from models.errors import TailorbirdError

ROOT: Final = Path(__file__).parents[2]
BUNDLE: Final = "bundle"
MOST_MB: Final = 250
"""Lambda's limit for an unzipped package."""
PACKAGES: Final = frozenset(
    (
        *("annotated-doc", "annotated-types", "anyio", "cffi", "cronsim", "cryptography", "faiss-cpu", "fastapi"),
        *("idna", "mangum", "numpy", "opentelemetry-api", "orjson", "packaging", "prometheus-client", "pydantic"),
        *("pydantic-core", "pydantic-settings", "python-dotenv", "scipy", "sniffio", "starlette", "threadpoolctl"),
        *("typing-extensions", "typing-inspection", "xgboost-cpu"),
    )
)
"""What answers of every kind of champion import."""
_FURTHER: Final = {"sequence": frozenset({"onnxruntime"})}
"""What one kind imports beside them."""
_OURS: Final = ("infra", "models", "serving")
_SCIPY: Final = ("_cyutility*", "_distributor_init*", "_lib", "__config__*", "__init__*", "sparse", "version*")
"""The parts of SciPy that answers import; none of them uses a BLAS."""
_UNUSED: Final = (
    "**/tests",
    "**/*.pyi",
    "numpy/**/include",
    "numpy/**/*.a",
    "numpy/distutils",
    "scipy/sparse/csgraph",
    "scipy/sparse/linalg",
    "xgboost/testing",
    "infra/deploy",
    "scipy.libs",
)


class PackageError(TailorbirdError):
    """The package cannot be built."""


def build(bundle: Path, target: Path) -> None:
    """Build the package in a new folder, for this Python and processor. Raises PackageError and BundleRefusedError."""
    kind = verify(bundle).kind
    if target.exists():
        raise PackageError(f"{target} exists. Delete it, or name another folder.")
    _install(target, PACKAGES | _FURTHER.get(kind, frozenset()))
    for name in _OURS:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    _delete_unused(target)
    shutil.copytree(bundle, target / BUNDLE)
    # A function cannot write, so that Python would compile all modules at each cold start.
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(target)]
    subprocess.run(command, check=True)


def megabytes(folder: Path) -> float:
    """Return the size of all files of a folder in units of 2^20 bytes."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20


def _install(target: Path, packages: frozenset[str]) -> None:
    """Install the packages with the versions and hashes of the lock, and without what they require beyond them."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        raise PackageError("uv is not installed. `make setup` installs it.")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(pinned((ROOT / "requirements.lock").read_text(), packages))
        requirements.flush()
        command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", str(target), "--no-deps"]
        command += ["--only-binary", ":all:", "--python-platform", f"{platform.machine()}-manylinux_2_28"]
        done = subprocess.run([*command, "--require-hashes", "-r", requirements.name], check=False)
    if done.returncode:
        raise PackageError("uv could not install the packages; its message is above.")


def pinned(lock: str, packages: frozenset[str] = PACKAGES) -> str:
    """Return the part of a lock that names the packages of a function. Raises PackageError if one is missing."""
    parts = {part: re.split(r"[=<>;\s]", part, maxsplit=1)[0] for part in re.split(r"\n(?=\w)", lock)}
    if missing := packages - set(parts.values()):
        raise PackageError(f"requirements.lock lacks {', '.join(sorted(missing))}. Run `make lock`.")
    return "\n".join(part for part, name in parts.items() if name in packages) + "\n"


def _delete_unused(target: Path) -> None:
    needed = {path for pattern in _SCIPY for path in (target / "scipy").glob(pattern)}
    unused = [path for path in (target / "scipy").iterdir() if path not in needed]
    unused += [path for pattern in _UNUSED for path in target.glob(pattern)]
    for path in unused:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def main() -> None:
    """Build the package, and state its size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="such as the folder that `tailorbird verify` prints")
    parser.add_argument("--target", type=Path, default=FOLDER / "lambda", help="the new folder of the package")
    given = parser.parse_args()
    target = given.target.absolute()
    try:
        build(given.bundle, target)
    except TailorbirdError as error:
        sys.exit(str(error))
    size = megabytes(target)
    print(f"{target} has {size:.0f} MB, {megabytes(target / BUNDLE):.0f} MB of them for the bundle.")
    if size > MOST_MB:
        sys.exit(f"The package has {size:.0f} MB and Lambda takes {MOST_MB} MB: use a container image instead.")


if __name__ == "__main__":
    main()
