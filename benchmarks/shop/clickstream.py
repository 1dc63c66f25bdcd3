"""Simulates a clickstream with known ground truth as tables in memory, for tests of click models and estimates."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from benchmarks.shop.event_rows import Writing
from benchmarks.shop.impressions import truth_table
from benchmarks.shop.simulation import Plan, delays, simulate, world


class Clickstream(NamedTuple):
    """The tables of a small shop, with the columns of its files."""

    events: pa.Table
    items: pa.Table
    users: pa.Table
    truth: pa.Table
    """One row per impression: recommendation_id, user_id, item_id, position, `click_probability` by `impressions.LAW`,
    and `propensity`, the probability with which the item came to this position of the list.
    """


def clickstream(users: int, items: int, sessions: int, seed: int, purchases: int = 0, months: int = 3) -> Clickstream:
    """Simulate lists, clicks, views, carts and purchases over so many months from January 2023.

    Clicks depend on the user's taste, the item and the position only; lists are random and the same for all users.
    `purchases` adds purchases without a list. At least eight items have to be on sale from the start.
    """
    shop = world(users, items, seed, months)
    writing = Writing(shop.people.names(), shop.catalogue.names())
    tables, truths, first = [], [], 0
    for period, rows, truth in simulate(shop, Plan(purchases, trails=1.0, sessions=sessions), seed):
        tables.append(writing.table(rows, first, delays(seed, period)))
        truths.append(truth)
        first += len(rows)
    return Clickstream(
        events=pa.concat_tables(tables),
        items=shop.catalogue.table(shop.periods[-1].number),
        users=shop.people.table(),
        truth=truth_table(np.concatenate(truths), writing.users, writing.items),
    )
