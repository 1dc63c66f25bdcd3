"""Build the package of a function for AWS Lambda from a bundle, and measure its size and its cold start.

Run as `python -m benchmarks.lambda_package BUNDLE`, with the Python version of the function's runtime and on its kind
of processor. The smallest time counts, because other programs only add to it.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.lambda_package.cold_start import ColdStart, measure
from benchmarks.lambda_package.package import BUNDLE, MOST_MB, build, megabytes
from benchmarks.results import FOLDER, publish
from infra.configuration.settings import load
from infra.keys.signing import public_key
from models.errors import TailorbirdError


def main() -> None:
    """Build, measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="such as the folder that `tailorbird verify` prints")
    parser.add_argument("--target", type=Path, default=FOLDER / "lambda", help="the new folder of the package")
    parser.add_argument("--rounds", type=int, default=5, help="cold starts that are measured")
    given = parser.parse_args()
    target = given.target.absolute()
    try:
        build(given.bundle, target)
        key = load().signing_public_key or public_key(load())
    except TailorbirdError as error:
        sys.exit(str(error))
    best = ColdStart(*map(min, zip(*(measure(target, key) for _ in range(given.rounds)), strict=True)))
    size = megabytes(target)
    figures = {
        "package_mb": size,
        "bundle_mb": megabytes(target / BUNDLE),
        "cold_start_s": best.seconds,
        "cold_start_cpu_s": best.cpu_seconds,
        "answer_ms": best.answer_seconds * 1000,
        "peak_mb": best.peak_mb,
    }
    publish("lambda_package", figures, 0)
    if size > MOST_MB:
        sys.exit(f"The package has {size:.0f} MB and Lambda takes {MOST_MB} MB: use a container image instead.")


if __name__ == "__main__":
    main()
