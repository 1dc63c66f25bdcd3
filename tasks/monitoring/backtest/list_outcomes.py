"""Measures the lists of past periods by the purchases of these periods, beside two reference lists."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Final

import duckdb
import numpy as np

from models.datasets.time_splits import midnight
from models.monitoring.backtest import REFERENCES, Outcomes
from models.monitoring.realised_accuracy import K
from models.primitives.arrow_sql import literal
from models.primitives.time import DAY
from tasks.monitoring.realised_accuracy import CONTROL_DAYS

_BOUGHT: Final = """
    CREATE TEMP TABLE bought AS
    SELECT period - 1 AS period, user_id, item_id, coalesce(sum(value), 0) AS value FROM purchases
    WHERE period > 0 AND currency IS NOT DISTINCT FROM (SELECT mode(currency) FROM purchases) GROUP BY ALL"""
_BUYERS: Final = "SELECT period, user_id, count(*) AS items, sum(value) AS value FROM bought GROUP BY ALL ORDER BY ALL"
_POPULARITY: Final = """
    INSERT INTO lists
    WITH sold AS (
        SELECT days.period, item_id, count(DISTINCT user_id) AS buyers FROM days
        JOIN purchases ON purchases.period <= days.period AND occurred_at >= days.control_from GROUP BY ALL
    ), best AS (
        SELECT *, row_number() OVER (PARTITION BY period ORDER BY buyers DESC, item_id) AS rank FROM sold
        QUALIFY rank <= $k
    )
    SELECT $name, period, user_id, best.item_id, rank FROM best JOIN (SELECT DISTINCT period, user_id FROM bought)
    USING (period)"""
_OWN_FREQUENCY: Final = """
    INSERT INTO lists
    WITH own AS (
        SELECT days.period, user_id, item_id, count(*) AS times, max(occurred_at) AS latest FROM days
        JOIN purchases ON purchases.period <= days.period GROUP BY ALL
    )
    SELECT $name, period, user_id, item_id,
        row_number() OVER (PARTITION BY period, user_id ORDER BY times DESC, latest DESC, item_id) AS rank
    FROM own QUALIFY rank <= $k"""
_OUTCOMES: Final = """
    SELECT lists.name, period, user_id, sum(1 / log2(rank + 1)) AS gain, sum(bought.value) AS earned
    FROM lists JOIN bought USING (period, user_id, item_id) GROUP BY ALL"""


def measure_lists(lists: Mapping[str, Sequence[Path]], purchases: Path, days: Sequence[date]) -> Outcomes:
    """Return the outcomes of the policies' lists, a file for each period, and of the reference lists.

    A buyer without a list counts as one who bought nothing of it. Values count in the most frequent currency.
    """
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TEMP TABLE purchases AS FROM read_parquet({literal(str(purchases))})")
        connection.execute(_BOUGHT)
        controls = [(period, midnight(day) - CONTROL_DAYS * DAY) for period, day in enumerate(days)]
        connection.execute("CREATE TEMP TABLE days (period BIGINT, control_from BIGINT)")
        connection.executemany("INSERT INTO days VALUES (?, ?)", controls)
        kinds = "name VARCHAR, period BIGINT, user_id VARCHAR, item_id VARCHAR, rank BIGINT"
        connection.execute(f"CREATE TEMP TABLE lists ({kinds})")
        for name, files in lists.items():
            for period, file in enumerate(files):
                rows = f"SELECT $name, $period, user_id, item_id, rank FROM read_parquet({literal(str(file))})"
                values = {"name": name, "period": period, "k": K}
                connection.execute(f"INSERT INTO lists {rows} WHERE rank <= $k", values)
        for name, statement in zip(REFERENCES, (_POPULARITY, _OWN_FREQUENCY), strict=True):
            connection.execute(statement, {"name": name, "k": K})
        buyers, found = connection.sql(_BUYERS).df(), connection.sql(_OUTCOMES).df()
    names, users = [*lists, *REFERENCES], np.unique(buyers["user_id"].to_numpy(dtype=np.str_))
    ideal = np.cumsum(1 / np.log2(np.arange(K) + 2))
    value, bought, best = np.zeros((3, len(users), len(days)))
    at = np.searchsorted(users, buyers["user_id"].to_numpy(dtype=np.str_)), buyers["period"]
    value[at], bought[at], best[at] = buyers["value"], 1, ideal[np.minimum(buyers["items"], K) - 1]
    gain, earned = np.zeros((2, len(users), len(names), len(days)))
    user = np.searchsorted(users, found["user_id"].to_numpy(dtype=np.str_))
    place = user, found["name"].map(names.index), found["period"]
    gain[place], earned[place] = found["gain"], found["earned"]
    ndcg = gain / np.where(best, best, 1)[:, None]
    return Outcomes(names, (gain > 0).astype(np.float64), ndcg, earned, value, bought)
