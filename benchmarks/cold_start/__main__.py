"""Measures cold starts on the Complete Journey: households and products with little or no history in the test weeks.

Models keep their default settings. Run as `python -m benchmarks.cold_start`.
"""

import pyarrow.compute as pc
from rich.console import Console

from benchmarks.cold_start.comparison import SEED
from benchmarks.cold_start.items import new_products
from benchmarks.cold_start.users import few_baskets, withheld
from benchmarks.complete_journey import journey
from benchmarks.results import publish
from models.columns import OCCURRED_AT, USER_KEY


def main() -> None:
    """Print a table for each kind of cold start, and keep the figures."""
    figures: dict[str, float] = {}
    with journey() as dataset:
        first = dataset.interactions.group_by(USER_KEY).aggregate([(OCCURRED_AT, "min")])[f"{OCCURRED_AT}_min"]
        figures["households_new_in_the_test_weeks"] = pc.sum(pc.greater_equal(first, dataset.cuts.test_from)).as_py()
        tables = [*few_baskets(dataset, figures), *withheld(dataset, figures), *new_products(dataset, figures)]
    publish("cold_start", figures, SEED)
    for table in tables:
        Console(width=140).print(table)


if __name__ == "__main__":
    main()
