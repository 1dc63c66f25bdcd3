"""Checks an installed wheel from outside the repository: complete, importable, alone in its names.

An editable install hides a package or a migration that is missing from the wheel; this does not.
Run as `python -I wheel_check.py FILES`, FILES listing the repository's files, one a line.
"""

import importlib
import sys
from importlib.metadata import distribution, distributions
from pathlib import Path, PurePosixPath

ROOMS = ("flows", "serving", "tasks", "expectations", "infra", "models")
OURS = {*ROOMS, "tests", "benchmarks"}
NOT_SHIPPED = ("infra/deploy/Dockerfile", "infra/deploy/setup.sh", "infra/deploy/containers/")
OF_EXTRAS = {"torch", "onnx", "aiormq", "aiokafka"}
"""Packages of extras, which are not installed here: only training and the consumers of brokers import them."""


def main() -> int:
    """Print every fault and return 1, or say what was checked and return 0."""
    wanted = [line for line in Path(sys.argv[1]).read_text().splitlines() if not line.startswith(NOT_SHIPPED)]
    faults = missing_files(wanted) + foreign_owners()
    modules = [module_name(file) for file in wanted if file.endswith(".py") and "/migrations/" not in file]
    faults += [fault for name in modules if (fault := import_fault(name))]
    for fault in faults:
        print("wheel:", fault, file=sys.stderr)
    print(f"wheel: {len(wanted)} files, {len(modules)} modules imported, {len(faults)} faults")
    return 1 if faults else 0


def missing_files(wanted: list[str]) -> list[str]:
    """Name what the repository has and the wheel does not: modules, migrations, other package data."""
    shipped = {str(file) for file in distribution("tailorbird").files or ()}
    return [f"{file} is not in the wheel" for file in wanted if file not in shipped]


def foreign_owners() -> list[str]:
    """Name the dependencies that install something under one of our top-level names."""
    return [
        f"{other.metadata['Name']} also installs {name}"
        for other in distributions()
        if other.metadata["Name"] != "tailorbird"
        for name in sorted(OURS & {PurePosixPath(file).parts[0].removesuffix(".py") for file in other.files or ()})
    ]


def module_name(file: str) -> str:
    """Return the dotted name of a module file."""
    return ".".join(PurePosixPath(file).with_suffix("").parts).removesuffix(".__init__")


def import_fault(name: str) -> str | None:
    """Import a module and say what is wrong, if anything: it fails, or it comes from elsewhere."""
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        return None if error.name in OF_EXTRAS else f"import {name}: {error}"
    except Exception as error:  # any failure at all is what this looks for
        return f"import {name}: {type(error).__name__}: {error}"
    if not Path(module.__file__ or "").resolve().is_relative_to(Path(sys.prefix).resolve()):
        return f"{name} was imported from {module.__file__}"
    return None


if __name__ == "__main__":
    sys.exit(main())
