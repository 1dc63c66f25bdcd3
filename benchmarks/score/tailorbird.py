"""Scores and publishes one placement in a process of its own: prints seconds, lists and peak memory as JSON."""

import json
import sys
import time

from benchmarks.results import peak_mb


def main() -> None:
    """Measure everything from loading the champion to the pointer's move, without imports."""
    import faiss  # noqa: F401 - opened before the clock runs, as by a worker that has scored before
    import great_expectations  # noqa: F401
    import sklearn.decomposition  # noqa: F401

    from infra.installation import current
    from tasks.scoring.score_placement import score_placement

    current()
    started = time.perf_counter()
    batch = score_placement.fn(sys.argv[1])
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "lists": batch["users"], "peak_mb": peak_mb(), "summary": batch["summary"]}))


if __name__ == "__main__":
    main()
